"""LoRA: few weights beside a decoder's frozen U-Net that teach it a subject's pictures (Hu et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.families.unclip import UnclipDecoder
from fmri_lightning.generation.inputs import same_space
from fmri_lightning.generation.lora import require_peft, write_lora
from fmri_lightning.generation.training.tuning import TuningConfig, TuningModule

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""Projections of every attention layer, whatever it attends to."""
CONDITION = ("time_emb_proj", "class_embedding.linear_1", "class_embedding.linear_2")
"""Where the embedding enters: the way from it into every residual layer."""


def add_lora(unet: Any, rank: int, alpha: float, dropout: float, targets: tuple[str, ...]) -> None:
    """Put low-rank adapters into a U-Net; at first they change nothing.

    Args:
        unet: Frozen, changed in place.
        rank: Of each adapter.
        alpha: Its product is scaled by alpha / rank.
        dropout: Share of an adapter's inputs dropped in training.
        targets: Ends of the names of the linear or convolution layers that get one.

    Raises:
        UsageError: peft is not installed, or no layer has such a name.
    """
    require_peft()
    from peft import LoraConfig

    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name, _ in unet.named_modules()):
            raise UsageError(f"--model.target_modules: no layer of this U-Net is called …{target}; leave it out")
    # peft says int and divides.
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=list(targets),
        init_lora_weights="gaussian",
    )
    unet.add_adapter(config, adapter_name="lora")


def lora_weights(unet: Any) -> dict[str, Tensor]:
    """Take the adapters out of a U-Net, scaled so that the product of each pair is the change of its layer.

    Args:
        unet: With adapters named "lora".

    Returns:
        ``{module}.lora_A.weight`` and ``{module}.lora_B.weight`` by module.
    """
    from peft.tuners.lora import LoraLayer

    found: dict[str, Tensor] = {}
    for name, layer in unet.named_modules():
        if isinstance(layer, LoraLayer):
            of_layer: Any = layer
            found[f"{name}.lora_A.weight"] = of_layer.lora_A["lora"].weight.detach()
            found[f"{name}.lora_B.weight"] = of_layer.lora_B["lora"].weight.detach() * of_layer.scaling["lora"]
    return found


def lora_parameters(unet: Any) -> Iterable[tuple[str, nn.Parameter]]:
    """Name the adapters' own parameters.

    Args:
        unet: With adapters.
    """
    return ((name, parameter) for name, parameter in unet.named_parameters() if ".lora_" in name)


def check_rank(rank: int, alpha: float, dropout: float) -> None:
    """Refuse numbers that make no adapter.

    Args:
        rank: At least 1.
        alpha: Above 0.
        dropout: 0..1.

    Raises:
        UsageError: One of them is out of range.
    """
    if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
        raise UsageError(f"rank starts at 1, alpha above 0 and dropout lies in 0..1, got {rank}, {alpha} and {dropout}")


class LoraModule(TuningModule):
    """Trains a LoRA of a decoder's U-Net on training stimuli of a subject."""

    def __init__(
        self,
        decoder: DecoderConfig = DecoderConfig(),  # noqa: B008
        rank: int = 16,
        alpha: float = 16.0,
        dropout: float = 0.0,
        target_modules: tuple[str, ...] = ATTENTION,
        training: TuningConfig = TuningConfig(),  # noqa: B008
        root: str = "checkpoints",
    ) -> None:
        """Remember the recipe.

        Args:
            decoder: Which model is trained further.
            rank: Rank of each adapter.
            alpha: Scale of the adapters, times 1 / rank.
            dropout: Share of an adapter's inputs dropped in training.
            target_modules: Ends of the names of the U-Net's layers that get an adapter. Attention is to_q, to_k, to_v
                and to_out.0; the embedding's way in is time_emb_proj, class_embedding.linear_1 and
                class_embedding.linear_2.
            training: How it is trained.
            root: Folder of all checkpoints; writes {root}/lora/{subject}/{target space}/.
        """
        super().__init__(decoder, training)
        check_rank(rank, alpha, dropout)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.target_modules, self.root = tuple(target_modules), Path(root)

    def prepare_data(self) -> None:
        """Refuse to start without peft.

        Raises:
            UsageError: It is not installed.
        """
        require_peft()

    def setup(self, stage: str) -> None:
        """Refuse embeddings of another space than the decoder's, before any work.

        Args:
            stage: Lightning's stage.

        Raises:
            UsageError: Several devices would train.
            BadInputError: The spaces differ.
        """
        super().setup(stage)
        same_space(self.told_space, self.loaded().space, f"target cache {self.data.clip_cache}", "the decoder")

    def prepare_unet(self, decoder: UnclipDecoder) -> Iterable[tuple[str, nn.Parameter]]:
        """Put the adapters in.

        Args:
            decoder: Frozen, as loaded.
        """
        add_lora(decoder.unet, self.rank, self.alpha, self.dropout, self.target_modules)
        return lora_parameters(decoder.unet)

    def settings(self) -> dict[str, Any]:
        """List what a checkpoint must agree in."""
        return {"rank": self.rank, "alpha": self.alpha, "target_modules": list(self.target_modules)}

    def folder(self) -> Path:
        """Name the folder of the LoRA."""
        return self.root / "lora" / self.data.subject / self.told_space.name

    def write(self, errors: dict[str, float]) -> None:
        """Write the LoRA and say what it is worth on held-out pictures.

        Args:
            errors: Held-out errors.
        """
        data, config = self.data, self.decoder_config
        about = {
            "subject": data.subject,
            "family": config.family,
            "model_id": config.model_id,
            "simulated": data.simulated,
            **self.settings(),
            "out_of_fold_share": data.out_of_fold_share if data.out_of_fold else 0.0,
            "steps": self.trainer.global_step,
            "heldout_error": {"base": self.before, "lora": errors},
        }
        folder = self.folder()
        weights = lora_weights(self.loaded().unet)
        write_lora(folder, weights, data.ids["train"], self.told_space, self.base, dict(data.inputs), about)
        compared = ", ".join(f"{name} {self.before[name]:.4f} to {error:.4f}" for name, error in errors.items())
        print(f"{folder}: rank {self.rank}; held-out error from embeddings: {compared}")
