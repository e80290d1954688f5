"""The batch scripts of configs/cluster, run by a shell with stand-ins for SLURM's commands."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fmri_lightning.cli import main

CLUSTER = Path(__file__).resolve().parents[1] / "configs" / "cluster"
SCRIPTS = sorted(path.name for path in CLUSTER.glob("*.s*"))
TASK = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_JOB_ID": "77", "SLURM_JOB_ID": "79"}


class Shell:
    """A folder to submit from, with stand-ins that write down what they were asked."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder / "log.jsonl"
        self.bin = folder / "bin"
        self.bin.mkdir()
        noted = f"import json, sys; print(json.dumps(sys.argv[1:]), file=open({str(self.log)!r}, 'a'))"
        note = f'"{sys.executable}" -c "{noted}"'
        self.put(
            "srun", f'{note} srun "$@"; while [[ "$1" == -* ]]; do shift; done; echo $$ > "{folder}/pid"; exec "$@"'
        )
        self.put("scontrol", f'{note} scontrol "$@"')
        self.put("sbatch", f'{note} sbatch "$@"; echo "$(wc -l < "{self.log}");cluster"')
        self.put("fmri-lightning", f'{note} fmri-lightning "$@"; exit "${{FAKE_CODE:-0}}"')

    def put(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def start(self, script: str, *words: str, **environment: str) -> subprocess.Popen:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        path = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.Popen(
            ["bash", str(CLUSTER / script), *words], cwd=self.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**clean, **TASK, "PATH": path, "NSD": "/data/nsd", **environment},
        )  # fmt: skip

    def run(self, script: str, *words: str, **environment: str) -> int:
        process = self.start(script, *words, **environment)
        process.communicate(timeout=60)
        return process.returncode

    def asked(self, command: str) -> list[list[str]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line[1:] for line in lines if line[0] == command]


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name.endswith(".sbatch")])
def test_commands_of_a_batch_script_are_accepted(shell, name, capsys):
    assert shell.run(name) == 0
    commands = shell.asked("fmri-lightning")
    assert commands
    for arguments in commands:
        assert main([*arguments, "--print_config"]) == 0, capsys.readouterr().err
        if arguments[0] not in ("clip-cache", "evaluate", "report") and name != "table.sbatch":
            subject = "subj01" if name == "predict_shards.sbatch" else "subj02"
            assert any(subject in word for word in arguments), "an array task is a subject"
    text = (CLUSTER / name).read_text()
    assert "mkdir -p outputs/logs" in text, "SLURM makes no folders for its logs"
    assert "#SBATCH --requeue" in text
    assert ("#SBATCH --signal=USR1@" in text) == ("predict" in name), "only predict ends cleanly by a signal"


def test_further_words_reach_predict(shell):
    assert shell.run("predict.sbatch", "--model.condition", "shuffled") == 0
    (arguments,) = shell.asked("fmri-lightning")
    assert arguments[-2:] == ["--model.condition", "shuffled"]


@pytest.mark.parametrize(
    ("script", "job"),
    [("predict.sbatch", "77_2"), ("predict_shards.sbatch", "77_2"), ("subjects.sbatch", "77_2")],
)
@pytest.mark.parametrize("code", [0, 1, 2, 3, 75, 137, 138])
def test_only_an_interrupted_run_goes_back_into_the_queue(shell, script, job, code):
    assert shell.run(script, FAKE_CODE=str(code)) == code
    assert shell.asked("scontrol") == ([["requeue", job]] if code in (75, 138) else [])


def test_a_job_that_is_no_array_is_requeued_by_its_own_number(shell):
    none = {"SLURM_ARRAY_TASK_ID": "", "SLURM_ARRAY_JOB_ID": ""}
    assert shell.run("predict.sbatch", FAKE_CODE="75", **none) == 75
    assert shell.asked("scontrol") == [["requeue", "79"]]


def test_a_requeued_preparation_resumes_what_was_cut_off(shell):
    checkpoints = shell.folder / "checkpoints"
    for file in ("ridge/subj02/subj02_ridge.json", "mlp/subj02/last.ckpt", "ridge/subj02/last.ckpt"):
        (checkpoints / file).parent.mkdir(parents=True, exist_ok=True)
        (checkpoints / file).touch()
    assert shell.run("prepare.sbatch", SLURM_RESTART_COUNT="1") == 0
    commands = [arguments for arguments in shell.asked("fmri-lightning") if arguments[0] == "fit"]
    resumed = {arguments[2]: arguments[arguments.index("--data.subject") + 2 :] for arguments in commands}
    assert resumed == {
        "configs/encoder/mlp.yaml": ["--ckpt_path", "checkpoints/mlp/subj02/last.ckpt"], "configs/adapter.yaml": [],
    }  # fmt: skip


def test_a_first_start_fits_everything_anew(shell):
    report = shell.folder / "checkpoints" / "ridge" / "subj02" / "subj02_ridge.json"
    report.parent.mkdir(parents=True)
    report.touch()
    (report.parent / "last.ckpt").touch()
    assert shell.run("prepare.sbatch") == 0
    commands = [arguments for arguments in shell.asked("fmri-lightning") if arguments[0] == "fit"]
    assert len(commands) == 3
    assert not any("--ckpt_path" in arguments for arguments in commands)
    assert not report.exists(), "a report of before must not stand for a fit that was cut off"


def test_a_share_can_be_submitted_alone(shell):
    assert shell.run("predict_shards.sbatch", SLURM_ARRAY_TASK_COUNT="1", SHARES="16") == 0
    (arguments,) = shell.asked("fmri-lightning")
    assert arguments[arguments.index("--data.shard") + 1] == "2/16"


def test_the_chain_waits_for_what_it_needs(shell):
    process = shell.start("chain.sh", "1-8")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    jobs = shell.asked("sbatch")
    names = [next(Path(word).name for word in job if word.endswith(".sbatch")) for job in jobs]
    assert names == ["embed.sbatch", "prepare.sbatch", *["predict.sbatch"] * 3, "score.sbatch", "table.sbatch"]
    waits = [next((word for word in job if word.startswith("--dependency")), None) for job in jobs]
    assert waits[:-1] == [None, "--dependency=afterok:1", *(f"--dependency=aftercorr:{n}" for n in range(2, 6))]
    assert waits[-1] == "--dependency=afterany:6", "the table waits for all subjects, whether they ended well or not"
    assert all("--array=1-8" in job for job in jobs[1:-1])
    assert jobs[3][-4:] == [
        "--model.condition", "true_target", "--data.target_cache", "outputs/clip_cache/vit-h-14.parquet",
    ]  # fmt: skip
    assert "score 6, table 7" in out


def test_one_job_a_subject_and_one_that_waits_for_all(shell):
    words = ["--encoder", "mlp", "--protocol", "mindeye"]
    process = shell.start("subjects.sh", "1-8%4", *words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    embed, array, table = shell.asked("sbatch")
    assert embed[-1].endswith("embed.sbatch")
    assert array[1:3] == ["--dependency=afterok:1", "--array=1-8%4"]
    assert array[3:] == [str(CLUSTER / "subjects.sbatch"), *words]
    assert table[1:] == ["--dependency=afterany:2", str(CLUSTER / "table.sbatch"), *words]
    assert "subjects 2, table 3" in out


def test_the_table_is_of_the_subjects_of_the_array(shell):
    assert shell.run("table.sbatch", "--encoder", "mlp", SUBJECTS="1,2,5-7%4") == 0
    (arguments,) = shell.asked("fmri-lightning")
    assert arguments[arguments.index("--subjects") + 1] == "1,2,5-7"
    assert arguments[-4:] == ["--steps", "table,report", "--encoder", "mlp"]


def test_the_array_leaves_to_the_table_what_is_over_all_subjects():
    """Every step is in one of the two, but what embed.sbatch makes and what asks for a flag."""
    from fmri_lightning.studies.subject_plan import STEPS

    steps = [
        word
        for name in ("subjects.sbatch", "table.sbatch")
        for word in re.search(r"--steps (\S+)", (CLUSTER / name).read_text())[1].split(",")
    ]
    assert [step for step in STEPS if step not in ("clip-cache", "calibrate")] == steps


def test_a_study_that_is_told_to_stop_is_waited_for_and_requeued(shell):
    shell.put(
        "fmri-lightning",
        f"trap 'sleep 1; echo told > {shell.folder}/told; exit 75' TERM; touch {shell.folder}/begun; "
        "while true; do sleep 0.05; done",
    )
    process = shell.start("subjects.sbatch")
    until_s = time.monotonic() + 30
    while not (shell.folder / "begun").exists() and time.monotonic() < until_s:
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert (shell.folder / "told").exists(), "the script ended before its study did"
    assert shell.asked("scontrol") == [["requeue", "77_2"]]


@pytest.mark.parametrize("script", ["chain.sh", "subjects.sh", "prepare.sbatch", "embed.sbatch", "table.sbatch"])
def test_the_data_root_must_be_named(shell, script):
    process = shell.start(script, "1-8", NSD="")
    assert "set NSD" in process.communicate(timeout=60)[1]
    assert process.returncode != 0


@pytest.mark.slow
def test_a_signal_before_the_time_is_up_requeues_and_the_next_start_ends_the_run(shell, tmp_path_factory):
    from tests.generation.conftest import pictures
    from tests.generation.tiny import N_TEST, write_brain, write_generator

    place = tmp_path_factory.mktemp("cluster")
    brain, generator = write_brain(place / "brain"), write_generator(place / "generator")
    shell.put("fmri-lightning", f'exec "{sys.executable}" -m fmri_lightning "$@"')
    words = ["--config", "configs/decoder/mini.yaml", "--output_dir", str(place / "run")]
    words += [word for key, value in brain.data.items() for word in (f"--data.{key}", value)]
    words += [word for key, value in brain.model.items() for word in (f"--model.{key}", value)]
    words += ["--model.decoder.model_id", str(generator), "--model.batch_size", "1", "--trainer.accelerator", "cpu"]
    slow, task = ["--model.num_inference_steps", "300"], {"SLURM_ARRAY_TASK_ID": "1"}

    process = shell.start("predict.sbatch", *words, *slow, **task)
    until_s = time.monotonic() + 120
    while not pictures(place / "run") and time.monotonic() < until_s and process.poll() is None:
        time.sleep(0.02)
    os.kill(int((shell.folder / "pid").read_text()), signal.SIGUSR1)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert 0 < len(pictures(place / "run")) < N_TEST
    assert shell.asked("scontrol") == [["requeue", "77_1"]]

    process = shell.start("predict.sbatch", *words, *slow, **task)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert len(pictures(place / "run")) == N_TEST
