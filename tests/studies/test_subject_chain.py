"""Chains of processes: one that dies takes nobody with it, a signal ends all, and what was done is not done again.

The processes are real ones; they run a line of Python instead of a stage.
"""

import os
import signal
import sys
import threading
import time

import pytest

from fmri_lightning.errors import InterruptedRunError
from fmri_lightning.locks import run_lock
from fmri_lightning.studies import subject_chain
from fmri_lightning.studies.subject_chain import Chain, run_chains
from fmri_lightning.studies.subject_plan import StepCommand
from fmri_lightning.studies.subject_record import ChainRecord

PYTHON = (sys.executable, "-c")
SAY_AND_FAIL = (
    "import sys; print('noise'); print('fmri-lightning: no such file', file=sys.stderr); print('end'); sys.exit(3)"
)
KILL_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """A shell starts what it puts in the background with Ctrl-C ignored, and an ignored signal is left ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def chain(folder, name, *scripts, **further):
    commands = [StepCommand(step, (script,), name, **further) for step, script in zip("abcdef", scripts, strict=False)]
    return Chain(name, folder / name, commands)


def run(*chains, jobs=1):
    told = []
    run_chains(list(chains), jobs, told.append, PYTHON)
    return told


def wait_for(path, limit_s=30.0):
    until_s = time.monotonic() + limit_s
    while not path.exists():
        assert time.monotonic() < until_s, f"{path} never came"
        time.sleep(0.01)


def signals_when(path, *numbers):
    """Send signals to this process, as a terminal or SLURM does, once a file is there."""

    def send():
        wait_for(path)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as handle:
        return handle.read().split(")")[1].split()[0] != "Z"


def test_a_failed_command_ends_its_chain_and_no_other(tmp_path):
    one = chain(tmp_path, "subj01", "print(1)", SAY_AND_FAIL, f"open({str(tmp_path / 'after')!r}, 'w')")
    two = chain(tmp_path, "subj02", "print(2)", "print(3)")
    told = run(one, two)
    assert (one.failed.step, one.failed.code, one.failed.message) == ("b", 3, "no such file")
    assert one.failed.words() == "b failed (exit code 3)"
    assert not (tmp_path / "after").exists()
    assert two.failed is None
    assert any("subj01 b" in line and "FAILED" in line and "no such file" in line for line in told)
    assert "end" in one.log.read_text()
    assert ChainRecord.read(one.folder).failed == one.failed


def test_a_killed_process_is_one_subject_less(tmp_path):
    one, two = chain(tmp_path, "subj01", KILL_ITSELF), chain(tmp_path, "subj02", "print(2)")
    run(one, two)
    assert one.failed.words() == "a failed (killed by signal 9)"
    assert "memory" in one.failed.message
    assert two.failed is None


def test_without_a_line_of_ours_the_last_line_is_told(tmp_path):
    one = chain(tmp_path, "subj01", "print('fmri-lightning: an older line')", "raise ValueError('bad number')")
    run(one)
    assert one.failed.message == "ValueError: bad number"


def test_jobs_run_at_once(tmp_path):
    def meet(mine, other):
        return (
            f"import os, time; open({str(tmp_path / mine)!r}, 'w'); t = time.time()\n"
            f"while not os.path.exists({str(tmp_path / other)!r}):\n assert time.time() - t < 5; time.sleep(0.01)"
        )

    def pair(place):
        return chain(place, "subj01", meet("x", "y")), chain(place, "subj02", meet("y", "x"))

    both = pair(tmp_path / "both")
    run(*both, jobs=2)
    assert [one.failed for one in both] == [None, None]
    for file in ("x", "y"):
        (tmp_path / file).unlink()
    one_by_one = pair(tmp_path / "single")
    run(*one_by_one, jobs=1)
    assert one_by_one[0].failed is not None, "with one job nobody comes to meet it"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_commands_and_what_they_started(tmp_path, number):
    script = (
        "import signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "def end(*_):\n print('told'); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        f"open({str(tmp_path / 'begun')!r}, 'w')\ntime.sleep(60)"
    )
    one, two = chain(tmp_path, "subj01", script), chain(tmp_path, "subj02", "print(2)")
    before, sender = signal.getsignal(number), signals_when(tmp_path / "begun", number)
    with pytest.raises(InterruptedRunError, match="the same command goes on"):
        run(one, two)
    sender.join()
    assert "told" in one.log.read_text()
    assert one.failed is None, "an interrupted subject has not failed"
    assert not two.log.exists(), "nothing was begun after the signal"
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert signal.getsignal(number) == before


def test_a_second_signal_waits_for_nobody(tmp_path):
    deaf = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path / 'begun')!r}, 'w')\ntime.sleep(60)"
    )
    sender = signals_when(tmp_path / "begun", signal.SIGINT, signal.SIGINT)
    started_s = time.monotonic()
    with pytest.raises(InterruptedRunError):
        run(chain(tmp_path, "subj01", deaf))
    sender.join()
    assert time.monotonic() - started_s < 30


def test_a_deaf_command_is_killed_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(subject_chain, "GRACE_S", 0.5)
    deaf = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path / 'begun')!r}, 'w')\ntime.sleep(60)"
    )
    sender = signals_when(tmp_path / "begun", signal.SIGTERM)
    with pytest.raises(InterruptedRunError):
        run(chain(tmp_path, "subj01", deaf))
    sender.join()


def test_a_command_that_a_signal_ended_ends_the_study(tmp_path):
    one, two = chain(tmp_path, "subj01", "import sys; sys.exit(75)"), chain(tmp_path, "subj02", "print(2)")
    with pytest.raises(InterruptedRunError):
        run(one, two)
    assert not two.log.exists()


def test_workers_of_a_killed_command_do_not_go_on(tmp_path):
    script = (
        "import os, signal, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n" + KILL_ITSELF
    )
    run(chain(tmp_path, "subj01", script))
    pid = int((tmp_path / "pid").read_text())
    until_s = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < until_s:
        time.sleep(0.02)
    assert not is_alive(pid)


def test_a_subject_that_another_job_works_on_is_left_alone(tmp_path):
    one, two = chain(tmp_path, "subj01", "print(1)"), chain(tmp_path, "subj02", "print(2)")
    one.folder.mkdir()
    # A lock of a living process that is not this one.
    with run_lock(one.folder):
        lock = one.folder / ".lock"
        lock.write_text(lock.read_text().replace(f'"pid": {os.getpid()}', f'"pid": {os.getppid()}'))
        run(one, two)
        lock.unlink()
    assert (one.failed.step, one.failed.code) == ("start", 4)
    assert "in use" in one.failed.message
    assert two.failed is None
    assert not one.log.exists()


class Fit:
    """A fit that writes its checkpoint, the words it was given, and how often it ran."""

    def __init__(self, folder):
        self.folder, self.read, self.made = folder, folder / "config.yaml", folder / "fit" / "ridge.ckpt"
        self.last, self.ran = self.made.with_name("last.ckpt"), folder / "ran"
        self.read.write_text("a: 1")
        self.made.parent.mkdir()

    def run(self, script="", before=""):
        code = (
            f"import sys; open({str(self.ran)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))\n{before}\n"
            f"open({str(self.last)!r}, 'w').write('epoch')\n{script}\nopen({str(self.made)!r}, 'w')"
        )
        # The words of a command stay the same between two starts: what differs is on disk.
        (self.folder / "fit.py").write_text(code)
        words = (f"exec(open({str(self.folder / 'fit.py')!r}).read())",)
        command = StepCommand("fit", words, "subj01", (self.read,), (self.made,), self.last)
        one = Chain("subj01", self.folder / "subj01", [command])
        run_chains([one], 1, lambda line: None, PYTHON)
        return one

    @property
    def starts(self):
        return self.ran.read_text().splitlines()


def test_a_finished_fit_is_taken_until_something_it_was_made_from_changes(tmp_path):
    fit = Fit(tmp_path)
    fit.run()
    fit.run()
    assert len(fit.starts) == 1
    fit.read.write_text("a: 2")
    fit.run()
    assert len(fit.starts) == 2, "another configuration, another fit"
    fit.made.unlink()
    fit.run()
    assert len(fit.starts) == 3, "its checkpoint is gone"
    assert fit.starts == ["", "", ""], "none of them went on from another's last epoch"


def test_an_interrupted_fit_goes_on_from_its_last_epoch(tmp_path):
    fit = Fit(tmp_path)
    with pytest.raises(InterruptedRunError):
        fit.run("sys.exit(75)")
    fit.run()
    assert fit.starts == ["", f"--ckpt_path {fit.last}"]


def test_an_interrupted_fit_of_other_inputs_begins_anew(tmp_path):
    fit = Fit(tmp_path)
    with pytest.raises(InterruptedRunError):
        fit.run("sys.exit(75)")
    fit.read.write_text("a: 2")
    fit.run()
    assert fit.starts == ["", ""]


def test_the_last_epoch_of_another_fit_is_not_gone_on_from(tmp_path):
    """A fit that is interrupted before its own first epoch ends finds nothing of an older one."""
    fit = Fit(tmp_path)
    fit.run()
    fit.read.write_text("a: 2")
    with pytest.raises(InterruptedRunError):
        fit.run(before="sys.exit(75)")
    fit.run()
    assert fit.starts == ["", "", ""]


def test_a_failed_fit_begins_anew_and_not_from_what_it_left(tmp_path):
    fit = Fit(tmp_path)
    assert fit.run("sys.exit(1)").failed.code == 1
    assert fit.last.exists()
    assert fit.run().failed is None
    assert fit.starts == ["", ""]
    assert ChainRecord.read(tmp_path / "subj01").failed is None


def test_a_record_that_is_none_is_refused(tmp_path):
    one = chain(tmp_path, "subj01", "print(1)")
    one.folder.mkdir()
    (one.folder / "chain.json").write_text("[]")
    run(one)
    assert one.failed.code == 3
    assert "no record of a subject's chain" in one.failed.message
