"""The data files and data.py: reading, refusing, batches, noise, and the state of a run."""

import gzip
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from conftest import ROOT, environment, idx_bytes, write_data_set
from hypothesis import given, settings
from hypothesis import strategies as st

import data
from data import DataError, DataSet, add_noise, check_writable, draw_distinct
from data import read_data_sets, saved_epochs

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
MB = 1 << 20


def unpack(path):
    return gzip.decompress(path.read_bytes())


def pack(content, level=9):
    deflate = zlib.compressobj(level, zlib.DEFLATED, 31)
    return deflate.compress(content) + deflate.flush()


def shipped(name):
    return unpack(ROOT / "MNIST_data" / name)


def shipped_images(name):
    return np.frombuffer(shipped(name)[16:], np.uint8).reshape(-1, 784)


def shipped_labels(name):
    return np.frombuffer(shipped(name)[8:], np.uint8)


def peak_memory(function, *args):
    """The most that function has allocated at one time, and what it returned or raised."""
    tracemalloc.start()
    try:
        result = function(*args)
    except Exception as error:
        result = error
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, result


# The files that are shipped.


@pytest.mark.parametrize(
    "name, sha256",
    [
        (TRAIN_IMAGES, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        (TRAIN_LABELS, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        (TEST_IMAGES, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        (TEST_LABELS, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ],
)
def test_a_shipped_file_holds_the_canonical_bytes(name, sha256):
    assert hashlib.sha256(shipped(name)).hexdigest() == sha256


@pytest.mark.parametrize(
    "name, counts",
    [
        (TRAIN_LABELS, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        (TEST_LABELS, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_the_shipped_digits_are_as_many_as_mnist_has(name, counts):
    assert np.bincount(shipped_labels(name)).tolist() == counts


# Reading a data set.


@pytest.fixture(scope="module")
def mnist():
    return read_data_sets()


@pytest.fixture
def good(tmp_path):
    """A folder with 30 images to train on, and 20 to test."""
    return write_data_set(tmp_path / "good", 30, 20)


def test_mnist_is_split_into_55000_5000_and_10000(mnist):
    assert mnist._fields == ("train", "validation", "test")
    assert [part.num_examples for part in mnist] == [55000, 5000, 10000]
    assert [part.images.shape for part in mnist] == [(55000, 784), (5000, 784), (10000, 784)]
    assert [part.labels.shape for part in mnist] == [(55000,), (5000,), (10000,)]


def test_images_are_float32_and_labels_integers(mnist):
    assert {part.images.dtype for part in mnist} == {np.dtype(np.float32)}
    assert {part.labels.dtype.kind for part in mnist} <= {"i", "u"}


def test_each_pixel_is_the_float32_nearest_to_its_byte_over_255(mnist):
    nearest = (np.arange(256) / 255).astype(np.float32)
    assert np.array_equal(mnist.test.images, nearest[shipped_images(TEST_IMAGES)])
    train = shipped_images(TRAIN_IMAGES)
    for i in range(5000, 60000, 5000):
        assert np.array_equal(mnist.train.images[i - 5000 : i], nearest[train[i : i + 5000]])


def test_pixels_span_0_to_1(mnist):
    for part in mnist:
        assert (part.images.min(), part.images.max()) == (0, 1)


def test_the_first_5000_training_images_are_the_validation_set(mnist):
    pixels = shipped_images(TRAIN_IMAGES)[:5000]
    assert np.array_equal(np.rint(mnist.validation.images * 255), pixels)


def test_the_labels_are_those_of_the_files(mnist):
    train = shipped_labels(TRAIN_LABELS)
    assert np.array_equal(mnist.validation.labels, train[:5000])
    assert np.array_equal(mnist.train.labels, train[5000:])
    assert np.array_equal(mnist.test.labels, shipped_labels(TEST_LABELS))


def test_mnist_is_found_from_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_data_sets().test.num_examples == 10000


def test_a_relative_folder_is_read_from_the_working_directory(good, monkeypatch):
    monkeypatch.chdir(good.parent)
    assert read_data_sets("good", validation_size=10).test.num_examples == 20


@pytest.mark.parametrize("size", [0, 1, 29])
def test_validation_size_images_are_set_aside(good, size):
    parts = read_data_sets(good, validation_size=size)
    assert [part.num_examples for part in parts] == [30 - size, size, 20]
    assert parts.validation.labels.tolist() == [i % 10 for i in range(size)]
    assert parts.train.labels.tolist() == [i % 10 for i in range(size, 30)]


@pytest.mark.parametrize("size", [-1, 30, 31])
def test_a_validation_size_that_leaves_no_training_set_is_refused(good, size):
    with pytest.raises(DataError) as error:
        read_data_sets(good, validation_size=size)
    assert all(word in str(error.value) for word in (str(good), str(size), "found 30"))


def test_one_hot_makes_rows_of_ten(small_data):
    parts = read_data_sets(str(small_data), one_hot=True)
    assert [part.labels.shape for part in parts] == [(600, 10), (5000, 10), (200, 10)]
    for part in parts:
        assert np.array_equal(part.labels, np.eye(10)[np.arange(part.num_examples) % 10])


@pytest.mark.parametrize("highest, columns", [(3, 10), (9, 10), (10, 11), (255, 256)])
def test_one_hot_has_a_column_for_every_label_and_ten_at_least(good, highest, columns):
    labels = np.arange(20, dtype=np.uint8) % 3
    labels[7] = highest
    (good / TEST_LABELS).write_bytes(pack(idx_bytes(labels)))
    (good / TRAIN_LABELS).write_bytes(pack(idx_bytes(np.zeros(30, np.uint8))))
    parts = read_data_sets(good, one_hot=True, validation_size=10)
    assert [part.labels.shape[1] for part in parts] == [columns] * 3
    assert np.array_equal(parts.test.labels.nonzero()[1], labels)


def test_a_seed_repeats_the_order_of_batches(good):
    first, second = (read_data_sets(good, validation_size=10, seed=5) for _ in range(2))
    for one, other in zip(first, second):
        for _ in range(5):
            assert np.array_equal(one.next_batch(7)[0], other.next_batch(7)[0])


@pytest.mark.parametrize("seeds", [(5, 6), (None, None)])
def test_another_seed_or_none_draws_another_order(small_data, seeds):
    orders = [read_data_sets(small_data, seed=seed).train.next_batch(600)[1] for seed in seeds]
    assert not np.array_equal(*orders)


READ_ALL = """
import time
import data
start = time.perf_counter()
parts = data.read_data_sets()
print(time.perf_counter() - start)
try:
    with open("/proc/self/status") as status:
        print(*[line.split()[1] for line in status if line.startswith("VmHWM")])
except OSError:
    print()
"""


def read_all():
    """Read MNIST in a process of its own. Returns seconds and peak kilobytes, as texts.

    The peak is not getrusage's: that begins with the memory of the process that forked.
    """
    command = [sys.executable, "-c", READ_ALL]
    return subprocess.check_output(command, cwd=ROOT, env=environment()).decode().split("\n")[:2]


def test_reading_mnist_takes_less_than_a_second_and_a_half():
    assert any(float(read_all()[0]) < 1.5 for _ in range(3))


def test_reading_mnist_takes_less_than_300_mb():
    peak = read_all()[1]
    if not peak:
        pytest.skip("needs Linux to tell the peak")
    assert int(peak) < 300 * 1024


# Batches.


def numbered(n, seed=None):
    """A data set whose i-th image is all i, and its label 3 i + 1."""
    return DataSet(np.full((784, n), np.arange(n), np.float32).T, 3 * np.arange(n) + 1, seed)


def walk(data_set, *batch_sizes, **how):
    """The numbers of the images in so many batches, one after the other."""
    batches = [data_set.next_batch(size, **how)[0] for size in batch_sizes]
    return np.concatenate(batches)[:, 0].astype(int).tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 11, 23, 50])
def test_an_epoch_holds_each_image_once(batch_size):
    numbers = walk(numbered(10), *[batch_size] * 30)
    for i in range(0, len(numbers) - 9, 10):
        assert sorted(numbers[i : i + 10]) == list(range(10))


@pytest.mark.parametrize("batch_size", [1, 4, 10, 25])
def test_a_batch_has_the_size_asked_for_and_keeps_images_and_labels_together(batch_size):
    data_set = numbered(10)
    for _ in range(20):
        images, labels = data_set.next_batch(batch_size)
        assert images.shape == (batch_size, 784)
        assert images.dtype == np.float32
        assert np.array_equal(images, np.repeat((labels - 1) / 3, 784).reshape(-1, 784))


def test_one_hot_labels_stay_with_their_images():
    data_set = DataSet(np.arange(10.0).reshape(10, 1), np.eye(10))
    images, labels = data_set.next_batch(25)
    assert np.array_equal(labels.argmax(axis=1), images[:, 0])


def test_every_epoch_has_an_order_of_its_own():
    data_set = numbered(20)
    orders = [tuple(walk(data_set, 20)) for _ in range(10)]
    assert len({tuple(range(20)), *orders}) == 11


def test_a_batch_crossing_the_end_takes_the_rest_and_goes_on():
    data_set = numbered(10)
    first = walk(data_set, 7)
    crossing = walk(data_set, 7)
    rest = walk(data_set, 6)
    assert sorted(first + crossing[:3]) == list(range(10))
    assert sorted(crossing[3:] + rest) == list(range(10))


@pytest.mark.parametrize(
    "batch_size, counts",
    [
        (4, [0, 0, 1, 1, 1, 2]),
        (5, [0, 0, 1, 1, 2]),
        (10, [0, 1, 2]),
        (7, [0, 1, 2, 2, 3]),
        (25, [2, 4, 7]),
    ],
)
def test_an_epoch_is_complete_once_a_batch_goes_past_its_end(batch_size, counts):
    data_set = numbered(10)
    found = []
    for _ in counts:
        data_set.next_batch(batch_size)
        found.append(data_set.epochs_completed)
    assert found == counts


def test_without_shuffling_batches_keep_the_order_of_the_set():
    numbers = walk(numbered(10), 4, 4, 4, 9, shuffle=False)
    assert numbers == [*range(10), *range(10), 0]


def test_a_shuffled_epoch_stays_shuffled_to_its_end():
    repeated = walk(numbered(10, seed=3), 10)
    data_set = numbered(10, seed=3)
    assert walk(data_set, 3) + walk(data_set, 9, shuffle=False) == [*repeated, 0, 1]


@pytest.mark.parametrize("how", [{}, {"shuffle": False}])
def test_a_batch_may_be_larger_than_the_set(how):
    numbers = walk(numbered(3), 8, **how)
    assert sorted(numbers[:3]) == sorted(numbers[3:6]) == [0, 1, 2]
    assert len(set(numbers[6:])) == 2


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_less_than_one_image_is_refused(batch_size):
    data_set = numbered(10)
    with pytest.raises(ValueError, match=str(batch_size)):
        data_set.next_batch(batch_size)
    assert walk(data_set, 10, shuffle=False) == list(range(10))


def test_a_batch_of_an_empty_set_is_refused():
    with pytest.raises(ValueError):
        numbered(0).next_batch(1)


# Noise, and one image for each label.

GREY = np.full((400, 784), 0.5, np.float32)


@pytest.mark.parametrize("how, stddev", [({}, 0.5), ({"stddev": 2}, 2)])
def test_noise_is_normal_around_the_image(how, stddev):
    noise = add_noise(GREY, np.random.default_rng(1), **how) - 0.5
    assert noise.mean() == pytest.approx(0, abs=0.01 * stddev)
    assert noise.std() == pytest.approx(stddev, rel=0.01)
    assert (abs(noise) < stddev).mean() == pytest.approx(0.6827, abs=0.005)
    assert (abs(noise) < 2 * stddev).mean() == pytest.approx(0.9545, abs=0.005)


def test_noise_is_not_clipped():
    noisy = add_noise(GREY, np.random.default_rng(1))
    assert (noisy < 0).mean() == pytest.approx(0.1587, abs=0.005)
    assert (noisy > 1).mean() == pytest.approx(0.1587, abs=0.005)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noisy_images_are_float32_in_the_shape_of_the_images(dtype):
    noisy = add_noise(np.ones((3, 5), dtype), np.random.default_rng(1))
    assert (noisy.dtype, noisy.shape) == (np.float32, (3, 5))


def test_noise_differs_from_pixel_to_pixel_and_from_call_to_call():
    rng = np.random.default_rng(1)
    noisy = np.stack([add_noise(GREY[:2, :50], rng) for _ in range(2)])
    assert len(np.unique(noisy)) > 190


def test_noise_repeats_with_its_generator():
    one, other = (add_noise(GREY, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one, other)


def test_noise_leaves_its_input_unchanged():
    images = GREY.copy()
    add_noise(images, np.random.default_rng(1))
    assert np.array_equal(images, GREY)


def ten_of_each():
    """100 images, the i-th all i, with the labels 0..9 over and over."""
    return DataSet(np.full((784, 100), np.arange(100), np.float32).T, np.arange(100) % 10)


@pytest.mark.parametrize("n_images", [1, 4, 10])
def test_drawn_images_have_distinct_labels_and_match_them(n_images):
    for seed in range(20):
        images, labels = draw_distinct(ten_of_each(), n_images, np.random.default_rng(seed))
        assert images.shape == (n_images, 784)
        assert len(set(labels.tolist())) == len(labels) == n_images
        assert np.array_equal(images[:, 0] % 10, labels)


def test_fewer_labels_than_asked_for_give_fewer_images():
    data_set = DataSet(np.arange(6.0).reshape(6, 1), np.array([7, 7, 2, 7, 2, 7]))
    images, labels = draw_distinct(data_set, 4, np.random.default_rng(1))
    assert sorted(labels) == [2, 7]
    assert images.shape == (2, 1)


def test_every_image_can_be_drawn_at_every_place():
    rng = np.random.default_rng(1)
    drawn = np.array([draw_distinct(ten_of_each(), 3, rng)[0][:, 0] for _ in range(1500)])
    for place in range(3):
        assert len(np.unique(drawn[:, place])) == 100


def test_a_draw_repeats_with_its_generator():
    one, other = (draw_distinct(ten_of_each(), 4, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


# Wrong files.


def change(name, function):
    """Damage that puts function of a file's bytes in their place."""

    def damage(folder):
        (folder / name).write_bytes(function((folder / name).read_bytes()))

    return damage


def repack(name, function, level=9):
    """Damage that puts function of a file's uncompressed bytes in their place."""
    return change(name, lambda packed: pack(function(gzip.decompress(packed)), level))


def header(name, *numbers):
    """Damage that replaces the first numbers of a file's header; None leaves one alone."""

    def function(content):
        for i, number in enumerate(numbers):
            if number is not None:
                content = content[: 4 * i] + struct.pack(">I", number) + content[4 * i + 4 :]
        return content

    return repack(name, function)


def flip(position, bit=4):
    """A function that flips a bit of the byte at position, which may be negative or a share."""

    def function(content):
        content = bytearray(content)
        at = position if isinstance(position, int) else int(position * len(content))
        content[at] ^= 1 << bit
        return bytes(content)

    return function


def cut(name, length):
    """Damage that cuts a file to length, which may be negative or a share."""
    return change(name, lambda b: b[: length if isinstance(length, int) else int(length * len(b))])


def copy(source, target):
    return lambda folder: shutil.copy(str(folder / source), str(folder / target))


def make_directory(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


# What is wrong, the file that the error must name, how it comes to be, what the error must say.
WRONG = [
    ("missing folder", TRAIN_IMAGES, shutil.rmtree, "No such file"),
    ("missing images", TRAIN_IMAGES, lambda f: (f / TRAIN_IMAGES).unlink(), "No such file"),
    ("missing labels", TRAIN_LABELS, lambda f: (f / TRAIN_LABELS).unlink(), "No such file"),
    ("missing test images", TEST_IMAGES, lambda f: (f / TEST_IMAGES).unlink(), "No such file"),
    ("missing test labels", TEST_LABELS, lambda f: (f / TEST_LABELS).unlink(), "No such file"),
    ("a directory", TRAIN_IMAGES, make_directory(TRAIN_IMAGES), "cannot be read"),
    ("empty file", TRAIN_IMAGES, cut(TRAIN_IMAGES, 0), "16 bytes, found 0"),
    ("empty labels", TEST_LABELS, cut(TEST_LABELS, 0), "8 bytes, found 0"),
    ("empty gzip", TRAIN_IMAGES, repack(TRAIN_IMAGES, lambda b: b""), "16 bytes, found 0"),
    ("not gzip", TRAIN_IMAGES, change(TRAIN_IMAGES, gzip.decompress), "Not a gzipped file"),
    ("a web page", TEST_IMAGES, change(TEST_IMAGES, lambda b: b"<html>"), "Not a gzipped file"),
    ("cut after 1 byte", TRAIN_IMAGES, cut(TRAIN_IMAGES, 1), "gzip"),
    ("cut in gzip's header", TRAIN_IMAGES, cut(TRAIN_IMAGES, 6), "whole gzip file"),
    ("cut after gzip's header", TRAIN_IMAGES, cut(TRAIN_IMAGES, 10), "whole gzip file"),
    ("cut early", TRAIN_IMAGES, cut(TRAIN_IMAGES, 0.01), "whole gzip file"),
    ("cut in the middle", TRAIN_IMAGES, cut(TRAIN_IMAGES, 0.5), "whole gzip file"),
    ("cut late", TEST_IMAGES, cut(TEST_IMAGES, 0.99), "whole gzip file"),
    ("cut before the checksum", TRAIN_IMAGES, cut(TRAIN_IMAGES, -8), "whole gzip file"),
    ("cut before the length", TRAIN_LABELS, cut(TRAIN_LABELS, -4), "whole gzip file"),
    ("cut by 1 byte", TEST_LABELS, cut(TEST_LABELS, -1), "whole gzip file"),
    ("bit flipped in the body", TRAIN_IMAGES, change(TRAIN_IMAGES, flip(0.5)), ": "),
    (
        "no deflate block",
        TRAIN_IMAGES,
        change(TRAIN_IMAGES, lambda b: b[:10] + b"\xff" + b[11:]),
        "expected a whole gzip file, found: Error -3",
    ),
    (
        "bit flipped in a pixel",
        TRAIN_IMAGES,
        change(TRAIN_IMAGES, lambda b: flip(0.5)(pack(gzip.decompress(b), level=0))),
        "CRC check failed",
    ),
    ("bit flipped in CRC", TRAIN_IMAGES, change(TRAIN_IMAGES, flip(-8)), "CRC check failed"),
    ("bit flipped in last CRC", TEST_LABELS, change(TEST_LABELS, flip(-5)), "CRC check failed"),
    ("bit flipped in length", TRAIN_IMAGES, change(TRAIN_IMAGES, flip(-4)), "length of data"),
    ("bit flipped in method", TRAIN_IMAGES, change(TRAIN_IMAGES, flip(2)), "compression method"),
    (
        "labels for images",
        TRAIN_IMAGES,
        copy(TRAIN_LABELS, TRAIN_IMAGES),
        "expected magic number 2051 (images), found 2049 (labels)",
    ),
    (
        "images for labels",
        TRAIN_LABELS,
        copy(TRAIN_IMAGES, TRAIN_LABELS),
        "expected magic number 2049 (labels), found 2051 (images)",
    ),
    ("test images to train", TRAIN_LABELS, copy(TEST_IMAGES, TRAIN_IMAGES), "20 labels, one"),
    ("wrong magic", TRAIN_IMAGES, header(TRAIN_IMAGES, 0xDEADBEEF), "2051 (images), found 3735"),
    ("magic of floats", TEST_IMAGES, header(TEST_IMAGES, 0x0D03), "2051 (images), found 3331"),
    ("magic backwards", TEST_LABELS, header(TEST_LABELS, 0x01080000), "2049 (labels), found 173"),
    ("27 x 28 pixels", TRAIN_IMAGES, header(TRAIN_IMAGES, None, None, 27), "pixels, found 27 x 28"),
    (
        "28 x 27 pixels",
        TEST_IMAGES,
        header(TEST_IMAGES, None, None, None, 27),
        "28 x 28 pixels, found 28 x 27",
    ),
    ("14 x 56 pixels", TRAIN_IMAGES, header(TRAIN_IMAGES, None, None, 14, 56), "found 14 x 56"),
    ("header cut", TRAIN_IMAGES, repack(TRAIN_IMAGES, lambda b: b[:15]), "16 bytes, found 15"),
    ("header cut in magic", TEST_LABELS, repack(TEST_LABELS, lambda b: b[:3]), "8 bytes, found 3"),
    ("header alone", TRAIN_LABELS, repack(TRAIN_LABELS, lambda b: b[:8]), "30 bytes after"),
    (
        "more images claimed",
        TRAIN_IMAGES,
        header(TRAIN_IMAGES, None, 31),
        "expected 24304 bytes after the header, found 23520",
    ),
    (
        "fewer images claimed",
        TRAIN_IMAGES,
        header(TRAIN_IMAGES, None, 29),
        "expected 22736 bytes after the header, found more",
    ),
    ("more labels claimed", TEST_LABELS, header(TEST_LABELS, None, 21), "expected 21 bytes"),
    ("fewer labels claimed", TEST_LABELS, header(TEST_LABELS, None, 19), "found more"),
    (
        "4294967295 images claimed",
        TRAIN_IMAGES,
        header(TRAIN_IMAGES, None, 4294967295),
        "expected 3367254359280 bytes after the header, found 23520",
    ),
    ("4294967295 labels claimed", TEST_LABELS, header(TEST_LABELS, None, 4294967295), "found 20"),
    ("last pixel missing", TEST_IMAGES, repack(TEST_IMAGES, lambda b: b[:-1]), "found 15679"),
    ("one byte too many", TEST_IMAGES, repack(TEST_IMAGES, lambda b: b + b"0"), "found more"),
    ("32 MB too many", TRAIN_IMAGES, repack(TRAIN_IMAGES, lambda b: b + bytes(32 * MB)), "more"),
    (
        "fewer labels than images",
        TRAIN_LABELS,
        repack(TRAIN_LABELS, lambda b: idx_bytes(np.zeros(29, np.uint8))),
        "expected 30 labels, one for each image in train-images-idx3-ubyte.gz, found 29",
    ),
    (
        "more labels than images",
        TEST_LABELS,
        repack(TEST_LABELS, lambda b: idx_bytes(np.zeros(21, np.uint8))),
        "expected 20 labels, one for each image in t10k-images-idx3-ubyte.gz, found 21",
    ),
    ("no images", TRAIN_IMAGES, header(TRAIN_IMAGES, None, 0), "at least one item, found none"),
    ("no labels", TEST_LABELS, header(TEST_LABELS, None, 0), "at least one item, found none"),
    ("garbage at the end", TRAIN_IMAGES, change(TRAIN_IMAGES, lambda b: b + b"?!"), "gzip"),
    ("a gzip file twice over", TEST_LABELS, change(TEST_LABELS, lambda b: b + b), "found more"),
]


@pytest.mark.parametrize("name, damage, words", [row[1:] for row in WRONG], ids=next(zip(*WRONG)))
def test_a_wrong_file_is_refused_by_name_and_without_filling_memory(good, name, damage, words):
    damage(good)
    peak, error = peak_memory(read_data_sets, good, False, 10)
    assert type(error) is DataError
    assert str(error).startswith(f"{good / name}: ")
    assert words in str(error)
    assert "\n" not in str(error)
    assert peak < 6 * MB


@pytest.mark.parametrize(
    "fine",
    [
        change(TRAIN_IMAGES, lambda b: b + bytes(9)),
        change(
            TRAIN_IMAGES, lambda b: pack(gzip.decompress(b)[:99]) + pack(gzip.decompress(b)[99:])
        ),
        change(TRAIN_IMAGES, lambda b: pack(gzip.decompress(b), level=0)),
    ],
    ids=["padded with zeros", "gzip in two members", "not compressed in gzip"],
)
def test_what_gzip_allows_is_read(good, fine):
    expected = unpack(good / TRAIN_IMAGES)[16:]
    fine(good)
    parts = read_data_sets(good, validation_size=0)
    assert np.rint(parts.train.images * 255).astype(np.uint8).tobytes() == expected


# Any file at all.

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 28, 28)).astype(np.uint8)
SPARSE = np.where(IMAGES < 30, IMAGES, np.uint8(0))[:2]
LABELS = np.arange(20, dtype=np.uint8) % 10
SEEDS = [idx_bytes(array) for array in (IMAGES, SPARSE, LABELS)]


def mutate(content, mutations):
    """content after bit flips, truncations, insertions, deletions and overwritten bytes."""
    for kind, position, new in mutations:
        at = position % (len(content) + 1) if position >= 0 else max(0, len(content) + position)
        if kind == "flip" and at < len(content):
            content = flip(at, new[0] % 8)(content)
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + new + content[at:]
        elif kind == "delete":
            content = content[:at] + content[at + len(new) :]
        elif kind == "overwrite":
            content = content[:at] + new + content[at + len(new) :]
    return content


def held(packed, magic, shape):
    """What a file of these bytes holds, and its size; None where it is not as it should be."""
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        return None, 0
    start = 8 + 4 * len(shape)
    if len(content) < start:
        return None, len(content)
    numbers = struct.unpack(f">{start // 4}I", content[:start])
    item = 784 if shape else 1
    good = numbers[0] == magic and numbers[1] > 0 and numbers[2:] == shape
    if not good or len(content) != start + numbers[1] * item:
        return None, len(content)
    return np.array(list(content[start:]), np.uint8).reshape(numbers[1:]), len(content)


POSITIONS = st.one_of(st.integers(0, 15), st.integers(-12, -1), st.integers(0, 2400))
KINDS = st.sampled_from(["flip", "cut", "insert", "delete", "overwrite"])
MUTATION = st.tuples(KINDS, POSITIONS, st.binary(min_size=1, max_size=4))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    with open(str(tmp_path_factory.mktemp("fuzzed") / "file.gz"), "wb") as file:
        yield file


@settings(
    max_examples=int(os.environ.get("FUZZ_CASES", 2000)),
    deadline=None,
    derandomize="FUZZ_CASES" not in os.environ,
    database=None,
)
@given(
    content=st.sampled_from(SEEDS),
    level=st.sampled_from([0, 9]),
    in_gzip=st.booleans(),
    mutations=st.lists(MUTATION, max_size=3),
)
def test_any_file_is_read_as_it_is_or_refused(fuzzed, content, level, in_gzip, mutations):
    magic, shape = (2049, ()) if content is SEEDS[2] else (2051, (28, 28))
    if in_gzip:
        packed = mutate(pack(content, level), mutations)
    else:
        packed = pack(mutate(content, mutations), level)
    fuzzed.seek(0)
    fuzzed.write(packed)
    fuzzed.truncate()
    expected, size = held(packed, magic, shape)
    peak, found = peak_memory(data._read_idx, fuzzed.name, magic, shape)
    assert peak < 3 * MB + 4 * (size + len(packed))
    if expected is None:
        assert type(found) is DataError
        assert str(found).startswith(f"{fuzzed.name}: ")
    else:
        assert found.dtype == np.uint8
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()


# The folders that a run writes to.


def test_missing_folders_are_made_and_left_empty(tmp_path):
    folders = [tmp_path / "a" / "b", tmp_path / "c"]
    check_writable(*folders)
    check_writable(*folders)
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_a_folder_of_none_is_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_writable(None, "made", None)
    assert os.listdir(".") == ["made"]


@pytest.mark.parametrize("below", [".", "below", "below/further"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, below):
    (tmp_path / "file").write_bytes(b"precious")
    folder = str(tmp_path / "file" / below)
    with pytest.raises(OSError) as error:
        check_writable(str(tmp_path), folder)
    assert error.value.filename == folder
    assert error.value.strerror
    assert (tmp_path / "file").read_bytes() == b"precious"


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as error:
        check_writable(tmp_path)
    assert error.value.filename == tmp_path


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")


def test_saved_epochs_are_in_the_order_of_their_numbers(tmp_path):
    touch(tmp_path, "checkpoint", *[f"vae-{i}.index" for i in (2, 10, 0, 9)])
    assert saved_epochs(tmp_path) == [0, 2, 9, 10]


def test_an_epoch_is_saved_when_its_index_stands(tmp_path):
    touch(tmp_path, "vae-1.index", "vae-1.data-00000-of-00001", "vae-2.data-00000-of-00001")
    touch(tmp_path, "vae-3.index.tempstate123")
    assert saved_epochs(tmp_path) == [1]


def test_no_folder_an_empty_one_or_one_with_half_a_checkpoint_hold_no_epoch(tmp_path):
    assert saved_epochs(None) == []
    assert saved_epochs(tmp_path / "missing") == []
    assert saved_epochs(tmp_path) == []
    touch(tmp_path, "checkpoint", "vae-0.data-00000-of-00001")
    assert saved_epochs(tmp_path) == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    touch(tmp_path, "letter.txt")
    with pytest.raises(DataError) as error:
        saved_epochs(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "letter.txt" in str(error.value)


def test_folders_pictures_and_logs_are_no_strangers(tmp_path):
    touch(tmp_path, "loss.png", "samples.png.123.part", "events.out.tfevents.123.host.v2")
    (tmp_path / "figures").mkdir()
    assert saved_epochs(tmp_path) == []


def test_a_stranger_beside_checkpoints_is_let_be(tmp_path):
    touch(tmp_path, "letter.txt", "vae-4.index")
    assert saved_epochs(tmp_path) == [4]
