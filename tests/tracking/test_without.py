"""Where wandb or tensorboard is not installed: training goes on, and what was asked for says the pip line."""

import sys

import pytest

from fmri_lightning.cli import main
from tests.tracking.fitting import config, fit_words


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] in ("wandb", "tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.chdir(tmp_path)


def test_a_fit_logs_to_csv(small, tmp_path):
    assert main(fit_words(small, "ridge")) == 0
    (log,) = (tmp_path / "outputs/runs/logs").glob("version_*/metrics.csv")
    assert "val/centred_cosine" in log.read_text()


@pytest.mark.parametrize(
    ("logger", "says"),
    [("wandb", "pip install 'wandb>=0.29,<0.32'"), ("tensorboard", "pip install 'fmri-lightning[tensorboard]'")],
)
def test_a_logger_that_is_not_installed_is_one_line(small, tmp_path, capsys, logger, says):
    assert main(fit_words(small, "ridge", *config(f"logger/{logger}.yaml"))) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert says in told
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_says_so_before_it_scores(tmp_path, capsys):
    assert main(["evaluate", "--run", "nowhere", "--wandb", "true"]) == 2
    assert "pip install 'wandb" in capsys.readouterr().err
