"""What several test files share: small data sets on disk, and the script run as a program."""

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "vae_mnist.py"


def idx_bytes(array):
    """An IDX file's bytes, uncompressed: images from (n, 28, 28), labels from (n,), of uint8."""
    magic = 2048 + array.ndim  # 8 for unsigned bytes in the third byte, dimensions in the fourth
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_data_set(folder, n_train, n_test, seed=0):
    """Four files in MNIST's format: each label is a bright bar at a height of its own."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", n_train), ("t10k", n_test)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        images = rng.integers(0, 30, (n, 28, 28)).astype(np.uint8)
        for label in range(10):
            images[labels == label, 4 + 2 * label : 6 + 2 * label, 4:24] = 250
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images), 1))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels), 1))
    return folder


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A folder with 5,600 training images, of which 600 are left to train on, and 200 to test."""
    return write_data_set(tmp_path_factory.mktemp("small_data"), 5600, 200)


def command(*args):
    """The command line that runs the script with args."""
    return [sys.executable, str(SCRIPT), *[str(arg) for arg in args]]


def environment(**changes):
    """This process's environment without a screen; a change to None removes a variable."""
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    env.update(changes)
    return {k: v for k, v in env.items() if v is not None}


def run_script(*args, cwd=None, timeout=120, **changes):
    """Run the script as a program to its end; changes are to its environment."""
    return subprocess.run(
        command(*args),
        cwd=cwd or ROOT,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
