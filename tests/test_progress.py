"""A loop's items pass unchanged; a log file gets a line every 30 s and a terminal a bar."""

import io
import sys

import pytest

from fmri_lightning import progress
from fmri_lightning.progress import progress_line, track


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.now_s = 100.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_a_log_gets_a_line_every_30_s(clock, capsys):
    seen = []
    for item in track(range(100), "reading betas"):
        seen.append(item)
        clock.now_s += 1
    assert seen == list(range(100))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "reading betas: 30/100, 1/s, 70 s left",
        "reading betas: 60/100, 1/s, 40 s left",
        "reading betas: 90/100, 1/s, 10 s left",
    ]


def test_a_short_loop_says_nothing(clock, capsys):
    assert list(track(iter("ab"), "x")) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_an_unknown_total_is_told_so():
    assert progress_line("x", 5, None, 10.0) == "x: 5/?, 0.5/s"
    assert progress_line("x", 0, 5, 0.0) == "x: 0/5, 0/s"


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track(iter([1, 2, 3]), "drawing", total=3)) == [1, 2, 3]
    assert "drawing" in terminal.getvalue()
