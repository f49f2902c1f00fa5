"""Small data sets on disk, for several test files."""

import gzip
import struct

import numpy as np


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
