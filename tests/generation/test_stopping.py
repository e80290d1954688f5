"""Signals, torn writes, several processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from fmri_lightning.errors import InterruptedRunError, ResourceError
from fmri_lightning.generation.shards import PictureRecord, append_record, finished_units, open_shard, shard_path
from fmri_lightning.locks import run_lock
from tests.generation.conftest import arguments, pictures, summary
from tests.generation.tiny import N_TEST


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_batch(tmp_path, predict, monkeypatch, number):
    from fmri_lightning.generation.module import ReconstructionModule

    step = ReconstructionModule.predict_step
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}

    def signalled(self, batch, batch_idx):
        os.kill(os.getpid(), number)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ReconstructionModule, "predict_step", signalled)
    with pytest.raises(InterruptedRunError, match="same command resumes") as caught:
        predict(tmp_path)
    assert caught.value.exit_code == 75
    assert len(pictures(tmp_path)) == 3, "the batch in flight is finished and written"
    assert {n: signal.getsignal(n) for n in handlers} == handlers
    monkeypatch.undo()
    predict(tmp_path)
    assert summary(tmp_path)["n_generated"] == N_TEST


def test_lightnings_observer_of_child_processes_spares_the_others(monkeypatch):
    """It kills all ranks once one has ended with another code than 0, and 75 is one: the others finish their batch."""
    from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

    from fmri_lightning.generation.interruption import _spare_unfinished_ranks

    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(75)"])
    child.wait()
    observer, killed = _ChildProcessObserver(os.getpid(), [child], sleep_period=3600), []
    monkeypatch.setattr(observer, "_terminate_all", lambda: killed.append(True))
    assert observer._run()
    assert killed == [True]
    observer.start()
    _spare_unfinished_ranks()
    assert observer._run()
    assert killed == [True]


def test_ctrl_c_twice_ends_at_once(tmp_path, predict, monkeypatch):
    from fmri_lightning.generation.module import ReconstructionModule

    def twice(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second Ctrl-C came too late")

    monkeypatch.setattr(ReconstructionModule, "predict_step", twice)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        predict(tmp_path)
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("point", ["write_bytes", "replace", "fsync"])
def test_a_failing_disk_leaves_whole_pictures_only(tmp_path, predict, monkeypatch, point):
    import errno
    from pathlib import Path

    owner = os if point == "fsync" else Path
    real = getattr(owner, point)
    hits = []

    def fails_at_the_fourth_picture(*args, **kwargs):
        if point != "fsync" and "_generated.png" not in str(args[0]):
            return real(*args, **kwargs)
        hits.append(args)
        if len(hits) == (14 if point == "fsync" else 4):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, point, fails_at_the_fourth_picture)
    with pytest.raises((ResourceError, OSError), match=r"disk is full|No space"):
        predict(tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "decode_summary.json").exists()
    kept = pictures(tmp_path)
    predict(tmp_path)
    assert len(pictures(tmp_path)) == N_TEST
    assert kept.items() <= pictures(tmp_path).items()


def test_temporary_files_of_a_killed_run_are_cleared_by_the_job_that_holds_the_folder(tmp_path, predict):
    left = [tmp_path / ".predictions.parquet.1.tmp", tmp_path / "images" / ".nsd1_generated.png.1.tmp"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    (tmp_path / "images").rename(tmp_path / "aside")  # a folder with pictures of unknown origin is refused
    predict(tmp_path, data_limit=1)
    for path in (tmp_path / "aside").iterdir():
        path.rename(tmp_path / "images" / path.name)
    predict(tmp_path, data_shard="1/2")
    assert left[1].exists(), "another share may be writing it"
    assert not left[0].exists()
    predict(tmp_path)
    assert not left[1].exists()


def test_the_whole_and_its_shares_exclude_each_other(tmp_path, predict):
    predict(tmp_path, data_shard="1/2")
    share = tmp_path / "shards" / "part0002of0002"
    with run_lock(share), pytest.raises(ResourceError, match="part0002of0002 is in use"):
        predict(tmp_path)
    assert not (tmp_path / ".lock").exists()
    with run_lock(tmp_path), pytest.raises(ResourceError, match="in use"):
        predict(tmp_path, data_shard="2/2")
    assert not (share / ".lock").exists()
    predict(tmp_path)
    assert summary(tmp_path)["n_generated"] == N_TEST


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_results_are_put_together_ends_the_run(tmp_path, predict, monkeypatch, number):
    from fmri_lightning.generation import module

    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}

    def signalled(run, info):
        os.kill(os.getpid(), number)
        raise AssertionError("went on")

    monkeypatch.setattr(module, "finish_run", signalled)
    with pytest.raises(InterruptedRunError, match="while results were put together"):
        predict(tmp_path)
    assert {n: signal.getsignal(n) for n in handlers} == handlers
    assert not (tmp_path / ".lock").exists()
    monkeypatch.undo()
    predict(tmp_path)
    assert {n: signal.getsignal(n) for n in handlers} == handlers
    assert summary(tmp_path)["n_generated"] == N_TEST


def test_a_torn_line_costs_its_picture_only(tmp_path):
    path = shard_path(tmp_path, 0, (1, 1))
    (tmp_path / "images").mkdir()
    import hashlib

    for trial in range(2):
        (tmp_path / f"images/{trial}.png").write_bytes(b"png%d" % trial)
        record = PictureRecord(
            trial, trial, 0, 42, f"images/{trial}.png", hashlib.sha256(b"png%d" % trial).hexdigest(), 8
        )
        with open_shard(path) as handle:
            append_record(handle, record)
            handle.write(b'{"torn')
    assert set(finished_units(tmp_path)) == {(0, 0), (1, 0)}
    (tmp_path / "images/1.png").write_bytes(b"png")
    assert set(finished_units(tmp_path)) == {(0, 0)}


class TestCommandLine:
    def test_shipped_configuration_draws_and_repeats(self, tmp_path, brain, generator, capsys):
        from fmri_lightning.cli import main

        for condition in ("predicted", "shuffled"):
            words = arguments(brain, generator, tmp_path, "--data.limit", "2", "--model.condition", condition)
            assert main(words) == 0, capsys.readouterr().err
        assert len(pictures(tmp_path)) == 2
        assert len(pictures(tmp_path / "controls" / "shuffled")) == 2
        found = summary(tmp_path)
        assert found["seed"] == 42
        # the checkpoints carry hyperparameters of the same names: the command line wins
        assert (found["guidance_scale"], found["num_inference_steps"], found["n_samples"]) == (3.0, 2, 1)

    def test_refusals_are_one_line_with_a_code(self, tmp_path, brain, generator, capsys):
        from fmri_lightning.cli import main

        bad = {
            ("--model.adapter_ckpt", "nowhere.ckpt"): 3,
            ("--model.conditoin", "mean"): 2,
            ("--data.shard", "3/2"): 2,
            ("--model.batch_size", "0"): 2,
            ("--model.scheduler", "dpm"): 2,
            ("--model.decoder.family", "dalle"): 2,
            ("--ckpt_path", str(brain.model["encoder_ckpt"])): 2,
        }
        for more, code in bad.items():
            assert main(arguments(brain, generator, tmp_path / "run", *more)) == code
            err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fmri-lightning:")]
            assert len(err) == 1
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("how", [["--dry_run"], ["--dry_run", "true"], ["--model.dry_run", "true"], "yaml"])
    def test_a_dry_run_is_one_however_it_is_said(self, tmp_path, brain, generator, capsys, how):
        from fmri_lightning.cli import main

        if how == "yaml":
            class_path = "fmri_lightning.generation.module.ReconstructionModule"
            content = {"model": {"class_path": class_path, "init_args": {"dry_run": True}}}
            (tmp_path / "dry.yaml").write_text(json.dumps(content))
            how = ["--config", str(tmp_path / "dry.yaml")]
        assert main(arguments(brain, generator, tmp_path / "run", *how)) == 0, capsys.readouterr().err
        assert "dry run:" in capsys.readouterr().out
        assert not (tmp_path / "run").exists()

    def test_the_models_own_folder_is_not_swallowed(self, tmp_path, brain, generator, capsys):
        from fmri_lightning.cli import main

        words = arguments(brain, generator, "", "--model.output_dir", str(tmp_path / "two"), "--data.limit", "1")
        place = words.index("--output_dir")
        assert main([*words[:place], *words[place + 2 :]]) == 0, capsys.readouterr().err
        assert len(pictures(tmp_path / "two")) == 1

    @pytest.mark.parametrize("flag", ["--output_dir", "--model.output_dir"])
    def test_what_a_run_has_saved_runs_again_into_another_folder(self, tmp_path, brain, generator, capsys, flag):
        from fmri_lightning.cli import main

        assert main(arguments(brain, generator, tmp_path / "one", "--data.limit", "1")) == 0, capsys.readouterr().err
        again = ["predict", "--config", str(tmp_path / "one" / "predict.yaml"), flag, str(tmp_path / "two")]
        assert main(again) == 0, capsys.readouterr().err
        assert len(pictures(tmp_path / "one")) == 1
        assert pictures(tmp_path / "two") == pictures(tmp_path / "one")

    def test_seed_settings_compose(self, tmp_path, brain, generator, capsys):
        from fmri_lightning.cli import main

        words = arguments(brain, generator, tmp_path / "run", "--config", "configs/predict_seed.yaml")
        assert main([*words, "--dry_run"]) == 0, capsys.readouterr().err
        assert f"{N_TEST * 100} in all" in capsys.readouterr().out
        assert not (tmp_path / "run").exists()
