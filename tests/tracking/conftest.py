import pytest

from tests.encoder.small_subject import write_small_subject

PLACES = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache", "WANDB_CONFIG_DIR": "config", "HOME": "home"}


def offline(monkeypatch, folder, mode="offline"):
    """Point W&B and the home folder into a folder; returns it. The service is restarted: it keeps its environment."""
    import wandb

    wandb.teardown()
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_API_KEY", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name, place in PLACES.items():
        (folder / place).mkdir(exist_ok=True, parents=True)
        monkeypatch.setenv(name, str(folder / place))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    return folder


@pytest.fixture
def wandb_offline(tmp_path, monkeypatch):
    """An offline W&B in a working folder of its own."""
    import wandb

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield offline(monkeypatch, tmp_path / "wandb")
    wandb.finish()
    wandb.teardown()


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """One small subject; tests read it and never write into it."""
    return write_small_subject(tmp_path_factory.mktemp("small"))
