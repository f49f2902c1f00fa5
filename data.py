"""MNIST from its four files, as arrays, in batches.

Stands in for ``tensorflow.examples.tutorials.mnist.input_data``, which TensorFlow 2 removed,
argument by argument, so that a TensorFlow 1 tutorial's own lines go on working::

    mnist = read_data_sets("MNIST_data", one_hot=True)
    X_batch, Y_batch = mnist.train.next_batch(100)

Any set in MNIST's format will do, such as Fashion-MNIST. Nothing is downloaded.
"""

import gzip
import os
import stat
import struct
import zlib
from typing import NamedTuple

import numpy as np

MNIST_DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "MNIST_data")
PIXEL_SIZE = 28
IMAGES_MAGIC = 2051  # unsigned bytes in three dimensions: images, rows, columns
LABELS_MAGIC = 2049  # unsigned bytes in one dimension
KINDS = {IMAGES_MAGIC: "images", LABELS_MAGIC: "labels"}
CHUNK = 1 << 20


class DataError(ValueError):
    """A data file is missing, damaged, or not what it should be; the text says which and how."""


def read_data_sets(
    train_dir=MNIST_DATA,
    fake_data=False,
    one_hot=False,
    dtype=np.float32,
    reshape=True,
    validation_size=5000,
    seed=None,
    source_url=None,
):
    """Read the data set in the folder train_dir, where a ~ at the beginning is the home folder.

    The first validation_size of the training images become the validation set. None stands for a
    tenth of them, rounded up, but 5,000 at most. one_hot: labels as rows of zeros with a one.
    dtype, reshape and seed are for DataSet. source_url is ignored. Raises DataError if a file is
    missing or wrong, or if there are fewer than validation_size images.
    """
    _refuse_fake_data(fake_data)
    dtype = _numpy_dtype(dtype)
    train_dir = os.path.expanduser(train_dir)
    images, labels = _read_part(train_dir, "train", dtype)
    test_images, test_labels = _read_part(train_dir, "t10k", dtype)
    n = len(images)
    size = validation_size
    if size is None:
        size = min(5000, (n + 9) // 10)
    if not 0 <= size <= n:
        raise DataError(
            f"{train_dir}: expected validation_size from 0 to {n} training images, found {size}"
        )
    if one_hot:
        rows = np.eye(1 + max(9, int(labels.max()), int(test_labels.max())))
        labels, test_labels = rows[labels], rows[test_labels]
    options = {"dtype": dtype, "reshape": reshape, "seed": seed}
    return DataSets(
        train=DataSet(images[size:], labels[size:], **options),
        validation=DataSet(images[:size], labels[:size], **options),
        test=DataSet(test_images, test_labels, **options),
    )


def _refuse_fake_data(fake_data):
    if fake_data:
        raise NotImplementedError("fake_data=True: there are no made-up images here")


def _numpy_dtype(dtype):
    """uint8 or float32, of NumPy or of TensorFlow, as NumPy's. Raises TypeError for any other."""
    dtype = np.dtype(getattr(dtype, "as_numpy_dtype", dtype))
    if dtype not in (np.uint8, np.float32):
        raise TypeError(f"dtype: expected uint8 or float32, found {dtype}")
    return dtype


# Files to arrays.


def _read_part(folder, part, dtype):
    """The "train" or "t10k" images, uint8 (n, 28, 28, 1), for dtype, and labels, uint8 (n,)."""
    images_path = _find(folder, f"{part}-images-idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels-idx1-ubyte")
    images = _read_idx(images_path, IMAGES_MAGIC, (PIXEL_SIZE, PIXEL_SIZE))
    labels = _read_idx(labels_path, LABELS_MAGIC, ())
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, one for each image in "
            f"{os.path.basename(images_path)}, found {len(labels)}"
        )
    if dtype == np.float32 and images.max() <= 1:
        raise DataError(
            f"{images_path}: expected pixels up to 255 (binarized: 0 and 255), found none above 1"
        )
    return images[..., np.newaxis], labels


def _find(folder, name):
    """The path of the file called name, or as archives call it, in folder, gzip'd or not."""
    dotted = name.replace("-idx", ".idx")
    names = [f"{name}.gz", name, f"{dotted}.gz", dotted]
    paths = [os.path.join(folder, name) for name in names]
    found = [path for path in paths if _is_file(path)]
    if not found:
        if os.path.islink(folder) and not os.path.isdir(folder):
            raise DataError(f"{folder}: links to {os.readlink(folder)}, which is no folder")
        others = f"{', '.join(names[1:3])} or {names[3]}"
        if os.path.isfile(os.path.join(MNIST_DATA, names[0])):
            others += f"; MNIST is in {MNIST_DATA}"
        raise DataError(f"{paths[0]}: No such file, nor {others}")
    return found[0]


def _is_file(path):
    """Whether a file is there, not a folder, which some archives hold under a file's name."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _read_idx(path, magic, item_shape):
    """The bytes of an IDX file, gzip'd or not, uint8 (items, *item_shape), checked as it is read.

    Memory grows with what is really in the file, not with what its header says.
    """
    try:
        with open(path, "rb") as raw:
            # By its first bytes, as some browsers unpack a file and keep its name.
            is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
            file = gzip.GzipFile(fileobj=raw) if is_gzip else raw
            header_size = 4 * (2 + len(item_shape))
            header = _read_up_to(file, header_size)
            if len(header) < header_size:
                raise DataError(
                    f"{path}: expected an IDX header of {header_size} bytes, found {len(header)}"
                )
            found_magic, items, *found_shape = struct.unpack(f">{header_size // 4}I", header)
            if found_magic != magic:
                found = f"{found_magic} ({KINDS.get(found_magic, 'neither images nor labels')})"
                raise DataError(
                    f"{path}: expected magic number {magic} ({KINDS[magic]}), found {found}"
                )
            if tuple(found_shape) != item_shape:
                found = " x ".join(str(size) for size in found_shape)
                raise DataError(f"{path}: expected images of 28 x 28 pixels, found {found}")
            if items == 0:
                raise DataError(f"{path}: expected at least one item, found none")
            declared = items * int(np.prod(item_shape))
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


# Arrays to batches.


class DataSet:
    """Images with their labels, and an endless walk over them in batches.

    images: pixels 0..255 of any type become float32 0..1, as in TensorFlow, or with dtype uint8
        stay as they are. With reshape, (n, 28, 28, 1) becomes (n, 784). Unlike in TensorFlow, they
        keep their places when batches are shuffled.
    labels: integers, (n,), or one-hot rows, (n, classes).
    seed: fixes the order of the batches; None leaves it to np.random, as in TensorFlow.
    epochs_completed: how often next_batch() has gone past the last image. As in TensorFlow, a
        batch that ends exactly there leaves it to the next one to count.
    """

    def __init__(
        self,
        images,
        labels,
        fake_data=False,
        one_hot=False,  # of fake_data only
        dtype=np.float32,
        reshape=True,
        seed=None,
    ):
        _refuse_fake_data(fake_data)
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images, but {len(labels)} labels")
        if reshape and images.ndim > 2:
            images = images.reshape(len(images), images.shape[1] * images.shape[2])
        if _numpy_dtype(dtype) == np.float32:
            # Not multiplied by 1 / 255: each value is then the float32 nearest to it.
            images = np.divide(images, np.float32(255), dtype=np.float32)
        # These five have TensorFlow's names, since tutorials set them.
        self._images = images
        self._labels = labels
        self._num_examples = len(images)
        self._epochs_completed = 0
        self._index_in_epoch = 0
        self._order = np.arange(len(images))
        self._rng = None if seed is None else np.random.default_rng(seed)

    images = property(lambda self: self._images)
    labels = property(lambda self: self._labels)
    num_examples = property(lambda self: self._num_examples)
    epochs_completed = property(lambda self: self._epochs_completed)

    def next_batch(self, batch_size, fake_data=False, shuffle=True):
        """The next batch_size images and labels, in an order drawn anew for every epoch.

        Where a batch crosses the end of an epoch it takes the rest and goes on into the next,
        so that an epoch holds every image once. With shuffle=False, an epoch that begins in this
        call has the order of the set, or without a seed, as in TensorFlow, of the epoch before.
        A batch_size below 0 goes back by so many images, and gives none. Raises ValueError if that
        is before the beginning of the epoch, or if the set is empty.
        """
        _refuse_fake_data(fake_data)
        if self._index_in_epoch + batch_size < 0 or self.num_examples == 0:
            raise ValueError(f"cannot take {batch_size} of {self.num_examples} images")
        if len(self._order) != self.num_examples:
            # As in TensorFlow, a set that was changed within an epoch goes on in its own order.
            self._order = np.arange(self.num_examples)
        if self._epochs_completed == 0 and self._index_in_epoch == 0:
            self._begin_epoch(shuffle)
        if batch_size < 1:
            self._index_in_epoch += batch_size
            return self._images[:0], self._labels[:0]
        parts = []
        missing = batch_size
        while missing:
            if self._index_in_epoch >= len(self._order):
                self._epochs_completed += 1
                self._begin_epoch(shuffle)
            part = self._order[self._index_in_epoch : self._index_in_epoch + missing]
            self._index_in_epoch += len(part)
            missing -= len(part)
            parts.append(part)
        rows = np.concatenate(parts)
        return self._images[rows], self._labels[rows]

    def _begin_epoch(self, shuffle):
        self._index_in_epoch = 0
        # Without a seed the order before is shuffled again, so as to repeat TensorFlow's. It is
        # copied, as a batch that crosses the end still holds the rest of it.
        anew = self._rng is not None
        self._order = np.arange(self.num_examples) if anew else self._order.copy()
        if shuffle:
            (self._rng or np.random).shuffle(self._order)


class DataSets(NamedTuple):
    """The three parts of a data set."""

    train: DataSet
    validation: DataSet
    test: DataSet


# What is done with the images.


def add_noise(images, rng, stddev=0.5):
    """images plus stddev times standard normal numbers drawn from rng, a numpy Generator.

    stddev: one number, or one for each image, (n, 1). Float32, in the shape of images. Not clipped:
    pixel values leave 0..1, as in the book.
    """
    noise = rng.standard_normal(np.shape(images), dtype=np.float32)
    return np.asarray(images, np.float32) + np.asarray(stddev, np.float32) * noise


def add_mixed_noise(images, rng):
    """images, (n, 784), plus noise as in add_noise(), for each of a strength of its own, 0 to 0.5.

    Little noise is the most frequent: the strength is half of a uniform number to the power of 4.
    """
    return add_noise(images, rng, 0.5 * rng.random((len(images), 1)) ** 4)


def pick_test_images(data_set, n_images, rng):
    """n_images random images of data_set with as many different labels, in random order.

    Returns the book's test_images and test_images_noisy, (n_images, 784), and test_labels,
    (n_images,). Labels must be integers. If there are fewer than n_images different ones, fewer
    images are returned. rng is a numpy Generator.
    """
    labels = rng.permutation(np.unique(data_set.labels))[:n_images]
    rows = [rng.choice(np.flatnonzero(data_set.labels == label)) for label in labels]
    images = data_set.images[rows]
    return images, add_noise(images, rng), data_set.labels[rows]
