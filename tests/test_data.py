"""data.py: the files that are shipped, reading and refusing files, batches, noise."""

import gzip
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, environment, idx_bytes, write_data_set
from hypothesis import given, settings
from hypothesis import strategies as st

import data
from data import DataError, DataSet, add_mixed_noise, add_noise
from data import draw_test_images, read_data_sets

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
FILES = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS]
MB = 1 << 20


def pack(content, level=9):
    deflate = zlib.compressobj(level, zlib.DEFLATED, 31)
    return deflate.compress(content) + deflate.flush()


def unpack(path):
    return gzip.decompress(path.read_bytes())


def write_labels(path, labels):
    path.write_bytes(pack(idx_bytes(np.array(labels, np.uint8))))


def shipped(name):
    return unpack(ROOT / "MNIST_data" / name)


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


# The data set that is shipped.


@pytest.fixture(scope="module")
def mnist():
    return read_data_sets()


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


def test_mnist_is_split_into_55000_5000_and_10000(mnist):
    assert mnist._fields == ("train", "validation", "test")
    assert [part.num_examples for part in mnist] == [55000, 5000, 10000]
    assert [part.images.shape for part in mnist] == [(55000, 784), (5000, 784), (10000, 784)]
    assert [part.labels.shape for part in mnist] == [(55000,), (5000,), (10000,)]


# The first 5,000 training images are the validation set.
parts_of_the_files = pytest.mark.parametrize(
    "part, prefix, rows",
    [
        ("train", "train", slice(5000, None)),
        ("validation", "train", slice(5000)),
        ("test", "t10k", slice(None)),
    ],
)


@parts_of_the_files
def test_each_pixel_is_the_float32_nearest_to_its_byte_over_255(mnist, part, prefix, rows):
    nearest = (np.arange(256) / 255).astype(np.float32)
    pixels = np.frombuffer(shipped(f"{prefix}-images-idx3-ubyte.gz")[16:], np.uint8)
    pixels = pixels.reshape(-1, 784)[rows]
    images = getattr(mnist, part).images
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)
    # In parts, so that memory stays small.
    for i in range(0, len(pixels), 5000):
        assert np.array_equal(images[i : i + 5000], nearest[pixels[i : i + 5000]])


@parts_of_the_files
def test_labels_are_the_integers_of_the_files(mnist, part, prefix, rows):
    labels = getattr(mnist, part).labels
    assert labels.dtype.kind in "iu"
    assert labels.tolist() == list(shipped(f"{prefix}-labels-idx1-ubyte.gz")[8:])[rows]


def test_mnist_is_found_from_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_data_sets().test.num_examples == 10000


READ_MNIST = """
import time, data
start = time.perf_counter()
mnist = data.read_data_sets()
print(time.perf_counter() - start)
"""
# Not getrusage's peak: that begins with the memory of the process that forked.
TELL_PEAK = 'print(*[s.split()[1] for s in open("/proc/self/status") if s.startswith("VmHWM")])'


def last_number(code):
    """The number that code prints last, in a process of its own."""
    command = [sys.executable, "-c", code]
    return float(subprocess.check_output(command, cwd=ROOT, env=environment()).split()[-1])


def test_reading_mnist_takes_less_than_a_second_and_a_half():
    assert any(last_number(READ_MNIST) < 1.5 for _ in range(3))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux to tell the peak")
def test_reading_mnist_takes_less_than_300_mb():
    assert last_number(READ_MNIST + TELL_PEAK) < 300 * 1024


# What read_data_sets() is asked for.


@pytest.fixture
def good(tmp_path):
    """A folder with 30 images to train on, and 20 to test; the i-th label is i % 10."""
    return write_data_set(tmp_path / "good", 30, 20)


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
    assert [part.num_examples for part in parts] == [600, 5000, 200]
    for part in parts:
        assert np.array_equal(part.labels, np.eye(10)[np.arange(part.num_examples) % 10])


@pytest.mark.parametrize("highest, columns", [(3, 10), (9, 10), (10, 11), (255, 256)])
@pytest.mark.parametrize("part", ["train", "test"])
def test_one_hot_has_a_column_for_every_label_and_ten_at_least(good, part, highest, columns):
    write_labels(good / TRAIN_LABELS, [0] * 29 + [highest if part == "train" else 0])
    write_labels(good / TEST_LABELS, [0] * 19 + [highest if part == "test" else 0])
    parts = read_data_sets(good, one_hot=True, validation_size=10)
    assert [part.labels.shape[1] for part in parts] == [columns] * 3
    assert getattr(parts, part).labels[-1].nonzero()[0].tolist() == [highest]


def test_a_seed_repeats_the_order_of_batches(good):
    first, second = (read_data_sets(good, validation_size=10, seed=5) for _ in range(2))
    for one, other in zip(first, second):
        for _ in range(5):
            assert np.array_equal(one.next_batch(7)[0], other.next_batch(7)[0])


@pytest.mark.parametrize("seeds", [(5, 6), (None, None)])
def test_another_seed_or_none_draws_another_order(small_data, seeds):
    orders = [read_data_sets(small_data, seed=seed).train.next_batch(600)[1] for seed in seeds]
    assert not np.array_equal(*orders)


# Wrong files. A damage is a function of the path of the file that the error must name.


def packed(function):
    """Damage that puts function of a file's bytes, as they are, in their place."""
    return lambda path: path.write_bytes(function(path.read_bytes()))


def in_gzip(function, level=9):
    """Damage that puts function of a file's uncompressed bytes in their place."""
    return packed(lambda content: pack(function(gzip.decompress(content)), level))


def cut(length):
    return packed(lambda content: content[:length])


def flip(at, function=bytes):
    """Damage that flips a bit of the byte at a place in function of a file's bytes."""

    def flipped(content):
        content = bytearray(function(content))
        content[at] ^= 16
        return content

    return packed(flipped)


def header(*numbers):
    """Damage that begins a file with numbers instead of its own."""
    start = struct.pack(f">{len(numbers)}I", *numbers)
    return in_gzip(lambda content: start + content[len(start) :])


def labels(n):
    """Damage that puts n labels in place of what is in a file."""
    return in_gzip(lambda content: idx_bytes(np.zeros(n, np.uint8)))


def copy(source, target):
    """Damage that puts one file of the folder in place of another."""
    return lambda path: shutil.copy(str(path.parent / source), str(path.parent / target))


def make_directory(path):
    path.unlink()
    path.mkdir()


MOST = 2**32 - 1
# By what is wrong: the file that the error must name, the damage, what the error must say.
WRONG = {
    "no folder": (TRAIN_IMAGES, lambda path: shutil.rmtree(path.parent), "No such file"),
    **{f"no {name}": (name, Path.unlink, "No such file") for name in FILES},
    "a directory": (TRAIN_IMAGES, make_directory, "cannot be read"),
    "empty images": (TRAIN_IMAGES, cut(0), "16 bytes, found 0"),
    "empty labels": (TEST_LABELS, cut(0), "8 bytes, found 0"),
    "empty gzip": (TRAIN_IMAGES, in_gzip(lambda b: b""), "16 bytes, found 0"),
    "not gzip": (TRAIN_IMAGES, packed(gzip.decompress), "Not a gzipped file"),
    "a web page": (TEST_IMAGES, packed(lambda b: b"<html>"), "Not a gzipped file"),
    "cut after a byte": (TRAIN_IMAGES, cut(1), "gzip"),
    # In and after gzip's header, in the images, before the checksum, before the length, in it.
    **{f"cut at {i}": (TRAIN_IMAGES, cut(i), "whole gzip") for i in (6, 10, 99, 4000, -8, -4, -1)},
    **{f"labels cut at {i}": (TEST_LABELS, cut(i), "whole gzip") for i in (6, 10, -8, -4, -1)},
    "flip in gzip's method": (TRAIN_IMAGES, flip(2), "compression method"),
    "flip in the images": (TRAIN_IMAGES, flip(4000), ": "),
    "flip in a pixel": (TRAIN_IMAGES, flip(4000, lambda b: pack(gzip.decompress(b), 0)), "CRC"),
    "flip in the checksum": (TRAIN_IMAGES, flip(-8), "CRC check failed"),
    "flip in the labels' checksum": (TEST_LABELS, flip(-5), "CRC check failed"),
    "flip in the length": (TRAIN_IMAGES, flip(-4), "length of data"),
    "no block": (TRAIN_IMAGES, packed(lambda b: b[:10] + b"\xff" + b[11:]), "found: Error -3"),
    "labels for images": (TRAIN_IMAGES, labels(30), "2051 (images), found 2049 (labels)"),
    "images for labels": (
        TRAIN_LABELS,
        copy(TRAIN_IMAGES, TRAIN_LABELS),
        "expected magic number 2049 (labels), found 2051 (images)",
    ),
    "test images to train": (TRAIN_LABELS, copy(TEST_IMAGES, TRAIN_IMAGES), "20 labels, one"),
    "magic of no kind": (TRAIN_IMAGES, header(0xDEADBEEF), "2051 (images), found 3735928559"),
    "magic of floats": (TEST_IMAGES, header(0x0D03), "2051 (images), found 3331"),
    "magic backwards": (TEST_LABELS, header(0x01080000), "2049 (labels), found 17301504"),
    "27 x 28": (TRAIN_IMAGES, header(2051, 30, 27, 28), "28 x 28 pixels, found 27 x 28"),
    "28 x 27": (TEST_IMAGES, header(2051, 20, 28, 27), "28 x 28 pixels, found 28 x 27"),
    "14 x 56": (TRAIN_IMAGES, header(2051, 30, 14, 56), "28 x 28 pixels, found 14 x 56"),
    "header cut": (TRAIN_IMAGES, in_gzip(lambda b: b[:15]), "16 bytes, found 15"),
    "header cut in its magic": (TEST_LABELS, in_gzip(lambda b: b[:3]), "8 bytes, found 3"),
    "header alone": (TRAIN_LABELS, in_gzip(lambda b: b[:8]), "30 bytes after the header, found 0"),
    "31 images": (TRAIN_IMAGES, header(2051, 31), "24304 bytes after the header, found 23520"),
    "29 images": (TRAIN_IMAGES, header(2051, 29), "22736 bytes after the header, found more"),
    "no images": (TRAIN_IMAGES, header(2051, 0), "at least one item, found none"),
    "most images": (TRAIN_IMAGES, header(2051, MOST), "expected 3367254359280 bytes"),
    "21 labels": (TEST_LABELS, header(2049, 21), "expected 21 bytes"),
    "19 labels": (TEST_LABELS, header(2049, 19), "found more"),
    "no labels": (TEST_LABELS, header(2049, 0), "at least one item, found none"),
    "most labels": (TEST_LABELS, header(2049, MOST), "found 20"),
    "a pixel missing": (TEST_IMAGES, in_gzip(lambda b: b[:-1]), "found 15679"),
    "a byte too many": (TEST_IMAGES, in_gzip(lambda b: b + b"0"), "found more"),
    "32 MB too many": (TRAIN_IMAGES, in_gzip(lambda b: b + bytes(32 * MB)), "found more"),
    "a label less": (TRAIN_LABELS, labels(29), f"each image in {TRAIN_IMAGES}, found 29"),
    "a label more": (TEST_LABELS, labels(21), f"each image in {TEST_IMAGES}, found 21"),
    "garbage at the end": (TRAIN_IMAGES, packed(lambda b: b + b"?!"), "gzip"),
    "a gzip file twice over": (TEST_LABELS, packed(lambda b: b + b), "found more"),
}


@pytest.mark.parametrize("name, damage, words", WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_by_name_and_without_filling_memory(good, name, damage, words):
    damage(good / name)
    peak, error = peak_memory(read_data_sets, good, False, 10)
    assert type(error) is DataError
    assert str(error).startswith(f"{good / name}: ")
    assert words in str(error)
    assert "\n" not in str(error)
    assert peak < 6 * MB


# By what is unusual about a file: how it comes to be.
FINE = {
    "padded with zeros": packed(lambda b: b + bytes(9)),
    "in two members": packed(
        lambda b: pack(gzip.decompress(b)[:99]) + pack(gzip.decompress(b)[99:])
    ),
    "not compressed": in_gzip(bytes, level=0),
}


@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
def test_what_gzip_allows_is_read(good, change):
    expected = unpack(good / TRAIN_IMAGES)[16:]
    change(good / TRAIN_IMAGES)
    parts = read_data_sets(good, validation_size=0)
    assert np.rint(parts.train.images * 255).astype(np.uint8).tobytes() == expected


# Any file at all.

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 28, 28)).astype(np.uint8)
SPARSE = np.where(IMAGES < 30, IMAGES, np.uint8(0))[:2]
LABELS = np.arange(20, dtype=np.uint8) % 10
# A place in a file, how many bytes to remove there, what to put there.
CHANGE = st.tuples(
    st.one_of(st.integers(0, 15), st.integers(-12, -1), st.integers(0, 2400)),
    st.sampled_from([0, 1, 1, 4, 10000]),
    st.binary(max_size=4),
)


def changed(content, changes):
    for position, n_removed, new in changes:
        at = min(position, len(content)) if position >= 0 else max(0, len(content) + position)
        content = content[:at] + new + content[at + n_removed :]
    return content


def held(packed, magic, shape):
    """The bytes that a file holds, and how many items; None where it is not as it should be."""
    try:
        content = gzip.decompress(packed)
        found_magic, n_items, *found_shape = struct.unpack_from(f">{2 + len(shape)}I", content)
    except (OSError, EOFError, zlib.error, struct.error):
        return None
    body = content[8 + 4 * len(shape) :]
    whole = n_items > 0 and len(body) == n_items * (784 if shape else 1)
    return (body, n_items) if whole and (found_magic, *found_shape) == (magic, *shape) else None


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
    array=st.sampled_from([IMAGES, SPARSE, LABELS]),
    level=st.sampled_from([0, 9]),
    inside=st.booleans(),
    changes=st.lists(CHANGE, max_size=3),
)
def test_any_file_is_read_as_it_is_or_refused(fuzzed, array, level, inside, changes):
    magic, shape = (2049, ()) if array is LABELS else (2051, (28, 28))
    content = idx_bytes(array)
    if inside:
        file = pack(changed(content, changes), level)
    else:
        file = changed(pack(content, level), changes)
    fuzzed.seek(0)
    fuzzed.write(file)
    fuzzed.truncate()
    peak, found = peak_memory(data._read_idx, fuzzed.name, magic, shape)
    assert peak < 6 * MB
    expected = held(file, magic, shape)
    if expected is None:
        assert type(found) is DataError
        assert str(found).startswith(f"{fuzzed.name}: ")
    else:
        body, n_items = expected
        assert found.dtype == np.uint8
        assert found.shape == (n_items, *shape)
        assert found.tobytes() == body


# Batches.


def numbered(n, labels=None, seed=None):
    """A data set whose i-th image is all i."""
    images = np.full((784, n), np.arange(n), np.float32).T
    return DataSet(images, np.arange(n) if labels is None else labels, seed)


def walk(data_set, *batch_sizes, **how):
    """The numbers of the images in so many batches, one after the other."""
    batches = [data_set.next_batch(size, **how)[0] for size in batch_sizes]
    return np.concatenate(batches)[:, 0].astype(int).tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 10, 11, 23, 25, 50])
def test_an_epoch_holds_each_image_once_also_where_batches_cross_its_end(batch_size):
    numbers = walk(numbered(10), *[batch_size] * 30)
    assert len(numbers) == 30 * batch_size
    for i in range(0, len(numbers), 10):
        epoch = numbers[i : i + 10]
        assert len(set(epoch)) == len(epoch)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 25])
@pytest.mark.parametrize("labels", [3 * np.arange(10) + 1, np.eye(10)], ids=["plain", "one-hot"])
def test_a_batch_has_the_size_asked_for_and_each_image_its_label(batch_size, labels):
    data_set = numbered(10, labels)
    for _ in range(20):
        images, labels_found = data_set.next_batch(batch_size)
        assert (images.shape, images.dtype) == ((batch_size, 784), np.float32)
        assert np.array_equal(images, images[:, :1].repeat(784, axis=1))
        assert np.array_equal(labels_found, labels[images[:, 0].astype(int)])


def test_every_epoch_has_an_order_of_its_own():
    data_set = numbered(20)
    orders = [tuple(walk(data_set, 20)) for _ in range(10)]
    assert len({tuple(range(20)), *orders}) == 11


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


@pytest.mark.parametrize("batch_sizes", [(4, 4, 4, 9), (21,)])
def test_without_shuffling_batches_keep_the_order_of_the_set(batch_sizes):
    numbers = walk(numbered(10), *batch_sizes, shuffle=False)
    assert numbers == [*range(10), *range(10), 0]


def test_a_shuffled_epoch_stays_shuffled_to_its_end():
    repeated = walk(numbered(10, seed=3), 10)
    data_set = numbered(10, seed=3)
    assert walk(data_set, 3) + walk(data_set, 9, shuffle=False) == [*repeated, 0, 1]


@pytest.mark.parametrize("n, batch_size", [(10, 0), (10, -1), (0, 1)])
def test_a_batch_without_an_image_is_refused_and_changes_nothing(n, batch_size):
    data_set = numbered(n)
    with pytest.raises(ValueError, match=f"{batch_size} of {n} "):
        data_set.next_batch(batch_size)
    assert data_set.epochs_completed == 0
    assert n == 0 or walk(data_set, n, shuffle=False) == list(range(n))


# Noise.

GREY = np.full((400, 784), 0.5, np.float32)


@pytest.mark.parametrize("how, stddev", [({}, 0.5), ({"stddev": 2}, 2)])
def test_noise_is_normal_around_the_image_and_not_clipped(how, stddev):
    noise = add_noise(GREY, np.random.default_rng(1), **how) - 0.5
    assert noise.mean() == pytest.approx(0, abs=0.01 * stddev)
    assert noise.std() == pytest.approx(stddev, rel=0.01)
    # So much of a normal distribution is below as many standard deviations.
    for deviations, share in [(-2, 0.0228), (-1, 0.1587), (1, 0.8413), (2, 0.9772)]:
        assert (noise < deviations * stddev).mean() == pytest.approx(share, abs=0.003)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noisy_images_are_float32_in_the_shape_of_the_images(dtype):
    noisy = add_noise(np.ones((3, 5), dtype), np.random.default_rng(1))
    assert (noisy.dtype, noisy.shape) == (np.float32, (3, 5))


def test_mixed_noise_has_for_each_image_a_strength_of_its_own_from_none_to_one_half():
    noise = add_mixed_noise(GREY, np.random.default_rng(1)) - 0.5
    strengths = noise.std(axis=1)
    # 0.5 times the fourth power of a uniform number: of that the mean is 1/5, the variance 1/9 less
    # 1/25, the median 1/16.
    assert strengths.mean() == pytest.approx(0.5 / 5, abs=4.5 * 0.5 * np.sqrt(16 / 225 / 400))
    assert np.median(strengths) == pytest.approx(0.5 / 16, abs=0.02)
    assert strengths.min() < 0.001
    assert 0.45 < strengths.max() < 0.53
    told = strengths > 0.001  # the others are lost in the rounding of the grey they are added to
    scaled = noise[told] / strengths[told, None]
    assert (abs(scaled) < 1).mean() == pytest.approx(0.6827, abs=0.005)


def test_noise_differs_from_pixel_to_pixel_and_from_call_to_call():
    rng = np.random.default_rng(1)
    noisy = np.stack([add_noise(GREY[:2, :50], rng) for _ in range(2)])
    assert len(np.unique(noisy)) > 190


def test_noise_repeats_with_its_generator_and_leaves_its_input_unchanged():
    images = GREY.copy()
    one, other = (add_noise(images, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one, other)
    assert np.array_equal(images, GREY)


# The test images: one for each label.


TEN_OF_EACH = numbered(100, np.arange(100) % 10)


@pytest.mark.parametrize("n_images", [1, 4, 10])
def test_drawn_images_have_distinct_labels_and_match_them(n_images):
    for seed in range(20):
        drawn = draw_test_images(TEN_OF_EACH, n_images, np.random.default_rng(seed))
        assert drawn._fields == ("images", "noisy", "labels")
        assert drawn.images.shape == (n_images, 784)
        assert len(set(drawn.labels.tolist())) == len(drawn.labels) == n_images
        assert np.array_equal(drawn.images % 10, np.repeat(drawn.labels, 784).reshape(-1, 784))


def test_noisy_test_images_are_the_same_images_with_noise():
    drawn = draw_test_images(TEN_OF_EACH, 10, np.random.default_rng(1))
    assert drawn.noisy.shape == drawn.images.shape
    noise = drawn.noisy - drawn.images
    assert noise.mean(axis=1) == pytest.approx(0, abs=0.1)
    assert noise.std(axis=1) == pytest.approx(0.5, abs=0.05)
    # Each pixel of each image has noise of its own.
    assert abs(np.corrcoef(noise) - np.eye(10)).max() < 0.2


def test_fewer_labels_than_asked_for_give_fewer_images():
    data_set = DataSet(np.arange(6.0).reshape(6, 1), np.array([7, 7, 2, 7, 2, 7]))
    images, noisy, labels = draw_test_images(data_set, 4, np.random.default_rng(1))
    assert sorted(labels) == [2, 7]
    assert images.shape == noisy.shape == (2, 1)


def test_every_image_can_be_drawn_at_every_place():
    rng = np.random.default_rng(1)
    drawn = np.array([draw_test_images(TEN_OF_EACH, 3, rng).images[:, 0] for _ in range(1500)])
    for place in range(3):
        assert len(np.unique(drawn[:, place])) == 100


def test_a_draw_repeats_with_its_generator():
    draws = [draw_test_images(TEN_OF_EACH, 4, np.random.default_rng(9)) for _ in range(2)]
    for one, other in zip(*draws):
        assert np.array_equal(one, other)
