"""Leaving regions out: what is planted is missed, size alone is not, and random sets are what they promise."""

import numpy as np
import pytest

from fmri_lightning.evaluation.voxels.ablation import METRICS, AblationPlan, Decoding, ablate

V = 60
PLANTED = np.arange(V) < 12
SILENT = np.arange(V) >= 40


@pytest.fixture(scope="module")
def decoding():
    """Twelve voxels carry the embedding well, some carry a little, twenty carry nothing."""
    rng = np.random.default_rng(0)
    n_train, n_test, dim = 150, 60, 6
    embeddings = rng.normal(size=(n_train + n_test, dim)) + 2
    gain = np.where(PLANTED, 1.0, np.where(SILENT, 0.0, 0.15))
    responses = (embeddings - 2) @ rng.normal(size=(dim, V)) * gain + 1.5 * rng.normal(size=(n_train + n_test, V))
    x, y = (3 + 5 * responses).astype(np.float32), embeddings.astype(np.float32)
    return Decoding.of(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


@pytest.fixture(scope="module")
def found(decoding):
    regions = {"planted": PLANTED, "silent": SILENT, "both": PLANTED | SILENT}
    return ablate(decoding, regions, AblationPlan(n_controls=19, min_voxels=5, resamples=500))


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_planted_is_missed_more_than_random_sets_of_its_size(found, metric) -> None:
    planted = found["regions"]["planted"]["drop"][metric]
    assert planted["difference"]["ci_high"] < 0
    assert planted["difference"]["value"] < min(planted["controls"])
    assert planted["p"] == pytest.approx(1 / 20)
    alone = found["regions"]["planted"]["keep"][metric]
    assert alone["value"] > max(alone["controls"])
    assert alone["p"] == pytest.approx(1 / 20)


def test_what_is_silent_is_not_missed_although_it_is_large(found) -> None:
    silent = found["regions"]["silent"]
    assert silent["drop"]["centred_cosine"]["p"] > 0.9
    assert silent["keep"]["centred_cosine"]["value"] < 0.2
    assert silent["keep"]["centred_cosine"]["p"] > 0.9


def test_every_difference_is_paired_with_the_full_set(found) -> None:
    for entry in found["regions"].values():
        for metric in METRICS:
            one = entry["drop"][metric]
            assert one["difference"]["value"] == pytest.approx(one["value"] - found["full"][metric]["value"])


def test_the_answer_does_not_hang_on_other_regions_or_on_the_scale_of_voxels(decoding, found) -> None:
    plan = AblationPlan(n_controls=19, min_voxels=5, resamples=500)
    assert ablate(decoding, {"planted": PLANTED}, plan)["regions"]["planted"] == found["regions"]["planted"]
    scale = np.exp(np.random.default_rng(1).normal(size=V)).astype(np.float32)
    scaled = Decoding.of(
        decoding.train * scale, decoding.train_embeddings, decoding.test * scale, decoding.test_embeddings
    )
    again = ablate(scaled, {"planted": PLANTED}, plan)
    assert again["full"]["centred_cosine"]["value"] == pytest.approx(found["full"]["centred_cosine"]["value"], abs=1e-4)


def test_random_sets_have_the_size_of_the_region_and_are_drawn_where_promised() -> None:
    for origin in ("all", "outside"):
        sets = AblationPlan(n_controls=50, controls_from=origin).sets("planted", PLANTED)
        assert len(sets) == 50
        assert {len(np.unique(one)) for one in sets} == {12}
        assert any(PLANTED[one].any() for one in sets) == (origin == "all")
    again = AblationPlan(n_controls=50, controls_from="outside").sets("planted", PLANTED)
    assert all(np.array_equal(a, b) for a, b in zip(sets, again, strict=True))
    other = AblationPlan(n_controls=50, controls_from="outside").sets("elsewhere", PLANTED)
    assert not all(np.array_equal(a, b) for a, b in zip(sets, other, strict=True))


def test_a_region_that_leaves_too_little_says_so(decoding) -> None:
    nearly_all, all_of_them = np.arange(V) < V - 3, np.ones(V, bool)
    plan = AblationPlan(n_controls=3, controls_from="outside", min_voxels=10, resamples=200)
    fitted = []

    def score(voxels):
        fitted.append(len(voxels))
        return decoding.score(voxels)

    regions = {"nearly": nearly_all, "all": all_of_them}
    found = ablate(decoding, regions, plan, score)
    for entry in found["regions"].values():
        assert "drop" not in entry
        assert "fewer than 10" in entry["not_dropped"]
        assert "voxels are left to draw as many from" in entry["no_controls"]
        assert entry["keep"]["two_way"]["p"] is None
    assert len(fitted) == plan.n_fits(regions) == 3
    none = ablate(decoding, {"planted": PLANTED}, AblationPlan(n_controls=0, resamples=200))["regions"]["planted"]
    assert none["no_controls"] == "no random sets were asked for"
    assert none["drop"]["centred_cosine"]["p"] is None


def test_the_number_of_fits_told_before_is_the_number_made(decoding) -> None:
    plan, fitted = AblationPlan(n_controls=2, resamples=200), []

    def score(voxels):
        fitted.append(len(voxels))
        return decoding.score(voxels)

    regions = {"planted": PLANTED, "silent": SILENT}
    ablate(decoding, regions, plan, score)
    assert len(fitted) == plan.n_fits(regions) == 13
    assert sorted(set(fitted)) == [12, 20, 40, 48, 60]


def test_a_set_is_fitted_on_training_stimuli_only(decoding) -> None:
    other = Decoding(decoding.train, decoding.train_embeddings, -decoding.test[::-1], decoding.test_embeddings)
    turned = other.score(np.arange(V))["centred_cosine"].mean()
    assert decoding.score(np.arange(V))["centred_cosine"].mean() > 0.5
    assert abs(turned) < 0.25
