"""The program, run in the ways that several test files share."""

import contextlib
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from hashlib import sha256
from pathlib import Path
from unittest import mock

import matplotlib.pyplot as plt
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from extras import pictures as extra_pictures
from extras.errors import errors_in_one_line

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "vae_mnist.py"
WINDOWS = os.name == "nt"  # which has neither forks nor these signals
FORKS = multiprocessing.get_context(None if WINDOWS else "forkserver")
if not WINDOWS:
    FORKS.set_forkserver_preload(["tensorflow.compat.v1", "matplotlib.pyplot"])
ROOMS = [vars(vae_mnist), vars(extra_pictures)]  # where pictures are drawn
DRAWING = [name for room in ROOMS for name in room if name.startswith(("display_", "save_"))]
# What TensorFlow says before its own log level holds.
START_UP = re.compile(r"WARNING: All log messages before absl::InitializeLog\(\).*|I0000 00:00:.*")


def our_lines(stderr):
    """The lines of stderr that TensorFlow's start-up does not account for."""
    return [line for line in stderr.splitlines() if not START_UP.fullmatch(line)]


def small_net(data, *flags):
    """Flags for a net of 16 neurons and 2 latent dimensions on the data set in the folder data."""
    return ["--data-dir", data, "--n-neurons", 16, "--n-neurons-z", 2, *flags]


def command(*args):
    """The command line that runs the script with args."""
    return [sys.executable, str(SCRIPT), *[str(arg) for arg in args]]


def environment(**changes):
    """This process's environment without a screen; a change to None removes a variable."""
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    env.update(changes)
    return {k: v for k, v in env.items() if v is not None}


def call(*args, pictures=()):
    """The exit status of a run in this process. Drawing takes the longest: only pictures are."""
    with contextlib.ExitStack() as stack:
        for room in ROOMS:
            names = set(DRAWING).intersection(room).difference(pictures)
            stack.enter_context(mock.patch.dict(room, dict.fromkeys(names, lambda *_: None)))
        try:
            with errors_in_one_line():
                vae_mnist.main([str(arg) for arg in args])
        except SystemExit as end:
            return end.code
        return 0


def printed(*args, pictures=()):
    """What a run in this process, like that of call(), prints on stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        assert call(*args, pictures=pictures) == 0
    return stdout.getvalue()


def _run(args, stdout, stderr):
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    # As block-buffered as in any other process, whatever stdout is where the first one began.
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", 1)
    # As at a terminal, even if these tests run in the background of a shell, which ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plt.switch_backend("agg")
    sys.exit(call(*args))


def start(*args, stdout, stderr):
    """A process, forked from one that has TensorFlow, that does call(*args). Outputs are paths."""
    if WINDOWS:
        pytest.skip("needs to fork")
    process = FORKS.Process(target=_run, args=(args, str(stdout), str(stderr)), daemon=True)
    # The first one starts the one it is forked from, which is to have the script's own log level.
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


def files_in(folder):
    """The digest of each file in and below folder, by its path within it."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in paths}


def saved(folder):
    """The epochs whose checkpoints have an index in folder."""
    names = os.listdir(str(folder)) if folder.exists() else []
    indices = [re.fullmatch(r"vae-(\d+)\.index", name) for name in names]
    return sorted(int(index.group(1)) for index in indices if index)


def losses(folder):
    """The losses that the newest checkpoint in folder has on record."""
    checkpoint = tf.train.load_checkpoint(str(folder / f"vae-{saved(folder)[-1]}"))
    return json.loads(checkpoint.get_tensor("record"))[1]
