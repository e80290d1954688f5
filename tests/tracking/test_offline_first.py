"""No key, a server that does not answer, a mode that is asked for: never a question, never a hang."""

import time

import pytest

from fmri_lightning.errors import UsageError
from fmri_lightning.tracking import runs
from fmri_lightning.tracking.runs import RunLabels, finish_runs, open_run
from fmri_lightning.tracking.table import log_page
from tests.tracking.conftest import offline
from tests.tracking.read_back import only_run

LABELS = RunLabels("mlp/subj01", "fit-encoder", "subj01")


@pytest.mark.slow
def test_without_key_and_mode_a_run_stays_here(wandb_offline, tmp_path, monkeypatch, capsys):
    offline(monkeypatch, wandb_offline, mode=None)
    run = open_run(tmp_path / "out", LABELS)
    assert run.offline
    finish_runs()
    assert capsys.readouterr().err.startswith("W&B offline: look with: wandb leet ")
    assert only_run(tmp_path / "out").exit_code == 0


@pytest.mark.slow
def test_a_server_that_does_not_answer_makes_an_offline_run(wandb_offline, tmp_path, monkeypatch, capsys):
    offline(monkeypatch, wandb_offline, mode=None)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(runs, "CONNECT_S", 1.0)
    started_s = time.monotonic()
    assert open_run(tmp_path / "out", LABELS).offline
    finish_runs()
    assert time.monotonic() - started_s < 30
    assert "W&B does not answer" in capsys.readouterr().err
    assert only_run(tmp_path / "out").exit_code == 0


@pytest.mark.slow
def test_online_without_a_key_is_refused_in_one_line(wandb_offline, tmp_path, monkeypatch):
    offline(monkeypatch, wandb_offline, mode="online")
    with pytest.raises(UsageError, match="WANDB_MODE=offline keeps it on this machine"):
        open_run(tmp_path / "out", LABELS)


def test_a_key_in_netrc_is_found(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert not runs._has_key(wandb)
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password nothing\n")
    (tmp_path / "netrc").chmod(0o600)
    assert runs._has_key(wandb)


@pytest.mark.slow
def test_a_page_is_logged_whole(wandb_offline, tmp_path):
    (tmp_path / "report").mkdir()
    page = tmp_path / "report/index.html"
    page.write_text("<html><body>0.42</body></html>")
    log_page(page, RunLabels("subj01/ridge_diffusion", "report", "subj01"))
    run = only_run(tmp_path / "report")
    assert (run.about["job_type"], run.exit_code) == ("report", 0)
    (item,) = [item for item in run.history if "eval/report.path" in item]
    assert (run.folder / "files" / item["eval/report.path"]).read_text() == page.read_text()
