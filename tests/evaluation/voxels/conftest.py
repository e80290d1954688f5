import pytest

from tests.evaluation.voxels.known_run import fit_ridge_of, write_known_run


@pytest.fixture(scope="session")
def known(tmp_path_factory, miniature):
    return write_known_run(tmp_path_factory.mktemp("voxels"), miniature.root)


@pytest.fixture(scope="session")
def ridge_checkpoint(known):
    return fit_ridge_of(known)
