"""The program run in ways that several test files share, none of which imports TensorFlow anew."""

import contextlib
import io
import json
import multiprocessing
import os
import re
import select
import signal
import sys
import time
from hashlib import sha256
from unittest import mock

import matplotlib.pyplot as plt
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist

WINDOWS = os.name == "nt"  # which has neither forks nor these terminals and signals
FORKS = multiprocessing.get_context(None if WINDOWS else "forkserver")
if not WINDOWS:
    FORKS.set_forkserver_preload(["tensorflow.compat.v1", "matplotlib.pyplot"])
DRAWING = [
    "display_images",
    "display_compared",
    "display_latent",
    "display_losses",
    "display_manifold",
]
# What TensorFlow says before its own log level holds.
START_UP = re.compile(r"WARNING: All log messages before absl::InitializeLog\(\).*|I0000 00:00:.*")


def our_lines(stderr):
    """The lines of stderr that TensorFlow's start-up does not account for."""
    return [line for line in stderr.splitlines() if not START_UP.fullmatch(line)]


def small_net(data, *flags):
    """Flags for a net of 16 neurons and 2 latent dimensions on the data set in the folder data."""
    return ["--data-dir", data, "--n-neurons", 16, "--n-neurons-z", 2, *flags]


def call(*args, pictures=()):
    """What main() returns for args. Drawing takes the longest: only pictures of DRAWING are."""
    left_out = {name: lambda *_: None for name in DRAWING if name not in pictures}
    # main() may give up a stdout that is full.
    with mock.patch.dict(vars(vae_mnist), left_out), mock.patch("sys.stdout", sys.stdout):
        try:
            return vae_mnist.main([str(arg) for arg in args])
        finally:
            plt.close("all")


def printed(*args, pictures=()):
    """What a run in this process, like that of call(), prints on stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        assert call(*args, pictures=pictures) is None
    return stdout.getvalue()


def _run(args, stdout, stderr, pictures, screen):
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY), number)
    # As block-buffered as in any other process, whatever stdout is where the first one began.
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", 1)
    # As at a terminal, even if these tests run in the background of a shell, which ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if screen:
        os.environ["DISPLAY"] = screen
        plt.switch_backend("TkAgg")
    sys.exit(call(*args, pictures=pictures) or 0)


def start(*args, stdout, stderr, pictures=(), screen=None):
    """A multiprocessing.Process, forked from one that has TensorFlow, that does call(*args).

    stdout and stderr are paths. screen: the name of the X display where Tk is to open windows.
    """
    how = (args, str(stdout), str(stderr), pictures, screen)
    if WINDOWS:
        pytest.skip("needs to fork")
    process = FORKS.Process(target=_run, args=how, daemon=True)
    # The first one starts the one it is forked from. That is to have the script's own log level,
    # in whose place TensorFlow, where it is imported without the script, has put another.
    with mock.patch.dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"):
        process.start()
    return process


def finish(process, timeout=120):
    """Wait for the end of process, and return its exit code."""
    process.join(timeout)
    assert not process.is_alive(), "still running"
    return process.exitcode


def wait_for(condition, timeout=120):
    """Wait until condition() is true, and return what it gave."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)
    return condition()


class Terminal:
    """A terminal to write to at path."""

    def __init__(self):
        if WINDOWS:
            pytest.skip("needs a pseudo-terminal")
        self._ends = os.openpty()
        self._sent = ""
        self.path = os.ttyname(self._ends[1])

    def read(self):
        """All that it has been sent so far."""
        while select.select(self._ends[:1], [], [], 0)[0]:
            self._sent += os.read(self._ends[0], 4096).decode()
        return self._sent


def files_in(folder):
    """The digest of each file in and below folder, by its path within it."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in paths}


def saved(folder):
    """The epochs whose checkpoints have an index in folder."""
    names = os.listdir(str(folder)) if folder.exists() else []
    return sorted(int(name[4:-6]) for name in names if name.endswith(".index"))


def losses(folder):
    """The losses that the newest checkpoint in folder has on record."""
    checkpoint = tf.train.load_checkpoint(str(folder / f"vae-{saved(folder)[-1]}"))
    return json.loads(checkpoint.get_tensor("record"))[1]
