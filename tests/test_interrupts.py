"""Ctrl-C: at once where that is safe, between two steps during a session, and in one line."""

import os
import re
import signal
import threading

import pytest

from harness.interrupts import Interrupts
from program import WINDOWS, finish, saved, small_net, start, wait_for

pytestmark = pytest.mark.skipif(WINDOWS, reason="os.kill() ends a process there")

LOOKS = {
    "after_step": (0, 0, 1.0),
    "after_epoch": (None, 1.0),
    "after_training": (None,),
    "end": (None,),
}


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def other_handler(*signal_and_frame):
    """Another than Python's own."""


@pytest.fixture(autouse=True)
def at_a_terminal():
    """Ctrl-C is Python's own, even if these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# Interrupts, as a hook of a session


@pytest.mark.parametrize("look", LOOKS)
def test_during_a_session_ctrl_c_waits_for_the_end_of_a_step_an_epoch_or_all(look):
    with Interrupts() as interrupts:
        interrupts.begin(None)
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            getattr(interrupts, look)(*LOOKS[look])


def test_without_ctrl_c_a_session_is_not_interrupted():
    with Interrupts() as interrupts:
        interrupts.begin(None)
        for look, args in LOOKS.items():
            getattr(interrupts, look)(*args)


def test_a_second_ctrl_c_does_not_wait():
    with Interrupts() as interrupts:
        interrupts.begin(None)
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_before_a_session_ctrl_c_is_raised_at_once():
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_after_a_session_ctrl_c_is_raised_at_once():
    with Interrupts() as interrupts:
        interrupts.begin(None)
        interrupts.end(None)
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_a_wait_is_told_to_stop_by_ctrl_c_which_is_raised_after_it():
    told = []

    def wait(stop):
        told.append(stop())
        press_ctrl_c()
        told.append(stop())

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        interrupts.during(wait)
    assert told == [False, True]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, OSError])
def test_python_has_its_handler_back_however_it_ends(error):
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            if error:
                raise error
    except (KeyboardInterrupt, OSError):
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("handler", [signal.SIG_IGN, other_handler])
def test_where_ctrl_c_is_ignored_or_someone_elses_it_is_left_alone(handler):
    signal.signal(signal.SIGINT, handler)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is handler
    assert signal.getsignal(signal.SIGINT) is handler


def test_in_a_thread_which_cannot_handle_signals_it_is_left_alone():
    found = []

    def use():
        with Interrupts() as interrupts:
            interrupts.begin(None)
            found.append(signal.getsignal(signal.SIGINT))
            interrupts.end(None)
        found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler, signal.default_int_handler]


# The program


@pytest.fixture
def short_steps(small_data, tmp_path):
    """Flags for steps of a small net: about as much time passes between them as in them."""
    flags = ["--batch-size", 10, "--n-epochs", 100000, "--figures-dir", tmp_path / "figures"]
    return small_net(small_data, *flags)


def test_ctrl_c_ends_it_in_one_line_that_says_which_epoch_is_saved(short_steps, tmp_path):
    folder, stderr = tmp_path / "saved", tmp_path / "stderr"
    flags = [*short_steps, "--checkpoint-dir", folder]
    process = start(*flags, stdout=tmp_path / "stdout", stderr=stderr)
    wait_for(lambda: 1 in saved(folder))
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == 130
    (line,) = stderr.read_text().splitlines()
    assert "interrupted" in line
    assert re.findall(r"\d+", line) == [str(saved(folder)[-1])]


def test_ctrl_c_without_checkpoints_says_how_to_have_them(short_steps, tmp_path):
    stdout, stderr = tmp_path / "stdout", tmp_path / "stderr"
    process = start(*short_steps, stdout=stdout, stderr=stderr)
    wait_for(lambda: stdout.exists() and stdout.read_text())
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == 130
    (line,) = stderr.read_text().splitlines()
    assert re.search("interrupted.*none.*--checkpoint-dir", line)
