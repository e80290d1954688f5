"""What voxels respond to."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from fmri_lightning.simulate.geometry import box_shape, make_brain
from fmri_lightning.simulate.pictures import scene_source
from fmri_lightning.simulate.pyramid import GRID, channel_maps
from fmri_lightning.simulate.recipe import RECIPE
from fmri_lightning.simulate.voxels import draw_early_tuning, draw_ncsnr, higher_signal, voxel_signals


@pytest.fixture(scope="module")
def brain():
    return make_brain(1, 600, seed=0)


@pytest.fixture(scope="module")
def shown():
    pictures, meaning = scene_source(0, 32).read(np.arange(700))
    return channel_maps(pictures), meaning


@pytest.fixture(scope="module")
def signals(brain, shown):
    return voxel_signals(*shown, brain, np.random.default_rng(0))


@pytest.mark.parametrize("subject", range(1, 9))
@pytest.mark.parametrize("voxels", [60, 600, 2000])
def test_sides_of_the_box_differ(subject, voxels):
    assert len(set(box_shape(subject, voxels))) == 3


def test_signals_are_standardised_over_pictures_and_absent_outside_cortex(brain, signals):
    inside = signals[:, brain.cortex]
    np.testing.assert_allclose(inside.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(inside.std(axis=0), 1, atol=1e-3)
    assert not signals[:, ~brain.cortex].any()


def test_receptive_fields_of_the_left_brain_lie_on_the_right(brain):
    early = np.flatnonzero(brain.labels["streams"] == 1)
    tuning = draw_early_tuning(brain, early, np.random.default_rng(0))
    np.testing.assert_allclose(tuning.field.sum(axis=0), 1, rtol=1e-5)
    column = (np.arange(GRID * GRID) % GRID + 0.5) / GRID
    centre = column @ tuning.field
    assert centre[brain.left[early]].mean() > 0.52
    assert centre[~brain.left[early]].mean() < 0.48


def test_early_voxels_do_not_see_outside_their_field(brain, shown):
    from fmri_lightning.simulate.voxels import early_signal

    maps, _ = shown
    early = np.flatnonzero(brain.labels["prf-visualrois"] == 1)
    tuning = draw_early_tuning(brain, early, np.random.default_rng(0))
    voxel = int(tuning.field.max(axis=0).argmax())
    changed = maps[:60].copy()
    far = tuning.field[:, voxel] < 1e-9
    assert far.any()
    # Moving what lies outside leaves the medians that set the compression as they are.
    changed[:, :, far] = changed[:, :, np.random.default_rng(1).permutation(np.flatnonzero(far))]
    before, after = (
        early_signal(which, type(tuning)(tuning.field[:, [voxel]], tuning.weights[:, [voxel]]))
        for which in (maps[:60], changed)
    )
    np.testing.assert_allclose(before, after, atol=1e-3)
    assert np.abs(changed - maps[:60]).max() > 0.1


def test_higher_voxels_are_not_linear_in_the_meaning_but_depend_on_it(brain, shown, signals):
    higher = signals[:, (brain.labels["streams"] >= 5) & brain.nsdgeneral]
    attributes = shown[1].attributes
    model = RidgeCV([1.0, 10.0, 100.0]).fit(attributes[:500], higher[:500])
    residual = ((model.predict(attributes[500:]) - higher[500:]) ** 2).mean(axis=0)
    explained = np.median(1 - residual / higher[500:].var(axis=0))
    assert 0.3 < explained < 0.9
    # Without noise a linear function would be fitted to the last digit.
    control = attributes @ np.random.default_rng(1).normal(size=(attributes.shape[1], 20))
    linear = RidgeCV([1e-3]).fit(attributes[:500], control[:500])
    assert linear.score(attributes[500:], control[500:]) > 0.999


def test_higher_voxels_ignore_the_pixels(brain, shown):
    higher = np.flatnonzero((brain.labels["streams"] >= 5) & brain.nsdgeneral)[:20]
    meaning = shown[1]
    first, again = (higher_signal(meaning, brain, higher, np.random.default_rng(3)) for _ in range(2))
    assert (first == again).all()


def test_selective_regions_prefer_their_domain(brain, shown, signals):
    faces = shown[1].domains[:, 0]
    inside = signals[:, brain.labels["floc-faces"] > 0]
    outside = signals[:, (brain.labels["streams"] >= 5) & (brain.labels["floc-faces"] == 0)]

    def correlation(block):
        return np.mean([np.corrcoef(faces, voxel)[0, 1] for voxel in block.T])

    assert correlation(inside) > correlation(outside) + 0.2


def test_planted_ncsnr_follows_its_law_and_early_voxels_lead(brain):
    ncsnr = draw_ncsnr(brain, np.random.default_rng(0))
    visual = ncsnr[brain.nsdgeneral]
    assert np.median(visual) == pytest.approx(RECIPE.ncsnr_median, abs=0.002)
    inner = np.log(visual[visual < RECIPE.ncsnr_cap])
    assert inner.std() == pytest.approx(RECIPE.ncsnr_sigma, abs=0.03)
    assert visual.max() == RECIPE.ncsnr_cap
    early = brain.labels["prf-visualrois"] > 0
    assert np.median(ncsnr[early]) > np.median(ncsnr[brain.nsdgeneral & ~early]) + 0.05
    assert np.median(ncsnr[brain.cortex & ~brain.nsdgeneral]) == pytest.approx(0.1, abs=0.02)
    assert not ncsnr[~brain.cortex].any()
