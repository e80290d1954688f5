"""Metrics over processes give what the pure functions give in one."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import distributed

from fmri_lightning.metrics.cosine import cosine_matrix
from fmri_lightning.metrics.distances import correlation_distance
from fmri_lightning.metrics.distributed import (
    correlation_distance_metric,
    gather_rows,
    one_of_each,
    pixel_correlation_metric,
    retrieval_metric,
    structural_similarity_metric,
    two_way_metric,
)
from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification
from fmri_lightning.metrics.pixcorr import pixel_correlation
from fmri_lightning.metrics.retrieval import retrieval_ranks, top_k
from fmri_lightning.metrics.ssim import structural_similarity

N = 23
METRICS = {
    "pixcorr": (pixel_correlation_metric, "pictures", lambda a, b, _: pixel_correlation(a, b)),
    "ssim": (structural_similarity_metric, "pictures", lambda a, b, _: structural_similarity(a, b)),
    "distance": (correlation_distance_metric, "features", lambda a, b, _: correlation_distance(a, b)),
    "two_way": (two_way_metric, "features", lambda a, b, s: two_way_identification(correlation_matrix(a, b), s)),
    "two_way_truth": (
        lambda: two_way_metric("truth"),
        "features",
        lambda a, b, s: two_way_identification(correlation_matrix(a, b).T, s),
    ),
    "top_1": (retrieval_metric, "features", lambda a, b, s: top_k(retrieval_ranks(cosine_matrix(a, b), s), 1)),
    "top_5_brain": (
        lambda: retrieval_metric("brain_from_picture", 5),
        "features",
        lambda a, b, s: top_k(retrieval_ranks(cosine_matrix(a, b).T, s), 5),
    ),
}


def items(kind):
    """Both sides of all items, ascending ids with gaps, and stimuli that occur twice."""
    rng = np.random.default_rng(3)
    shape = (N, 12, 12, 3) if kind == "pictures" else (N, 40)
    a = rng.random(shape).astype(np.float32)
    b = (a + rng.random(shape)).astype(np.float32) / 2
    return a, b, np.sort(rng.permutation(70_000)[:N]), np.arange(N) // 2


def feed(metric, kind, rows, batch=4):
    a, b, ids, stimuli = items(kind)
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        metric.update(*(torch.from_numpy(values[part]) for values in (a, b, ids, stimuli)))


def shares(layout, world):
    """Rows of each rank: uneven, or none on the last; copies of rows of other ranks pad them."""
    order = np.random.default_rng(5).permutation(N)
    if layout == "uneven":
        parts = np.split(order, [2, 7][: world - 1]) if world > 1 else [order]
        return [np.r_[part, parts[0][:2]] for part in parts]
    return [*np.array_split(order, max(1, world - 1)), *[np.array([], int)] * (world > 1)]


def run_rank(rank, world, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    try:
        found = {}
        for layout in ("uneven", "none on the last"):
            for name, (make, kind, _) in METRICS.items():
                metric = make()
                feed(metric, kind, shares(layout, world)[rank], batch=3 + rank)
                scores = metric.compute()
                found[f"{layout}/{name}"] = (scores.value, scores.n, scores.n_undefined, scores.per_item, scores.ids)
                # What a rank held before is restored: more batches may follow.
                assert metric._update_count == -(-len(shares(layout, world)[rank]) // (3 + rank))
        with pytest.raises(ValueError, match="seen no item on any rank"):
            two_way_metric().compute()
        if world > 1:
            with pytest.raises(ValueError, match="different shape or type"):
                gather_rows(torch.zeros(2, 3 + rank))
        (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
    finally:
        distributed.destroy_process_group()


def check(folder, world):
    expected = {}
    for name, (_, kind, score) in METRICS.items():
        a, b, ids, stimuli = items(kind)
        expected[name] = score(a, b, stimuli), ids
    for rank in range(world):
        found = pickle.loads((folder / f"{rank}.pickle").read_bytes())
        assert len(found) == 2 * len(METRICS)
        for key, (value, n, n_undefined, per_item, ids) in found.items():
            scores, all_ids = expected[key.split("/")[1]]
            assert per_item.tobytes() == scores.tobytes(), key
            assert (value, n, n_undefined) == (scores.mean(), N, 0), key
            assert ids.tolist() == all_ids.tolist(), key


@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
@pytest.mark.parametrize("world", [1, *(pytest.param(world, marks=pytest.mark.slow) for world in (2, 3))])
def test_processes_give_the_bytes_of_one(tmp_path, world):
    if world == 1:
        run_rank(0, 1, tmp_path)
    else:
        torch.multiprocessing.spawn(run_rank, (world, tmp_path), nprocs=world)
    check(tmp_path, world)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("batch", [1, 5, N])
def test_one_process_in_any_batches_and_order(name, batch):
    make, kind, score = METRICS[name]
    metric = make()
    feed(metric, kind, np.random.default_rng(batch).permutation(N), batch)
    a, b, ids, stimuli = items(kind)
    assert metric.compute().per_item.tobytes() == score(a, b, stimuli).tobytes()
    assert metric.compute().ids.tolist() == ids.tolist()
    metric.reset()
    feed(metric, kind, np.arange(6))
    assert metric.compute().n == 6


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_no_items_is_an_error_and_an_empty_batch_is_none():
    metric = pixel_correlation_metric()
    with pytest.raises(ValueError, match="PixCorr has seen no item"):
        metric.compute()
    metric.update(np.zeros((0, 8, 8, 3)), np.zeros((0, 8, 8, 3)), np.zeros(0, int))
    with pytest.raises(ValueError, match="PixCorr has seen no item"):
        metric.compute()


def test_undefined_items_are_counted():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 30)).astype(np.float32)
    b[1] = 0.5
    metric = pixel_correlation_metric()
    metric.update(a, b, np.arange(5))
    scores = metric.compute()
    assert (scores.n, scores.n_undefined) == (5, 1)
    assert np.isnan(scores.per_item).tolist() == [False, True, False, False, False]
    assert scores.value == np.delete(scores.per_item, 1).mean()
    metric = two_way_metric()
    metric.update(a, b, np.arange(5))
    scores = metric.compute()
    assert (scores.n, scores.n_undefined, scores.per_item[1]) == (5, 1, 0.0)
    assert scores.value == scores.per_item.mean()
    metric = pixel_correlation_metric()
    metric.update(np.ones((2, 6)), np.ones((2, 6)), np.arange(2))
    assert np.isnan(metric.compute().value)
    assert metric.compute().n_undefined == 2


def test_one_id_is_one_item():
    ids, (values,) = one_of_each(np.array([9, 4, 9]), [np.array([1.0, 2.0, 1.0 + 1e-7])])
    assert ids.tolist() == [4, 9]
    assert values.tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match="two different items of id 9"):
        one_of_each(np.array([9, 4, 9]), [np.array([1.0, 2.0, 1.1])])
    with pytest.raises(ValueError, match="two different items of id 1"):
        one_of_each(np.array([1, 1]), [np.array([70_000, 70_001])])
    one_of_each(np.array([1, 1]), [np.array([np.nan, np.nan])])


@pytest.mark.parametrize("copy", [deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))])
def test_a_metric_can_be_copied_and_pickled(copy):
    metric = two_way_metric("truth")
    feed(metric, "features", np.arange(9))
    other = copy(metric)
    feed(other, "features", np.arange(9, N))
    feed(metric, "features", np.arange(9, N))
    assert other.compute().per_item.tobytes() == metric.compute().per_item.tobytes()


def test_half_precision_and_refusals():
    a = torch.rand(4, 20)
    metric = retrieval_metric()
    metric.update(a.bfloat16(), a.half(), [3, 1, 2, 0])
    assert metric.compute().value == 1.0
    with pytest.raises(ValueError, match="pair them one to one"):
        metric.update(a, a[:3], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="4 items need 4 ids"):
        metric.update(a, a, [1, 2])
