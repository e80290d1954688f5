import pytest

from tests.doctor.leaks.small_run import calibrated, predict, write_parts


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """Everything a run is made from; tests read it and never write into it."""
    return write_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def run(parts):
    """A run of the ridge, with pictures."""
    return predict(parts, parts.folder / "run")


@pytest.fixture(scope="session")
def network_run(parts):
    """A run of the network, calibrated by its predictions for val pictures."""
    calibration = calibrated(parts, parts.folder / "calibration", "val")
    return predict(
        parts,
        parts.folder / "network_run",
        **{"model_encoder_ckpt": parts.mlp, "model_calibration": calibration},
    )
