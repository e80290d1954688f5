import pytest

from tests.index.tiny_nsd import TinyNSD, write_tiny_nsd


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> TinyNSD:
    return write_tiny_nsd(tmp_path_factory.mktemp("tiny") / "nsd")


@pytest.fixture
def own(tmp_path) -> TinyNSD:
    """A tree that the test may damage."""
    return write_tiny_nsd(tmp_path / "nsd", nifti=False)
