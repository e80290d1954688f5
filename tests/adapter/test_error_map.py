"""The map from uncertainty to error: planted truth is found, and where there is none, none is claimed."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from fmri_lightning.adapter.reliability.error_map import fit_error_map, held_out_errors
from fmri_lightning.errors import BadInputError


def planted(n=150, seed=0, power=(0.5, 0.0, 0.0), scatter=0.15):
    rng = np.random.default_rng(seed)
    signals = np.exp(rng.normal(size=(n, 3)))
    errors = 0.7 * np.exp(np.log(signals) @ np.array(power) + scatter * rng.normal(size=n))
    return signals, errors, np.arange(n)


@pytest.mark.parametrize("power", [(0.5, 0.0, 0.0), (0.0, 0.4, 0.0), (0.0, 0.0, 0.3), (0.3, 0.2, 0.1)])
def test_a_planted_power_law_is_found(power):
    signals, errors, ids = planted(power=power)
    found, ordering = fit_error_map(signals, errors, ids)
    assert found.kind == "power_law"
    np.testing.assert_allclose(found.exponents, power, atol=0.06)
    assert ordering.rho > 0.7
    assert 0 < ordering.low < ordering.rho < ordering.high < 1
    truth = 0.7 * np.exp(np.log(signals) @ np.array(power) + 0.15**2)  # the root of the mean square
    np.testing.assert_allclose(found.errors(signals), truth, rtol=0.12)


def test_a_step_is_found_by_the_isotonic_map():
    signals, _, ids = planted(n=200)
    variance = signals[:, 0] + signals[:, 1]
    errors = np.where(variance > np.median(variance), 1.0, 0.3) * np.exp(
        0.05 * np.random.default_rng(1).normal(size=200)
    )
    found, _ = fit_error_map(signals, errors, ids)
    assert found.kind == "isotonic_variance"
    order = np.argsort(variance)
    assert (np.diff(found.errors(signals)[order]) >= -1e-12).all()


def test_what_falls_with_uncertainty_is_not_believed():
    signals, errors, ids = planted(power=(-0.5, 0.0, 0.0))
    found, ordering = fit_error_map(signals, errors, ids)
    assert not ordering.useful
    assert found.kind == "constant"


def test_errors_that_nothing_tells_are_expected_to_be_alike():
    useful = 0
    for seed in range(20):
        signals, errors, ids = planted(seed=seed, power=(0.0, 0.0, 0.0))
        found, ordering = fit_error_map(signals, errors, ids)
        useful += ordering.useful
        if not ordering.useful:
            np.testing.assert_allclose(found.errors(signals), np.sqrt(np.square(errors).mean()))
    assert useful <= 2  # one in forty is expected


def test_uncertainties_that_are_all_alike_order_nothing():
    _, errors, ids = planted()
    found, ordering = fit_error_map(np.full((150, 3), 0.3), errors, ids)
    assert found.kind == "constant"
    assert not ordering.useful


def test_the_mean_squared_error_is_right_on_average():
    signals, errors, ids = planted(scatter=0.5)
    found, _ = fit_error_map(signals, errors, ids)
    assert np.square(found.errors(signals)).mean() == pytest.approx(np.square(errors).mean())


def test_beyond_the_val_pictures_the_last_value_holds():
    signals, errors, ids = planted()
    found, _ = fit_error_map(signals, errors, ids)
    far = found.errors(np.array([[1e-9, 1.0, 1.0], [1e9, 1.0, 1.0]]))
    assert far[0] >= found.errors(signals).min() - 1e-12
    assert far[1] <= found.errors(signals).max() + 1e-12


def test_held_out_errors_are_of_the_other_folds():
    signals, errors, ids = planted()
    expected, fold = held_out_errors(signals, errors, ids)
    changed = np.where(fold == 2, errors * 9, errors)
    again, _ = held_out_errors(signals, changed, ids)
    assert np.array_equal(again[fold == 2], expected[fold == 2])
    assert not np.array_equal(again[fold != 2], expected[fold != 2])
    assert spearmanr(expected, errors).statistic > 0.7


def test_the_rank_correlation_is_that_of_the_folds():
    signals, errors, ids = planted(scatter=0.6)
    expected, fold = held_out_errors(signals, errors, ids)
    _, ordering = fit_error_map(signals, errors, ids)
    folds = [spearmanr(expected[fold == f], errors[fold == f]).statistic for f in range(5)]
    assert ordering.rho == pytest.approx(np.mean(folds))  # of 30 pictures each
    assert ordering.high - ordering.low == pytest.approx(2 * 1.96 * (1 - ordering.rho**2) / np.sqrt(150), rel=0.4)


def test_trials_of_a_picture_are_held_out_together():
    signals, errors, ids = planted()
    pictures = ids // 3
    _, fold = held_out_errors(signals, errors, pictures)
    assert all(len(np.unique(fold[pictures == i])) == 1 for i in range(50))
    _, ordering = fit_error_map(signals, errors, pictures)
    assert ordering.n_stimuli == 50


def test_refusals():
    signals, errors, ids = planted()
    with pytest.raises(BadInputError, match="9 val pictures are too few"):
        fit_error_map(signals[:9], errors[:9], ids[:9])
    for broken in (signals, errors):
        copied = [signals.copy(), errors.copy()]
        copied[broken is errors].flat[5] = np.nan
        with pytest.raises(BadInputError, match="NaN"):
            fit_error_map(*copied, ids)
