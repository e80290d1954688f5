import pytest

from tests.encoder.small_subject import write_small_subject


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """One small subject; tests read it and never write into it."""
    return write_small_subject(tmp_path_factory.mktemp("small"))
