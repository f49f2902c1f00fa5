"""extras/progress.py: the moving line on a terminal, and Ctrl-C between two steps."""

import io
import os
import signal
import sys
import threading

import pytest

from extras.progress import progress


class Idle(io.StringIO):
    """A stream like IDLE's: no line can be overwritten there."""

    def isatty(self):
        return True


@pytest.mark.parametrize("n_steps", [0, 1, 25])
def test_progress_counts_and_is_silent_where_there_is_no_terminal(n_steps, capfd):
    assert list(progress(n_steps, "epoch 0003")) == list(range(n_steps))
    assert capfd.readouterr() == ("", "")


def test_progress_is_silent_in_idle(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Idle())
    assert list(progress(3, "epoch 0003")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal of its own")
@pytest.mark.parametrize("n_steps, shown", [(4, [0, 1, 2, 3]), (110, list(range(0, 110, 2)))])
def test_a_terminal_is_shown_some_fifty_steps_each_covering_the_one_before(
    n_steps, shown, monkeypatch
):
    screen, terminal = os.openpty()
    with open(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(progress(n_steps, "epoch 0003")) == list(range(n_steps))
        written = b""
        while written.count(b"\r") < len(shown):
            written += os.read(screen, 10000)
    os.close(screen)
    *lines, rest = written.decode().split("\r")
    assert lines == [f"epoch 0003: {step:{len(str(n_steps))}}/{n_steps}" for step in shown]
    assert rest == ""


# Ctrl-C


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def other_handler(*signal_and_frame):
    """Another than Python's own."""


@pytest.fixture
def at_a_terminal():
    """Ctrl-C is Python's own, even if these tests run in the background of a shell."""
    if os.name == "nt":
        pytest.skip("os.kill() ends a process there")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_the_end_of_the_step_and_python_has_its_handler_back(at_a_terminal):
    done = []
    with pytest.raises(KeyboardInterrupt):
        for step in progress(5, ""):
            if step == 2:
                press_ctrl_c()
            done.append(step)
    assert done == [0, 1, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(at_a_terminal):
    done = []
    with pytest.raises(KeyboardInterrupt):
        for step in progress(5, ""):
            press_ctrl_c()
            press_ctrl_c()
            done.append(step)
    assert done == []


@pytest.mark.parametrize("handler", [signal.SIG_IGN, other_handler])
def test_where_ctrl_c_is_ignored_or_someone_elses_it_is_left_alone(handler, at_a_terminal):
    signal.signal(signal.SIGINT, handler)
    for _ in progress(2, ""):
        assert signal.getsignal(signal.SIGINT) is handler
    assert signal.getsignal(signal.SIGINT) is handler


def test_in_a_thread_which_cannot_handle_signals_it_counts_all_the_same():
    done = []
    thread = threading.Thread(target=lambda: done.extend(progress(3, "")))
    thread.start()
    thread.join()
    assert done == [0, 1, 2]
