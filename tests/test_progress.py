"""harness/progress.py: the moving line on a terminal, and silence elsewhere."""

import io
import sys

import pytest

from harness.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("n_steps", [0, 1, 25])
def test_progress_counts_and_is_silent_where_there_is_no_terminal(n_steps, capfd):
    assert list(progress(n_steps, "epoch 0003")) == list(range(n_steps))
    assert capfd.readouterr() == ("", "")


def test_progress_counts_where_there_is_no_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress(25, "epoch 0003")) == list(range(25))


def test_progress_is_told_on_a_terminal_on_one_line_of_stderr(monkeypatch, capfd):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(25, "epoch 0003")) == list(range(25))
    lines = terminal.getvalue().split("\r")
    # Each is as long as the one before, which it covers.
    assert lines == ["epoch 0003:  0/25", "epoch 0003: 10/25", "epoch 0003: 20/25", ""]
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_before_the_step_it_names(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    steps = progress(25, "epoch 0003")
    assert terminal.getvalue() == ""
    next(steps)
    assert terminal.getvalue() == "epoch 0003:  0/25\r"
