"""A network with an input layer per subject: any subject's layer and the trunk make a NetworkMap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmri_lightning.encoder.network import NetworkMap, floor_std
from fmri_lightning.encoder.shared.reading import Reading


class SubjectInput(nn.Module):
    """A subject's way into the trunk: its ridge, solved, and behind it a layer that is trained.

    Both are linear, so together they are one linear layer from voxels to the trunk.

    Args:
        n_features: Width of the subject's features.
        n_outputs: Width of the embedding, which the ridge reads.
        hidden: Width of what the trunk reads.
    """

    ridge_weight: Tensor
    ridge_bias: Tensor

    def __init__(self, n_features: int, n_outputs: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("ridge_weight", torch.zeros(n_features, n_outputs))
        self.register_buffer("ridge_bias", torch.zeros(n_outputs))
        self.layer = nn.Linear(n_outputs, hidden)

    def merged(self, behind: nn.Linear) -> tuple[Tensor, Tensor]:
        """Make one linear layer of the ridge and a layer behind it: weight (n, n_features) and bias (n,)."""
        return merge(self.ridge_weight, self.ridge_bias, behind.weight, behind.bias)


def merge(ridge_weight: Tensor, ridge_bias: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Make one linear layer of a ridge and the layer behind it.

    Args:
        ridge_weight: (n_features, dim).
        ridge_bias: (dim,).
        weight: (n_out, dim).
        bias: (n_out,).

    Returns:
        Weight (n_out, n_features) and bias (n_out,).
    """
    return weight @ ridge_weight.T, weight @ ridge_bias + bias


class SharedMap(nn.Module):
    """Input layers of several subjects in front of one trunk; the layers are those of a NetworkMap.

    Standardised targets are those of a subject's own training pictures, so that each subject's encoder carries the
    statistics it would carry alone.

    Attributes:
        subjects: In alphabetical order, whatever order they were given in.
        inputs: One SubjectInput per subject, in that order; all start with the same layer.
        trunk: The layers behind it; the last starts at zero.
        skip: A linear map around the layers, from what a ridge reads to the embedding; it starts as identity, so the
            whole starts as the ridges.

    Args:
        widths: Subject to width of its input.
        n_outputs: Width of the embedding.
        architecture: Arguments of :class:`~fmri_lightning.encoder.network.NetworkMap` but the widths.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, widths: Mapping[str, int], n_outputs: int, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        self.subjects = tuple(sorted(widths))
        whole = NetworkMap(n_outputs, n_outputs, **architecture, linear_path=True)
        self.trunk = whole.layers[1:]  # keeps its numbers, from 1
        self.skip = nn.Linear(n_outputs, n_outputs)
        nn.init.eye_(self.skip.weight)
        nn.init.zeros_(self.skip.bias)
        # By number: a subject may have a name that torch takes for no module's, with a dot for instance.
        hidden = int(architecture["hidden"])
        self.inputs = nn.ModuleList(SubjectInput(widths[one], n_outputs, hidden) for one in self.subjects)
        self.start_inputs(whole.layers[0].weight, whole.layers[0].bias)  # type: ignore[arg-type]
        self.register_buffer("target_mean", torch.zeros(len(self.subjects), n_outputs))
        self.register_buffer("target_std", torch.ones(len(self.subjects), n_outputs))

    def input_of(self, subject: str) -> SubjectInput:
        """Return a subject's way into the trunk."""
        found = self.inputs[self.subjects.index(subject)]
        assert isinstance(found, SubjectInput)
        return found

    @torch.no_grad()
    def start_inputs(self, weight: Tensor, bias: Tensor) -> None:
        """Start every subject's trained layer with one weight (hidden, dim) and bias (hidden,)."""
        for subject in self.subjects:
            self.input_of(subject).layer.weight.copy_(weight)
            self.input_of(subject).layer.bias.copy_(bias)

    def set_target_statistics(self, subject: str, mean: Tensor, std: Tensor) -> None:
        """Store mean and standard deviation per dimension of a subject's training targets, (n_outputs,) each."""
        row = self.subjects.index(subject)
        self.target_mean[row].copy_(mean)
        self.target_std[row].copy_(floor_std(std))

    def set_ridge(self, subject: str, reading: Reading) -> None:
        """Store a subject's ridge."""
        self.input_of(subject).ridge_weight.copy_(reading.weight)
        self.input_of(subject).ridge_bias.copy_(reading.bias)

    def standardise(self, subject: str, targets: Tensor) -> Tensor:
        """Map raw embeddings (n, n_outputs) of a subject's pictures to standardised ones."""
        row = self.subjects.index(subject)
        return (targets - self.target_mean[row]) / self.target_std[row]

    def enter(self, subject: str, read: Tensor) -> Tensor:
        """Map what a subject's ridge has read (n, n_outputs), standardised, to what the trunk reads, (n, hidden)."""
        result: Tensor = self.input_of(subject).layer(read)
        return result

    def finish(self, entered: Tensor, read: Tensor) -> Tensor:
        """Map what has entered (n, hidden), and what was read (n, n_outputs), to standardised embeddings."""
        result: Tensor = self.trunk(entered) + self.skip(read)
        return result

    def forward(self, subject: str, features: Tensor) -> Tensor:
        """Map a subject's features (n, n_features) to raw embeddings (n, n_outputs), as its encoder will."""
        row, own = self.subjects.index(subject), self.input_of(subject)
        entered = functional.linear(features, *own.merged(own.layer))
        standardised = self.trunk(entered) + functional.linear(features, *own.merged(self.skip))
        result: Tensor = standardised * self.target_std[row] + self.target_mean[row]
        return result


def part_for(state: Mapping[str, Tensor], subjects: tuple[str, ...], subject: str) -> dict[str, Tensor]:
    """Take one subject's network out of the weights of a SharedMap.

    Args:
        state: Weights of the SharedMap.
        subjects: Its subjects in order.
        subject: Whose network.

    Returns:
        Weights of a NetworkMap with this subject's input layer.
    """
    row = subjects.index(subject)
    own = f"inputs.{row}."
    ridge = state[f"{own}ridge_weight"], state[f"{own}ridge_bias"]
    first = merge(*ridge, state[f"{own}layer.weight"], state[f"{own}layer.bias"])
    path = merge(*ridge, state["skip.weight"], state["skip.bias"])
    return {
        "layers.0.weight": first[0],
        "layers.0.bias": first[1],
        "linear_path.weight": path[0],
        "linear_path.bias": path[1],
        **{f"layers.{name}": value.clone() for name, value in layers_of(state, "trunk").items()},
        "target_mean": state["target_mean"][row].clone(),
        "target_std": state["target_std"][row].clone(),
    }


def layers_of(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Take one part out of the weights of a SharedMap, "trunk" or "skip"."""
    return {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}


def mean_input(state: Mapping[str, Tensor], subjects: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Average the trained input layers over subjects: where a new one starts.

    Returns:
        Weight (hidden, dim) and bias (hidden,).
    """
    layers = [[state[f"inputs.{row}.layer.{name}"] for row in range(len(subjects))] for name in ("weight", "bias")]
    return torch.stack(layers[0]).mean(dim=0), torch.stack(layers[1]).mean(dim=0)
