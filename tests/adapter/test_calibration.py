import numpy as np
import pytest
import torch

from fmri_lightning.adapter.calibration import (
    MAX_GAIN,
    EmbeddingStatistics,
    calibration_folder,
    fit_calibration,
    load_calibration,
    save_calibration,
)
from fmri_lightning.errors import BadInputError

HASHES = {"encoder": "e" * 64, "adapter": "a" * 64}


def example():
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(400, 6, generator=generator) * torch.linspace(1, 3, 6) + 2
    shrunken = 0.4 * (true - true.mean(dim=0)) + true.mean(dim=0) + 0.5
    return shrunken, EmbeddingStatistics(true.mean(dim=0), true.std(dim=0, correction=0)), true


def test_gives_predictions_the_statistics_of_real_embeddings():
    predictions, statistics, true = example()
    calibrated = fit_calibration(predictions, statistics)(predictions)
    torch.testing.assert_close(calibrated.mean(dim=0), statistics.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(calibrated.std(dim=0, correction=0), statistics.std, atol=1e-5, rtol=0)
    # Shrinkage and shift alone are undone exactly.
    torch.testing.assert_close(calibrated, true, atol=1e-4, rtol=0)


def test_a_dimension_that_is_hardly_predicted_is_not_blown_up():
    predictions, statistics, _ = example()
    predictions[:, 0] = 1 + 1e-3 * predictions[:, 0]
    predictions[:, 1] = 5.0
    calibration = fit_calibration(predictions, statistics)
    assert float(calibration.gain[0]) == MAX_GAIN
    assert float(calibration.gain[1]) <= MAX_GAIN
    np.testing.assert_allclose(calibration(predictions)[:, 1], float(statistics.mean[1]), rtol=1e-5)


def test_is_kept_for_the_encoder_it_was_fitted_on(tmp_path):
    predictions, statistics, _ = example()
    folder = calibration_folder(tmp_path, "mlp", "subj01")
    assert folder == tmp_path / "calibration" / "mlp" / "subj01"
    fitted = fit_calibration(predictions, statistics, HASHES)
    save_calibration(folder, fitted)
    loaded = load_calibration(folder, HASHES)
    assert torch.equal(loaded(predictions), fitted(predictions))
    with pytest.raises(BadInputError, match="fitted on another adapter"):
        load_calibration(folder, {**HASHES, "adapter": "b" * 64})
    with pytest.raises(BadInputError, match="is of"):
        load_calibration(folder, {"encoder": "e" * 64})


def test_refuses_a_damaged_file(tmp_path):
    predictions, statistics, _ = example()
    save_calibration(tmp_path, fit_calibration(predictions, statistics, HASHES))
    path = tmp_path / "calibration.safetensors"
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    with pytest.raises(BadInputError, match="does not match its manifest"):
        load_calibration(tmp_path, HASHES)
    with pytest.raises(BadInputError, match="no calibration"):
        load_calibration(tmp_path / "absent", HASHES)


def test_refuses_what_cannot_be_calibrated(tmp_path):
    predictions, statistics, _ = example()
    with pytest.raises(BadInputError, match="do not fit"):
        fit_calibration(predictions[:, :4], statistics)
    with pytest.raises(BadInputError, match="at least two"):
        fit_calibration(predictions[:1], statistics)
    predictions[3, 2] = float("nan")
    with pytest.raises(BadInputError, match="NaN"):
        fit_calibration(predictions, statistics)
    with pytest.raises(BadInputError, match="name the encoder"):
        save_calibration(tmp_path, fit_calibration(example()[0], statistics))
    assert list(tmp_path.iterdir()) == []
