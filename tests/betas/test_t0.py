import numpy as np

from fmri_lightning.betas.t0 import apply_t0, session_statistics


def test_known_answer():
    betas = np.array([[1.0, 10], [3, 10], [5, 10], [100, 20]], dtype=np.float32)
    found = session_statistics(betas, np.array([True, True, True, False]))
    assert found.mean.tolist() == [3, 10]
    assert found.std.tolist() == [np.float32(np.sqrt(8 / 3)), 0]
    assert found.bad.tolist() == [False, True]
    assert not found.transductive
    z = apply_t0(betas, found)
    assert np.allclose(z[:, 0], (np.array([1, 3, 5, 100]) - 3) / np.sqrt(8 / 3))
    assert z[:, 1].tolist() == [0, 0, 0, 0]


def test_trials_outside_train_do_not_move_the_statistics():
    rng = np.random.default_rng(0)
    betas = rng.standard_normal((30, 6)).astype(np.float32)
    is_train = np.arange(30) < 20
    found = session_statistics(betas, is_train)
    betas[~is_train] *= 1000
    again = session_statistics(betas, is_train)
    assert np.array_equal(found.mean, again.mean)
    assert np.array_equal(found.std, again.std)
    z = apply_t0(betas, again)[:20].astype(np.float64)
    assert np.allclose(z.mean(axis=0), 0, atol=1e-6)
    assert np.allclose(z.std(axis=0, ddof=0), 1, atol=1e-6)


def test_nan_and_a_constant_without_exact_mean_are_bad_and_zero():
    betas = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
    betas[4, 0] = np.nan
    betas[:, 1] = np.float32(0.1)
    found = session_statistics(betas, np.ones(11, dtype=bool))
    assert found.bad.tolist() == [True, True, False]
    assert np.isfinite(apply_t0(betas, found)).all()
    assert not apply_t0(betas, found)[:, :2].any()


def test_nan_in_a_trial_outside_train_is_bad_too():
    betas = np.random.default_rng(0).standard_normal((8, 2)).astype(np.float32)
    betas[7, 1] = np.inf
    found = session_statistics(betas, np.arange(8) < 6)
    assert found.bad.tolist() == [False, True]


def test_a_session_without_train_trials_uses_its_own_and_says_so():
    betas = np.random.default_rng(0).standard_normal((8, 2)).astype(np.float32)
    found = session_statistics(betas, np.zeros(8, dtype=bool))
    assert found.transductive
    assert found.fitted_on.all()
    assert np.allclose(found.mean, betas.mean(axis=0))


def test_raw_values_come_back():
    betas = (np.random.default_rng(0).standard_normal((40, 5)) * 0.9 + 1).astype(np.float32)
    found = session_statistics(betas, np.arange(40) % 3 > 0)
    assert np.allclose(apply_t0(betas, found) * found.std + found.mean, betas, atol=1e-6)
