"""data.py: the files that are shipped, reading and refusing files, the removed API, noise."""

import errno
import gzip
import hashlib
import os
import re
import shutil
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import data
from data import DataError, DataSet, add_mixed_noise, add_noise
from data import pick_test_images, read_data_sets
from data_files import idx_bytes, write_data_set

SHIPPED = Path(__file__).resolve().parent.parent / "MNIST_data"
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"


def shipped(name):
    return gzip.decompress((SHIPPED / name).read_bytes())


def pixels(folder, part):
    """The bytes of the images in a file, (n, 28, 28, 1)."""
    content = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(content[16:], np.uint8).reshape(-1, 28, 28, 1)


@pytest.fixture
def good(tmp_path):
    """A folder with 30 images to train on, and 20 to test; the i-th label is i % 10."""
    return write_data_set(tmp_path / "good", 30, 20)


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A folder with 5,600 images to train on, and 200 to test."""
    return write_data_set(tmp_path_factory.mktemp("larger"), 5600, 200)


# The data set that is shipped.


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


def test_mnist_is_split_into_55000_5000_and_10000(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it is found from anywhere
    mnist = read_data_sets()
    assert mnist._fields == ("train", "validation", "test")
    assert [part.num_examples for part in mnist] == [55000, 5000, 10000]
    labels = list(shipped(TRAIN_LABELS)[8:])
    assert mnist.validation.labels.tolist() + mnist.train.labels.tolist() == labels
    assert mnist.test.labels.tolist() == list(shipped(TEST_LABELS)[8:])
    nearest = (np.arange(256) / 255).astype(np.float32)
    assert mnist.test.images.dtype == np.float32
    assert np.array_equal(mnist.test.images, nearest[pixels(SHIPPED, "t10k")].reshape(-1, 784))


# What read_data_sets() is asked for.

TF_UINT8 = SimpleNamespace(as_numpy_dtype=np.uint8)  # as tf.uint8 has it
# By what is asked for: the arguments, the type and shape of an image, the shape of a label.
ASKED = {
    "no more": ((), np.float32, (784,), ()),
    "one-hot": ((False, True), np.float32, (784,), (10,)),
    "bytes": ((False, False, TF_UINT8), np.uint8, (784,), ()),
    "all": ((False, True, "uint8", False, 5000, 1, "http://nowhere"), np.uint8, (28, 28, 1), (10,)),
}


@pytest.mark.parametrize("args, dtype, image, label", ASKED.values(), ids=ASKED)
def test_arguments_are_tensorflows_in_its_order(args, dtype, image, label, larger):
    parts = read_data_sets(str(larger), *args)
    train = pixels(larger, "train")
    for part, expected in zip(parts, (train[5000:], train[:5000], pixels(larger, "t10k"))):
        n = len(expected)
        assert (part.images.dtype, part.images.shape) == (dtype, (n, *image))
        found = part.images * (255 if dtype is np.float32 else 1)
        assert np.array_equal(np.rint(found).ravel(), expected.ravel())
        assert np.array_equal(
            part.labels, (np.eye(10) if label else np.arange(10))[np.arange(n) % 10]
        )


@pytest.mark.parametrize(
    "n, asked, size",
    [(30, 0, 0), (30, 30, 30), (50001, None, 5000), (5001, None, 501), (11, None, 2)],
)
def test_as_many_are_set_aside_as_asked_for_or_a_tenth_but_5000_at_most(tmp_path, n, asked, size):
    parts = read_data_sets(write_data_set(tmp_path, n, 1), validation_size=asked)
    assert parts.validation.labels.tolist() == [i % 10 for i in range(size)]
    assert parts.train.labels.tolist() == [i % 10 for i in range(size, n)]


def test_a_tilde_is_the_home_folder(good, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(good.parent))
    assert len(read_data_sets(f"~/{good.name}", validation_size=0).train.images) == 30


def test_a_folder_that_may_not_be_entered_is_refused_with_the_reason(good, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as patch, pytest.raises(DataError) as error:
        patch.setattr(os, "stat", refuse)
        read_data_sets(str(good))
    assert str(error.value) == f"{good}/{TRAIN_IMAGES}: cannot be read: Permission denied"


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_that_leads_nowhere_is_refused_with_its_end(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    words = f"{tmp_path}/link: links to {tmp_path}/gone, which is no folder"
    with pytest.raises(DataError, match=f"^{words}$"):
        read_data_sets(f"{tmp_path}/link")


@pytest.mark.parametrize("how, size", [({"validation_size": -1}, -1), ({}, 5000)])
def test_a_validation_size_that_is_not_there_is_refused(good, how, size):
    with pytest.raises(DataError, match=f"good: .*from 0 to 30 .*found {size}$"):
        read_data_sets(good, **how)


@pytest.mark.parametrize("highest, columns", [(3, 10), (255, 256)])
def test_one_hot_has_a_column_for_every_label_and_ten_at_least(good, highest, columns):
    (good / TEST_LABELS).write_bytes(idx_bytes(np.full(20, highest, np.uint8)))
    parts = read_data_sets(good, one_hot=True, validation_size=10)
    assert [part.labels.shape[1] for part in parts] == [columns] * 3
    assert np.array_equal(parts.test.labels.nonzero()[1], [highest] * 20)


@pytest.mark.parametrize("ending", ["-idx", "-idx.gz", ".idx", ".idx.gz"])
@pytest.mark.parametrize("content", [bytes, gzip.decompress], ids=["gzip'd", "uncompressed"])
def test_files_may_have_their_usual_names_and_are_read_by_what_they_hold(good, ending, content):
    expected = read_data_sets(good, validation_size=0)
    for path in list(good.iterdir()):
        stem, kind = path.stem.split("-idx")
        file = content(path.read_bytes())
        path.unlink()
        if ending.startswith("."):
            (good / path.stem).mkdir()  # as one popular archive has beside the file
        (good / f"{stem}{ending.replace('idx', 'idx' + kind)}").write_bytes(file)
    for part, same in zip(read_data_sets(good, validation_size=0), expected):
        assert np.array_equal(part.images, same.images)
        assert np.array_equal(part.labels, same.labels)


# Wrong files. A damage is a function of the path of the file that the error must name.


def packed(function):
    """Damage that puts function of a file's bytes, as they are, in their place."""
    return lambda path: path.write_bytes(function(path.read_bytes()))


def header(*numbers):
    """Damage that begins a file's uncompressed bytes with numbers instead of its own."""
    start = struct.pack(f">{len(numbers)}I", *numbers)
    return packed(lambda b: gzip.compress(start + gzip.decompress(b)[len(start) :]))


def copy(source):
    """Damage that puts another file of the folder in place of one."""
    return lambda path: shutil.copy(str(path.parent / source), str(path))


NAMES = "No such file, nor train-images-idx3-ubyte, train-images.idx3-ubyte.gz or train-images.idx3"
PAGE = b"<!DOCTYPE html><title>Not found</title>"
# By what is wrong: the file that the error must name, the damage, what the error must say.
WRONG = {
    "missing": (TRAIN_IMAGES, Path.unlink, NAMES),
    "empty": (TEST_LABELS, packed(lambda b: b""), "8 bytes, found 0"),
    "a web page": (TEST_IMAGES, packed(lambda b: PAGE), "found 1008813135 (neither images nor"),
    "cut": (TRAIN_IMAGES, packed(lambda b: b[:4000]), "whole gzip"),
    "scrambled": (TRAIN_IMAGES, packed(lambda b: b[:99] + b[:99] + b[198:]), "whole gzip"),
    "checksum": (TRAIN_IMAGES, packed(lambda b: b[:-8] + bytes(4) + b[-4:]), "CRC check failed"),
    "labels for images": (TRAIN_IMAGES, copy(TRAIN_LABELS), "2051 (images), found 2049 (labels)"),
    "images for labels": (TEST_LABELS, copy(TEST_IMAGES), "2049 (labels), found 2051 (images)"),
    "29 images": (TRAIN_IMAGES, header(2051, 29), "22736 bytes after the header, found more"),
    "27 x 28": (TRAIN_IMAGES, header(2051, 30, 27, 28), "28 x 28 pixels, found 27 x 28"),
    "21 labels": (TEST_LABELS, header(2049, 21), "21 bytes after the header, found 20"),
    "no labels": (TEST_LABELS, header(2049, 0), "at least one item, found none"),
    "most images": (TRAIN_IMAGES, header(2051, 2**32 - 1), "expected 3367254359280 bytes"),
    "a byte more": (TEST_LABELS, packed(lambda b: b + gzip.compress(b"0")), "20 bytes after the"),
    "fewer labels": (TRAIN_LABELS, copy(TEST_LABELS), f"each image in {TRAIN_IMAGES}, found 20"),
}


@pytest.mark.parametrize("name, damage, words", WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(good, name, damage, words):
    damage(good / name)
    with pytest.raises(DataError) as error:
        read_data_sets(good, validation_size=10)
    assert str(error.value).startswith(f"{good / name}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("highest", [0, 1])
def test_binarized_images_of_0_and_1_are_refused_as_floats_and_kept_as_bytes(good, highest):
    images = np.resize(np.arange(highest + 1, dtype=np.uint8), (20, 28, 28))
    (good / TEST_IMAGES).write_bytes(idx_bytes(images))
    with pytest.raises(DataError, match=f"{TEST_IMAGES}: expected pixels up to 255 .* none above"):
        read_data_sets(good, validation_size=0)
    kept = read_data_sets(good, validation_size=0, dtype=np.uint8).test.images
    assert np.array_equal(kept, images.reshape(20, 784))


def test_where_the_files_are_not_the_error_says_where_mnist_is(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=re.escape(f"; MNIST is in {SHIPPED}") + "$"):
        read_data_sets(tmp_path)
    monkeypatch.setattr(data, "MNIST_DATA", str(tmp_path))  # it is not there either
    with pytest.raises(DataError, match=r" or train-images\.idx3-ubyte$"):
        read_data_sets(tmp_path)


# Batches.


def numbered(n, labels=None, seed=None):
    """A data set whose i-th image is all i."""
    images = np.full((784, n), np.arange(n), np.uint8).T
    return DataSet(images, np.arange(n) if labels is None else labels, dtype="uint8", seed=seed)


def walk(data_set, *batch_sizes, **how):
    """The numbers of the images in so many batches, one after the other."""
    batches = [data_set.next_batch(size, **how)[0] for size in batch_sizes]
    return np.concatenate(batches)[:, 0].astype(int).tolist()


@pytest.mark.parametrize("given", [np.uint8, np.int64, np.float32, np.float64])
def test_images_of_any_type_are_divided_by_255_or_with_uint8_kept(given):
    images = (np.arange(2 * 784).reshape(2, 28, 28, 1) % 256).astype(given)
    divided = DataSet(images, np.zeros(2)).images
    assert divided.dtype == np.float32
    assert np.array_equal(divided, (images.reshape(2, 784) / 255).astype(np.float32))
    kept = DataSet(images, np.zeros(2), dtype=np.uint8, reshape=False).images
    assert kept.dtype == given
    assert np.array_equal(kept, images)


def test_a_dtype_or_labels_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="uint8 or float32, found float64"):
        DataSet(np.zeros((9, 784)), np.arange(9), dtype=np.float64)
    with pytest.raises(ValueError, match="10 images, but 9 labels"):
        numbered(10, np.arange(9))


@pytest.mark.parametrize("batch_size", [1, 4, 10, 23])
@pytest.mark.parametrize("labels", [3 * np.arange(10) + 1, np.eye(10)], ids=["plain", "one-hot"])
def test_an_epoch_holds_each_image_once_also_where_batches_cross_its_end(batch_size, labels):
    data_set, numbers = numbered(10, labels), []
    for _ in range(30):
        images, labels_found = data_set.next_batch(batch_size)
        assert images.shape == (batch_size, 784)
        numbers += images[:, 0].astype(int).tolist()
        assert np.array_equal(labels_found, labels[numbers[-batch_size:]])
    epochs = [numbers[i : i + 10] for i in range(0, len(numbers), 10)]
    assert all(len(set(epoch)) == len(epoch) for epoch in epochs)


def test_a_seed_shuffles_the_set_anew_for_every_epoch_by_a_generator_of_its_own():
    rng, expected = np.random.default_rng(5), []
    for _ in range(3):
        order = np.arange(20)
        rng.shuffle(order)
        expected += order.tolist()
    assert walk(numbered(20, seed=5), 7, 7, 7, 39) == expected


def test_without_a_seed_numpys_own_repeats_the_order():
    orders = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        orders.append(walk(numbered(20), 50))
    assert orders[0] == orders[1] != orders[2]


def test_the_third_argument_not_the_second_is_whether_to_shuffle():
    in_order = [*range(10), *range(10), 0]
    assert numbered(10, seed=3).next_batch(21, False)[1].tolist() != in_order
    assert numbered(10).next_batch(21, False, False)[1].tolist() == in_order


def test_a_tutorial_may_start_again_and_with_other_images():
    data_set = numbered(10)
    walk(data_set, 7, 7, shuffle=False)
    data_set._index_in_epoch = data_set._epochs_completed = 0
    assert walk(data_set, 7, shuffle=False) == list(range(7))
    data_set._images, data_set._labels = numbered(30).images, np.arange(30)
    data_set._num_examples, data_set._index_in_epoch = 30, 0
    assert sorted(walk(data_set, 30)) == list(range(30))
    assert (data_set.num_examples, data_set.epochs_completed) == (30, 0)


def test_a_tutorial_may_go_through_fewer_images():
    data_set = numbered(10)
    data_set._num_examples = 4
    assert data_set.num_examples == 4
    assert sorted(walk(data_set, 4)) == sorted(walk(data_set, 4)) == [0, 1, 2, 3]


def test_a_tutorial_may_add_attributes_of_its_own_and_list_them_all():
    data_set = numbered(10)
    data_set.cls = np.arange(10)
    assert {"cls", "_images", "_labels", "_num_examples"} <= set(vars(data_set))


@pytest.mark.parametrize(
    "batch_size, counts", [(4, [0, 0, 1, 1, 1, 2]), (10, [0, 1, 2]), (25, [2, 4, 7])]
)
def test_an_epoch_is_complete_once_a_batch_goes_past_its_end(batch_size, counts):
    data_set = numbered(10)
    for count in counts:
        data_set.next_batch(batch_size)
        assert data_set.epochs_completed == count


def test_a_tutorial_may_narrow_the_set_after_a_batch():
    data_set = numbered(10)
    walk(data_set, 2, shuffle=False)
    data_set._images, data_set._labels = data_set.images[:6], data_set.labels[:6]
    data_set._num_examples = 6
    assert walk(data_set, 4) == [2, 3, 4, 5]
    assert sorted(walk(data_set, 6)) == list(range(6))
    data_set._num_examples = 3
    data_set._index_in_epoch = 0
    assert sorted(walk(data_set, 3)) == list(range(3))


def test_a_tutorial_may_go_back_by_a_batch_of_none_or_less():
    data_set = numbered(10)
    first = walk(data_set, 4, shuffle=False)
    assert [part.shape for part in data_set.next_batch(0)] == [(0, 784), (0,)]
    assert walk(data_set, 1, shuffle=False) == [4]
    assert [len(part) for part in data_set.next_batch(-data_set._index_in_epoch)] == [0, 0]
    assert walk(data_set, 4, shuffle=False) == first


@pytest.mark.parametrize("n, batch_size", [(10, -1), (0, 1)])
def test_a_batch_that_cannot_be_is_refused_and_changes_nothing(n, batch_size):
    data_set = numbered(n)
    with pytest.raises(ValueError, match=f"{batch_size} of {n} "):
        data_set.next_batch(batch_size)
    assert data_set.epochs_completed == 0
    assert n == 0 or walk(data_set, n, shuffle=False) == list(range(n))


def answers(data_set):
    """All that a data set gives, from its images to the batches of some epochs."""
    yield from (data_set.images, data_set.labels)
    np.random.seed(4)
    n = data_set.num_examples
    for size, *args in [(n // 2,), (n, False), (n // 3, False, False), (n, False, False), (n,)] * 2:
        yield from data_set.next_batch(size, *args)
        yield np.array([data_set.epochs_completed, data_set._index_in_epoch])
    data_set._index_in_epoch = data_set._epochs_completed = 0
    yield from data_set.next_batch(n // 2)
    # Some tutorials go back in this way.
    yield from data_set.next_batch(0)
    yield from data_set.next_batch(-data_set._index_in_epoch)
    yield np.array([data_set.epochs_completed, data_set._index_in_epoch])


@pytest.mark.skipif(sys.version_info >= (3, 8), reason="only TensorFlow 1 has the module")
@pytest.mark.parametrize("args", [(), (False, True), "uint8", "float32"], ids=str)
def test_tensorflows_own_module_gives_the_same_but_for_the_last_bit(larger, args):
    tf = pytest.importorskip("tensorflow")
    original = pytest.importorskip("tensorflow.contrib.learn.python.learn.datasets.mnist")
    if isinstance(args, str):
        args = (False, True, getattr(tf, args), False, 5300, None, "http://nowhere")
    parts = data.read_data_sets(str(larger), *args)
    for part, same in zip(parts, original.read_data_sets(str(larger), *args)):
        for found, expected in zip(list(answers(part)), list(answers(same))):
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            if found.dtype == np.float32:  # divided by 255, or multiplied by 1 / 255
                np.testing.assert_array_max_ulp(found, expected, 1)
            else:
                assert np.array_equal(found, expected)


# Noise.

GREY = np.full((400, 784), 0.5, np.float32)


@pytest.mark.parametrize("how, stddev", [({}, 0.5), ({"stddev": 2}, 2)])
def test_noise_is_normal_around_the_image_and_not_clipped(how, stddev):
    noisy, again = (add_noise(GREY, np.random.default_rng(1), **how) for _ in range(2))
    assert np.array_equal(noisy, again)
    assert (GREY == 0.5).all()
    assert (noisy.dtype, noisy.shape) == (np.float32, GREY.shape)
    noise = noisy - 0.5
    assert noise.mean() == pytest.approx(0, abs=0.01 * stddev)
    assert noise.std() == pytest.approx(stddev, rel=0.01)
    assert (abs(noise) < stddev).mean() == pytest.approx(0.6827, abs=0.003)


def test_mixed_noise_has_for_each_image_a_strength_of_its_own_from_none_to_one_half():
    noise = add_mixed_noise(GREY, np.random.default_rng(1)) - 0.5
    strengths = noise.std(axis=1)
    # 0.5 times the fourth power of a uniform number: of that the mean is 1/5, the median 1/16.
    assert strengths.mean() == pytest.approx(0.5 / 5, abs=0.03)
    assert np.median(strengths) == pytest.approx(0.5 / 16, abs=0.02)
    assert strengths.min() < 0.001
    assert 0.45 < strengths.max() < 0.53
    seen = strengths > 0.001  # the others are lost in the rounding of the grey they are added to
    scaled = noise[seen] / strengths[seen, None]
    assert (abs(scaled) < 1).mean() == pytest.approx(0.6827, abs=0.005)


# The test images: one for each label.

TEN_OF_EACH = numbered(100, np.arange(100) % 10)


def test_picked_images_have_distinct_labels_and_noisy_copies_and_all_can_be_picked():
    rng, picked = np.random.default_rng(1), set()
    for _ in range(500):
        images, noisy, labels = pick_test_images(TEN_OF_EACH, 3, rng)
        assert images.shape == (3, 784)
        assert (noisy - images).std(axis=1) == pytest.approx(0.5, abs=0.07)
        assert len(set(labels.tolist())) == len(labels) == 3
        assert np.array_equal(images % 10, np.repeat(labels, 784).reshape(-1, 784))
        picked.update(images[:, 0].tolist())
    assert picked == set(range(100))
