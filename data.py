"""Reads MNIST from its four gzip'd IDX files and hands it out in batches.

Stands in for ``tensorflow.examples.tutorials.mnist.input_data``, which TensorFlow 2 removed,
so that a TensorFlow 1 tutorial's own lines go on working::

    mnist = read_data_sets("MNIST_data", one_hot=True)
    X_batch, Y_batch = mnist.train.next_batch(100)

Any set in MNIST's format will do, such as Fashion-MNIST. Nothing is downloaded.
"""

import gzip
import os
import struct
import zlib
from typing import NamedTuple

import numpy as np

MNIST_DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "MNIST_data")
PIXEL_SIZE = 28
IMAGES_MAGIC = 2051  # unsigned bytes in three dimensions: images, rows, columns
LABELS_MAGIC = 2049  # unsigned bytes in one dimension
KINDS = {IMAGES_MAGIC: " (images)", LABELS_MAGIC: " (labels)"}
CHUNK = 1 << 20


class DataError(Exception):
    """A data file is missing, damaged, or not what it should be; the text says which and how."""


class DataSet:
    """Images with their labels, and an endless walk over them in batches.

    images: float32, (num_examples, 784), pixel values 0..1.
    labels: integers, (num_examples,), or one-hot rows, (num_examples, classes).
    epochs_completed: how often next_batch() has gone past the last image. As in TensorFlow, a
        batch that ends exactly there leaves it to the next one to count.
    """

    def __init__(self, images, labels, seed=None):
        self.images = images
        self.labels = labels
        self.num_examples = len(images)
        self.epochs_completed = 0
        self._rng = np.random.default_rng(seed)
        self._order = np.arange(self.num_examples)
        self._position = 0

    def next_batch(self, batch_size, shuffle=True):
        """The next batch_size images and labels, in an order drawn anew for every epoch.

        Where a batch crosses the end of an epoch it takes the rest and goes on into the next,
        so that an epoch holds every image once. With shuffle=False, an epoch that begins in
        this call keeps the order of the set. Raises ValueError if batch_size is below 1, or
        the set is empty.
        """
        if batch_size < 1 or self.num_examples == 0:
            raise ValueError(f"cannot take {batch_size} of {self.num_examples} images")
        parts = []
        missing = batch_size
        while missing:
            if self._position == self.num_examples:
                self.epochs_completed += 1
                self._position = 0
            if self._position == 0:
                self._order = np.arange(self.num_examples)
                if shuffle:
                    self._rng.shuffle(self._order)
            part = self._order[self._position : self._position + missing]
            self._position += len(part)
            missing -= len(part)
            parts.append(part)
        rows = np.concatenate(parts)
        return self.images[rows], self.labels[rows]


class DataSets(NamedTuple):
    """The three parts of a data set."""

    train: DataSet
    validation: DataSet
    test: DataSet


def read_data_sets(train_dir=MNIST_DATA, one_hot=False, validation_size=5000, seed=None):
    """Read the data set in the folder train_dir.

    The first validation_size of the training images become the validation set. seed fixes the
    order in which next_batch() walks the images. Raises DataError if a file is missing or
    wrong, or if validation_size does not leave a training set.
    """
    # The larger part first: its raw bytes are freed before the smaller part is read.
    train_images, train_labels = _read_part(train_dir, "train")
    test_images, test_labels = _read_part(train_dir, "t10k")
    if not 0 <= validation_size < len(train_images):
        raise DataError(
            f"{train_dir}: expected more than the {validation_size} training images that "
            f"validation_size sets aside, found {len(train_images)}"
        )
    if one_hot:
        rows = np.eye(1 + max(9, train_labels.max(), test_labels.max()))
        train_labels, test_labels = rows[train_labels], rows[test_labels]
    return DataSets(
        train=DataSet(train_images[validation_size:], train_labels[validation_size:], seed),
        validation=DataSet(train_images[:validation_size], train_labels[:validation_size], seed),
        test=DataSet(test_images, test_labels, seed),
    )


def add_noise(images, rng, stddev=0.5):
    """images plus stddev times standard normal numbers drawn from rng, a numpy Generator.

    stddev: one number, or one for each image, (n, 1). Float32, in the shape of images. Not clipped:
    pixel values leave 0..1, as in the chapter.
    """
    noise = rng.standard_normal(np.shape(images), dtype=np.float32)
    return np.asarray(images, np.float32) + np.asarray(stddev, np.float32) * noise


def add_mixed_noise(images, rng, stddev=0.5):
    """images, (n, 784), plus noise as in add_noise(), from none up to stddev, its own for each.

    Little noise is the most frequent: the strength is stddev times a uniform number to the power
    of 4.
    """
    return add_noise(images, rng, stddev * rng.random((len(images), 1)) ** 4)


class ChapterImages(NamedTuple):
    """The chapter's test_images, test_images_noisy and test_labels."""

    images: np.ndarray
    noisy: np.ndarray
    labels: np.ndarray


def draw_test_images(data_set, n_images, rng):
    """n_images random images of data_set with as many different labels, in random order.

    Returns them clean and noisy, (n_images, 784), with their labels, (n_images,), as ChapterImages.
    Labels must be integers. If there are fewer than n_images different ones, fewer images are
    returned. rng is a numpy Generator.
    """
    labels = rng.permutation(np.unique(data_set.labels))[:n_images]
    rows = [rng.choice(np.flatnonzero(data_set.labels == label)) for label in labels]
    images = data_set.images[rows]
    return ChapterImages(images, add_noise(images, rng), data_set.labels[rows])


def _read_part(folder, part):
    """The "train" or "t10k" images, float32 (n, 784) in 0..1, and labels, int64 (n,)."""
    images_path = os.path.join(folder, f"{part}-images-idx3-ubyte.gz")
    labels_path = os.path.join(folder, f"{part}-labels-idx1-ubyte.gz")
    images = _read_idx(images_path, IMAGES_MAGIC, (PIXEL_SIZE, PIXEL_SIZE))
    labels = _read_idx(labels_path, LABELS_MAGIC, ())
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, one for each image in "
            f"{os.path.basename(images_path)}, found {len(labels)}"
        )
    pixels = images.reshape(len(images), PIXEL_SIZE * PIXEL_SIZE)
    # Divided rather than multiplied by 1 / 255: each value is then the float32 nearest to it.
    return np.divide(pixels, np.float32(255), dtype=np.float32), labels.astype(np.int64)


def _read_idx(path, magic, item_shape):
    """The bytes of a gzip'd IDX file, uint8 (items, *item_shape), checked as they are read.

    Memory grows with what is really in the file, not with what its header says.
    """
    try:
        with gzip.open(path, "rb") as file:
            header_size = 4 * (2 + len(item_shape))
            header = _read_up_to(file, header_size)
            if len(header) < header_size:
                raise DataError(
                    f"{path}: expected an IDX header of {header_size} bytes, found {len(header)}"
                )
            found_magic, items, *found_shape = struct.unpack(f">{header_size // 4}I", header)
            if found_magic != magic:
                found = f"{found_magic}{KINDS.get(found_magic, '')}"
                raise DataError(
                    f"{path}: expected magic number {magic}{KINDS[magic]}, found {found}"
                )
            if tuple(found_shape) != item_shape:
                found = " x ".join(str(size) for size in found_shape)
                raise DataError(f"{path}: expected images of 28 x 28 pixels, found {found}")
            if items == 0:
                raise DataError(f"{path}: expected at least one item, found none")
            declared = items * PIXEL_SIZE ** len(item_shape)
            # Ask for one byte too many: this finds a file that is too long, and makes gzip read to
            # the end, where it checks its checksum.
            body = _read_up_to(file, declared + 1)
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a whole gzip file, found: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(body) != declared:
        found = "more" if len(body) > declared else len(body)
        raise DataError(f"{path}: expected {declared} bytes after the header, found {found}")
    return np.frombuffer(body, np.uint8).reshape((items, *item_shape))


def _read_up_to(file, size):
    """The next size bytes of file, or all that are left, in a bytearray grown as they come."""
    data = bytearray()
    while len(data) < size:
        chunk = file.read(min(CHUNK, size - len(data)))
        if not chunk:
            break
        data += chunk
    return data
