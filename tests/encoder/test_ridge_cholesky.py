"""The path of a GPU, run on the CPU: the same numbers as from the eigendecomposition."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from fmri_lightning.encoder.ridge import CholeskyFailedWarning, fit_ridge
from fmri_lightning.encoder.ridge_cholesky import full_float32_products
from fmri_lightning.errors import ResourceError, UsageError
from tests.encoder.test_ridge import problem
from tests.encoder.test_ridge_folds import folds_by_stimulus

pytestmark = pytest.mark.filterwarnings("ignore::fmri_lightning.encoder.ridge.AlphaAtEdgeWarning")


def both(*arguments, **options):
    return [fit_ridge(*arguments, solver=solver, **options) for solver in ("evd", "cholesky")]


@pytest.mark.parametrize("n_voxels", [30, 200])
@pytest.mark.parametrize("leave_out", ["stimulus", "folds", "trials of folds"])
@pytest.mark.parametrize("scoring", ["mse", "cosine"])
def test_equals_the_eigendecomposition_in_double_precision(n_voxels, leave_out, scoring):
    features, targets, stimuli = problem(n_voxels=n_voxels)
    folds = None if leave_out == "stimulus" else folds_by_stimulus(stimuli)
    options = {"folds": folds, "average_repeats": leave_out != "trials of folds", "scoring": scoring}
    evd, cholesky = both(features, targets, stimuli, keep_left_out=True, dtype="float64", **options)
    np.testing.assert_allclose(cholesky.alphas, evd.alphas, rtol=1e-12)
    np.testing.assert_allclose(cholesky.loo_mse, evd.loo_mse, rtol=1e-8)
    np.testing.assert_allclose(cholesky.scores, evd.scores, rtol=1e-8)
    np.testing.assert_allclose(cholesky.weights, evd.weights, atol=1e-10)
    np.testing.assert_allclose(cholesky.intercept, evd.intercept, rtol=1e-10)
    np.testing.assert_allclose(cholesky.left_out, evd.left_out, atol=1e-6)


@pytest.mark.parametrize("n_voxels", [60, 400])
@pytest.mark.parametrize("cv", ["stimulus", 5])
def test_equals_the_eigendecomposition_in_single_precision(n_voxels, cv):
    features, targets, stimuli = problem(n_stimuli=100, n_voxels=n_voxels, noise=6.0)
    evd, cholesky = both(features, targets, stimuli, alphas=np.logspace(1, 6, 11), cv=cv)
    assert cholesky.dtype == "float32"
    assert cholesky.alpha[0] == evd.alpha[0]
    np.testing.assert_allclose(cholesky.loo_mse, evd.loo_mse, rtol=1e-4)
    np.testing.assert_allclose(cholesky.weights, evd.weights, atol=1e-5)


def test_one_alpha_per_target():
    features, targets, stimuli = problem(n_voxels=200, n_targets=6)
    targets[:, 3] = np.random.default_rng(5).standard_normal(500)[stimuli]
    evd, cholesky = both(features, targets, stimuli, alphas=[1, 1e4], alpha_per_target=True, dtype="float64")
    assert len(np.unique(evd.alpha)) > 1
    np.testing.assert_array_equal(cholesky.alpha, evd.alpha)
    np.testing.assert_allclose(cholesky.weights, evd.weights, atol=1e-10)


def test_chunks_of_folds_give_the_same(monkeypatch):
    features, targets, stimuli = problem(n_voxels=200)
    at_once = fit_ridge(features, targets, stimuli, solver="cholesky")
    monkeypatch.setattr("fmri_lightning.encoder.ridge_cholesky.CHUNK_VALUES", 20)
    chunked = fit_ridge(features, targets, stimuli, solver="cholesky")
    np.testing.assert_allclose(chunked.loo_mse, at_once.loo_mse, rtol=1e-6)


@pytest.mark.parametrize("in_place", [True, False])
def test_falls_back_to_double_precision_without_adding_jitter(in_place):
    # A voxel 1e5 times larger than the others drowns them in a Gram matrix of trials in float32.
    features, targets, stimuli = problem(n_voxels=200, offset=0.0)
    features[:, 0] *= 1e5
    features = features.astype(np.float32)
    reference = fit_ridge(features, targets, stimuli, [1e-2], dtype="float64")
    with pytest.warns(CholeskyFailedWarning, match="solved on the CPU in float64"):
        fit = fit_ridge(features.copy(), targets, stimuli, [1e-2], solver="cholesky", overwrite_features=in_place)
    assert fit.dtype == "float64"
    # Features centred in place were rounded to float32 once more.
    np.testing.assert_allclose(fit.weights, reference.weights, atol=1e-3 if in_place else 1e-12)


def test_products_are_full_float32_during_a_fit_and_as_before_after_it():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with full_float32_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_says_so_without_a_cuda_device():
    with pytest.raises(ResourceError, match="no CUDA device"):
        fit_ridge(*problem(), device="cuda")


def test_refuses_an_eigendecomposition_off_the_cpu_and_unknown_solvers():
    with pytest.raises(UsageError, match="runs on the CPU"):
        fit_ridge(*problem(), device="cuda", solver="evd")
    with pytest.raises(UsageError, match="'auto', 'evd' or 'cholesky'"):
        fit_ridge(*problem(), solver="lsqr")


@pytest.mark.gpu
@pytest.mark.parametrize("n_voxels", [60, 400])
def test_equals_the_cpu_on_a_gpu(n_voxels):
    features, targets, stimuli = problem(n_stimuli=100, n_voxels=n_voxels, noise=6.0)
    alphas = np.logspace(1, 6, 11)
    cpu, gpu = (
        fit_ridge(features, targets, stimuli, alphas, device=device) for device in ("cpu", torch.device("cuda"))
    )
    assert gpu.alpha[0] == cpu.alpha[0]
    np.testing.assert_allclose(gpu.loo_mse, cpu.loo_mse, rtol=1e-4)
    np.testing.assert_allclose(gpu.weights, cpu.weights, atol=1e-5)


def test_the_cpu_path_runs_without_torch():
    code = (
        "import sys, numpy as np; from fmri_lightning.encoder.ridge import fit_ridge; "
        "fit_ridge(np.eye(9), np.eye(9), alphas=[1.0]); sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
