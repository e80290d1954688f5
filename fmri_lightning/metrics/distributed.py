"""Metrics that gather over processes: torchmetrics around the pure functions of this folder.

Every item has an id. A rank keeps what it saw; the items of all ranks are put in ascending order of their ids, those
that a sampler repeated to fill a batch are dropped, and only then the pure function runs. So the result does not depend
on the number of processes, the batches, or the order in which items came. torch is imported when a metric is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import ids_or_positions
from fmri_lightning.metrics.cosine import cosine_matrix
from fmri_lightning.metrics.distances import correlation_distance
from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification
from fmri_lightning.metrics.pixcorr import pixel_correlation
from fmri_lightning.metrics.retrieval import retrieval_ranks, top_k
from fmri_lightning.metrics.ssim import structural_similarity

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric

Array = NDArray[Any]
PairScore = Callable[[Array, Array], NDArray[np.float64]]

# Copies of one item from two ranks may differ by the rounding of their batches, not by more.
RELATIVE, ABSOLUTE = 1e-3, 1e-5
MAX_DIMS = 8


class Scores(NamedTuple):
    """Result of a metric over all processes.

    Attributes:
        value: Mean over items; NaN when no item has a score. Items without a score are left out and counted.
        n: Distinct items that were given, with or without a score.
        n_undefined: Items of which the own similarity is NaN (a constant picture, a zero vector). Pair scores of one
            item are NaN then; in two-way identification and retrieval such an item loses, and its 0 is in the mean.
        per_item: Score of each item (n,), float64.
        ids: Id of each item (n,), ascending.
    """

    value: float
    n: int
    n_undefined: int
    per_item: NDArray[np.float64]
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """What a metric keeps of an item and how it is scored in the end.

    Attributes:
        name: For messages.
        pairs: Score of each pair in a batch, (n, ...) and (n, ...) to (n,); what is kept is this number. None when
            both sides are kept as they are.
        matrix: For ``pairs`` None: both sides of all items and their stimuli to scores (n,) and own similarities (n,).
    """

    name: str
    pairs: PairScore | None = None
    matrix: Callable[[Array, Array, Array], tuple[NDArray[np.float64], NDArray[np.float64]]] | None = None


def pixel_correlation_metric() -> Metric:
    """PixCorr over processes; ``update(images_a, images_b, ids)`` as ``pixel_correlation``."""
    return item_metric(Recipe("PixCorr", pairs=pixel_correlation))


def structural_similarity_metric() -> Metric:
    """SSIM over processes; ``update(images_a, images_b, ids)`` as ``structural_similarity``: channels last."""
    return item_metric(Recipe("SSIM", pairs=structural_similarity))


def correlation_distance_metric() -> Metric:
    """Correlation distance over processes; ``update(features_a, features_b, ids)`` as ``correlation_distance``."""
    return item_metric(Recipe("correlation distance", pairs=correlation_distance))


def two_way_metric(anchor: Literal["reconstruction", "truth"] = "reconstruction") -> Metric:
    """Two-way identification over processes; ``update(truth, reconstruction, ids, stimuli)`` with features (n, d).

    Args:
        anchor: Which side is compared with distractors from the other; MindEye takes the reconstruction.

    Returns:
        The metric. Features of all items are gathered in memory.
    """
    return item_metric(Recipe("two-way identification", matrix=partial(_two_way, anchor=anchor)))


def retrieval_metric(
    direction: Literal["picture_from_brain", "brain_from_picture"] = "picture_from_brain", k: int = 1
) -> Metric:
    """Top-k retrieval by cosine among all items; ``update(brain, image, ids, stimuli)`` with embeddings (n, d).

    Args:
        direction: What is looked for, given what.
        k: Number of places that count.

    Returns:
        The metric. Embeddings of all items are gathered in memory.
    """
    return item_metric(Recipe(f"{direction} top-{k}", matrix=partial(_retrieval, direction=direction, k=k)))


def item_metric(recipe: Recipe) -> Metric:
    """Make a torchmetrics metric whose ``compute()`` returns :class:`Scores`; log its ``value``.

    Args:
        recipe: What is kept and how it is scored.

    Returns:
        A metric with ``update(a, b, ids, stimuli=None)``: paired batches (n, ...) as tensors or arrays, one integer
        id per item, and the stimulus of each item where repeats of one stimulus are items of their own.
    """
    made: Metric = _item_metric_class()(recipe)
    return made


def one_of_each(
    ids: NDArray[np.int64], columns: Sequence[Array], name: str = "the metric"
) -> tuple[NDArray[np.int64], list[Array]]:
    """Drop the copies of items that a padding sampler made, and sort by id.

    Args:
        ids: Id of each row (n,).
        columns: What is known of each row, (n, ...) each.
        name: For the message.

    Returns:
        The distinct ids ascending (u,), and the columns (u, ...) in that order.

    Raises:
        ValueError: Two rows of one id hold different things.
    """
    distinct, first, which = np.unique(ids, return_index=True, return_inverse=True)
    copies = np.setdiff1d(np.arange(len(ids)), first)
    for column in columns:
        for row in copies:
            if not _alike(column[row], column[first[which[row]]]):
                raise ValueError(f"{name} got two different items of id {ids[row]}; an id stands for one item only")
    return distinct, [column[first] for column in columns]


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Gather rows from all ranks, of which some may hold more than others, or none.

    The gathering of torchmetrics needs the number of dimensions and the type on every rank, which a rank without
    items does not know: its placeholder is ``tensor([])``. Here a rank without items takes those of the others.

    Args:
        rows: Rows of this rank (n, ...); of any shape and type when it has no elements.
        group: Process group; None for all.

    Returns:
        Rows of each rank, in the order of ranks.

    Raises:
        ValueError: The rows differ in shape or type between ranks; raised on every rank.
    """
    import torch
    from torch import distributed

    dtypes = [torch.float32, torch.float64, torch.int64]
    world = distributed.get_world_size(group)
    header = torch.full((MAX_DIMS + 2,), -1, dtype=torch.int64, device=rows.device)
    header[1] = 0
    if rows.numel():
        header[: 1 + rows.ndim] = torch.tensor([dtypes.index(rows.dtype), *rows.shape])
    headers = [torch.empty_like(header) for _ in range(world)]
    distributed.all_gather(headers, header, group=group)
    known = [one.tolist() for one in headers]
    kinds = {(one[0], *one[2:]) for one in known if one[1] > 0}
    if len(kinds) > 1:
        raise ValueError(f"ranks hold rows of different shape or type: {sorted(kinds)}")
    if not kinds:
        return [rows[:0] for _ in range(world)]
    dtype, *shape = kinds.pop()
    padded = torch.zeros(
        (max(one[1] for one in known), *(size for size in shape if size >= 0)),
        dtype=dtypes[dtype],
        device=rows.device,
    )
    if rows.numel():
        padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in range(world)]
    distributed.all_gather(parts, padded, group=group)
    return [part[: one[1]] for part, one in zip(parts, known, strict=True)]


@cache
def _item_metric_class() -> Any:
    import torch
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat

    class ItemMetric(Metric):
        """Keeps rows with their ids; see :func:`item_metric`."""

        is_differentiable = False
        full_state_update = False

        def __init__(self, recipe: Recipe) -> None:
            super().__init__(dist_sync_fn=gather_rows)
            self.recipe = recipe
            self.columns = ("ids", "stimuli", "scores") if recipe.pairs else ("ids", "stimuli", "left", "right")
            for column in self.columns:
                self.add_state(column, default=[], dist_reduce_fx="cat")

        def __reduce__(self) -> tuple[Any, ...]:
            return item_metric, (self.recipe,), self.__getstate__()

        def update(self, a: Any, b: Any, ids: Any, stimuli: Any = None) -> None:
            left, right = _rows(a), _rows(b)
            if left.shape[0] != right.shape[0]:
                raise ValueError(f"{self.recipe.name} got {len(left)} and {len(right)} items; pair them one to one")
            items = ids_or_positions(_rows(ids), len(left))
            kept: list[Array] = [items, items if stimuli is None else ids_or_positions(_rows(stimuli), len(left))]
            kept += [self.recipe.pairs(left, right)] if self.recipe.pairs else [left, right]
            if len(left) == 0:
                return
            for column, values in zip(self.columns, kept, strict=True):
                # A copy: the caller may fill the same batch again.
                state = torch.from_numpy(np.array(values))
                known = state if state.dtype in (torch.float32, torch.float64, torch.int64) else state.double()
                getattr(self, column).append(known.to(self.device))

        def compute(self) -> Scores:
            states = [getattr(self, column) for column in self.columns]
            if any(len(state) == 0 for state in states):
                raise ValueError(f"{self.recipe.name} has seen no item on any rank; call update before compute")
            ids, stimuli, *kept = (dim_zero_cat(state).cpu().numpy() for state in states)
            return score_items(self.recipe, ids, stimuli, kept)

    return ItemMetric


def score_items(recipe: Recipe, ids: NDArray[np.int64], stimuli: NDArray[np.int64], kept: Sequence[Array]) -> Scores:
    """Score gathered items: the whole metric without processes.

    Args:
        recipe: How items are scored.
        ids: Id of each row (n,), copies allowed.
        stimuli: Stimulus of each row (n,).
        kept: What ``update`` kept: scores (n,), or both sides (n, d).

    Returns:
        The scores in ascending order of ids.

    Raises:
        ValueError: Two rows of one id hold different things.
    """
    items, (of_stimulus, *columns) = one_of_each(ids, [stimuli, *kept], recipe.name)
    if recipe.matrix is None:
        per_item = own = columns[0]
    else:
        per_item, own = recipe.matrix(columns[0], columns[1], of_stimulus)
    defined = ~np.isnan(per_item)
    value = float(per_item[defined].mean()) if defined.any() else float("nan")
    return Scores(value, len(items), int((np.isnan(own) | ~defined).sum()), per_item, items)


def _two_way(
    truth: Array, reconstruction: Array, stimuli: Array, anchor: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r = correlation_matrix(truth, reconstruction)
    return two_way_identification(r if anchor == "reconstruction" else r.T, stimuli), np.diagonal(r)


def _retrieval(
    brain: Array, image: Array, stimuli: Array, direction: str, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r = cosine_matrix(brain, image)
    return top_k(retrieval_ranks(r if direction == "picture_from_brain" else r.T, stimuli), k), np.diagonal(r)


def _rows(values: Any) -> Array:
    """Tensor or array as a numpy array; floats of 16 bits become float32."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        values = (tensor.float() if tensor.dtype.itemsize < 4 and tensor.is_floating_point() else tensor).numpy()
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _alike(a: Any, b: Any) -> bool:
    if np.issubdtype(np.asarray(a).dtype, np.integer):
        return bool(np.array_equal(a, b))
    size = float(np.abs(np.nan_to_num(b)).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE * size, equal_nan=True))
