"""The windows that the program opens on a screen: their titles, and the two ways to end it."""

import os
import shutil
import signal
import subprocess
from types import SimpleNamespace

import pytest

from program import DRAWING, finish, small_net, start, wait_for

tkinter = pytest.importorskip("tkinter")
pytestmark = pytest.mark.skipif(not shutil.which("Xvfb"), reason="needs Xvfb, a screen of X11")

TITLES = {
    "test_images",
    "Y_test_pred1",
    "test_images_noisy",
    "Y_test_pred2",
    "compared",
    "Decoded from z ~ N(0, I)",
    "Loss by epoch",
}
LATENT_TITLES = {
    "Test images in the latent space",
    "Images decoded from z, at the quantiles of its prior",
}


class Screen:
    """A virtual screen, and a Tk application there that can ask others and tell them to close."""

    def __init__(self):
        # So large that the mouse, in its middle, is over no window, as if at work elsewhere: what
        # happens in a window would wake Tk.
        how = ["-screen", "0", "4000x3000x24", "-nolisten", "tcp"]
        ready, number = os.pipe()
        with open(os.devnull, "w") as null:
            self._server = subprocess.Popen(
                ["Xvfb", "-displayfd", str(number), *how], pass_fds=[number], stderr=null
            )
        os.close(number)
        with os.fdopen(ready) as file:
            self.name = f":{file.readline().strip()}"
        self._tk = tkinter.Tk(screenName=self.name, className="tests").tk

    def _send(self, application, command):
        return self._tk.call("send", application, command)

    def windows(self):
        """The title of each visible window, by the name that Tk gave its application."""
        return {
            name: self._send(name, "wm title .")
            for name in self._tk.splitlist(self._tk.call("winfo", "interps"))
            if name.startswith("matplotlib") and self._send(name, "winfo viewable .")
        }

    def close(self, window):
        """Do what a window manager does when a window's cross is clicked."""
        self._send(window, "after 0 [wm protocol . WM_DELETE_WINDOW]")

    def end(self):
        self._tk.call("destroy", ".")
        self._server.terminate()
        self._server.wait()


@pytest.fixture(scope="module")
def screen():
    screen = Screen()
    yield screen
    screen.end()


@pytest.fixture(scope="module")
def shown(screen, small_data, tmp_path_factory):
    """A function that runs the program, ends it by end(process, windows), and tells what it did."""

    def shown(n_neurons_z, n_windows, end):
        tmp = tmp_path_factory.mktemp("shown")
        flags = ["--n-epochs", 1, "--n-neurons-z", n_neurons_z, "--figures-dir", tmp / "figures"]
        files = {"stdout": tmp / "stdout", "stderr": tmp / "stderr"}
        flags = small_net(small_data, *flags)
        process = start(*flags, **files, pictures=DRAWING, screen=screen.name)
        try:
            wait_for(lambda: len(screen.windows()) >= n_windows or not process.is_alive())
            windows = screen.windows()
            end(process, windows)
            status = finish(process, 30)
        finally:
            process.kill()
            process.join()
        stdout, stderr = files["stdout"].read_text(), files["stderr"].read_text()
        titles = sorted(windows.values())
        return SimpleNamespace(titles=titles, status=status, stdout=stdout, stderr=stderr)

    return shown


@pytest.fixture(scope="module")
def closed(shown, screen):
    """A run with three latent dimensions, ended by closing one window after the other."""

    def close(process, windows):
        for window in windows:
            assert process.is_alive()
            screen.close(window)

    return shown(3, len(TITLES), close)


@pytest.fixture(scope="module")
def interrupted(shown):
    """A run with two latent dimensions, ended by Ctrl-C in its terminal."""

    def press_ctrl_c(process, windows):
        # Until Tk is done with opening them, and has nothing to do by itself.
        process.join(3)
        os.kill(process.pid, signal.SIGINT)

    return shown(2, len(TITLES | LATENT_TITLES), press_ctrl_c)


def test_each_picture_is_in_a_window_titled_by_what_it_shows(closed):
    assert closed.titles == sorted(TITLES)


def test_two_latent_dimensions_have_two_windows_more(interrupted):
    assert interrupted.titles == sorted(TITLES | LATENT_TITLES)


def test_closing_the_windows_ends_the_program(closed):
    assert closed.status == 0
    assert closed.stderr == ""


def test_ctrl_c_ends_the_program_while_windows_are_open(interrupted):
    assert interrupted.status == 130
    (line,) = interrupted.stderr.splitlines()
    assert line.startswith("vae_mnist.py: interrupted: ")


def test_the_results_are_told_before_the_windows_are_closed(interrupted):
    assert interrupted.stdout.splitlines()[-1].startswith("pictures in ")
