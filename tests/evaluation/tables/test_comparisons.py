"""Paired tests against enumeration, and intervals of means over subjects against loops."""

from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fmri_lightning.evaluation.tables.comparisons import compare_runs, holm, paired_differences
from fmri_lightning.evaluation.tables.resampling import StimulusBootstrap
from fmri_lightning.evaluation.tables.scored import ItemScores, load_scored
from fmri_lightning.metrics.bootstrap import bootstrap_interval
from fmri_lightning.metrics.permutation import paired_sign_flip


def items(ids, values):
    return ItemScores(np.asarray(ids), np.asarray(values, float), np.asarray(values, float))


def test_repeats_are_averaged_and_undefined_stimuli_counted() -> None:
    first = items([3, 1, 1, 2, 7, 9], [0.5, 0.2, 0.4, np.nan, 1.0, 0.1])
    second = items([1, 2, 3, 8, 9], [0.1, 0.5, 0.5, 0.3, np.inf])
    differences, _, n_undefined = paired_differences(first, second)
    # Stimuli 1 and 3 have both; 2 and 9 are common but undefined on one side; 7 and 8 are not common.
    assert differences == pytest.approx([0.2, 0.0])
    assert n_undefined == 2


def test_p_is_that_of_all_sign_patterns(written) -> None:
    a, b = np.array([0.9, 0.7, 0.8, 0.4, 0.95, 0.6, 0.5]), np.array([0.5, 0.6, 0.2, 0.5, 0.3, 0.4, 0.45])
    runs = load_scored([written.run("mlp", {"pixcorr": a}), written.run("ridge", {"pixcorr": b})])
    (one,) = compare_runs(runs, ["pixcorr", "ssim"], 500, 0)
    d = a - b
    null = [abs(np.dot(signs, d)) / len(d) for signs in product((-1, 1), repeat=len(d))]
    exact = np.mean(np.array(null) >= abs(d.mean()) - 1e-12)
    # None, .05 or one of the two .1 turned round leaves at least the sum observed, and so do their mirrors.
    assert exact == 8 / 128
    # 9,999 random patterns: three standard errors are 0.0073.
    assert one.p == pytest.approx(exact, abs=0.0073)
    assert one.p > 0
    assert one.p_holm == one.p
    assert (one.first, one.second, one.subject, one.n, one.n_undefined) == (
        "mlp + mini",
        "ridge + mini",
        "subj01",
        7,
        0,
    )
    assert one.difference == pytest.approx(d.mean())
    assert one.ci_low < one.difference < one.ci_high


def test_only_runs_of_one_subject_are_compared(written) -> None:
    scores = {"pixcorr": [0.1, 0.2, 0.3]}
    folders = [written.run(name, scores, subject=s) for name in ("mlp", "ridge") for s in ("subj01", "subj02")]
    found = compare_runs(load_scored(folders), ["pixcorr"], 200, 0)
    assert [(one.subject, one.difference, one.p) for one in found] == [("subj01", 0.0, 1.0), ("subj02", 0.0, 1.0)]


def test_nothing_in_common_has_no_p(written) -> None:
    first = written.run("mlp", {"pixcorr": [0.1, 0.2], "ssim": [0.1, np.nan]}, ids=[1, 2])
    second = written.run("ridge", {"pixcorr": [0.1, 0.2], "ssim": [np.nan, 0.5]}, ids=[1, 2])
    pixcorr, ssim = compare_runs(load_scored([first, second]), ["pixcorr", "ssim"], 200, 0)
    assert (ssim.n, ssim.n_undefined, ssim.difference, ssim.p, ssim.p_holm) == (0, 2, None, None, None)
    assert pixcorr.n == 2


def test_holm_by_hand() -> None:
    assert holm(np.array([0.04, 0.01, 0.03, 0.5])) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_interval_of_the_mean_equals_a_loop(statistic) -> None:
    rng = np.random.default_rng(3)
    first = items([0, 1, 1, 2, 3, 4, 5], rng.normal(size=7))
    second = items([5, 4, 3, 2, 1, 0], rng.normal(size=6))
    low, high = StimulusBootstrap(400, 11).interval_of_mean([first, second], statistic)
    draws = np.random.default_rng(11).integers(0, 6, size=(400, 6))
    of_items = {"mean": np.mean, "median": np.median}[statistic]
    resampled = [
        np.mean([of_items(np.concatenate([s.values[s.ids == i] for i in draw])) for s in (first, second)])
        for draw in draws
    ]
    assert (low, high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))


def test_stimuli_are_drawn_together_for_all_subjects() -> None:
    values = np.random.default_rng(0).uniform(size=20)
    mirrored = [items(range(20), values), items(range(20), 1.0 - values)]
    bootstrap = StimulusBootstrap(300, 0)
    # What one subject gains by a draw the other loses: drawn apart, the interval would be wide.
    assert bootstrap.interval_of_mean(mirrored) == pytest.approx((0.5, 0.5))
    low, high = bootstrap.interval_of_mean(mirrored[:1])
    assert high - low > 0.1
    assert bootstrap.interval_of_mean([mirrored[0], items([1, 2], [np.nan, np.nan])]) is None


def test_intervals_draw_what_an_item_adds_as_distractor_too(written) -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((2, 40))
    influence = scores + rng.normal(0, 0.5, (2, 40))
    influence += (scores - influence).mean(axis=1, keepdims=True)
    folders = [written.run(name, {"judge2_two_way": scores[i]}) for i, name in enumerate(("mlp", "ridge"))]
    for folder, of_run in zip(folders, influence, strict=True):
        table = pq.read_table(folder / "scores.parquet")
        place = table.column_names.index("influence")
        table = table.set_column(place, "influence", pa.array(of_run))
        pq.write_table(table, folder / "scores.parquet", write_page_checksum=True)
    found = compare_runs(load_scored(folders), ["judge2_two_way"], 2000, 0)[0]
    expected = bootstrap_interval(influence[0] - influence[1], n_resamples=2000)
    assert found.difference == pytest.approx((scores[0] - scores[1]).mean(), abs=1e-12)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.p == paired_sign_flip(scores[0] - scores[1])
