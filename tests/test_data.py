"""data.py: the files that are shipped, reading and refusing files, the removed API, noise."""

import gzip
import hashlib
import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, idx_bytes, write_data_set
from hypothesis import given, settings
from hypothesis import strategies as st

import data
from data import DataError, DataSet, add_mixed_noise, add_noise
from data import draw_test_images, read_data_sets

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"


def shipped(name):
    return gzip.decompress((ROOT / "MNIST_data" / name).read_bytes())


def pixels(folder, part):
    """The bytes of the images in a file, (n, 28, 28, 1)."""
    content = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(content[16:], np.uint8).reshape(-1, 28, 28, 1)


@pytest.fixture
def good(tmp_path):
    """A folder with 30 images to train on, and 20 to test; the i-th label is i % 10."""
    return write_data_set(tmp_path / "good", 30, 20)


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
    assert np.array_equal(
        mnist.test.images, nearest[pixels(ROOT / "MNIST_data", "t10k")].reshape(-1, 784)
    )


# What read_data_sets() is asked for.

TF_UINT8 = SimpleNamespace(as_numpy_dtype=np.uint8)  # as tf.uint8 has it
# By what is asked for: the arguments, the type and shape of an image, the shape of a label.
ASKED = {
    "no more": ((), np.float32, (784,), ()),
    "integers": ((False, False), np.float32, (784,), ()),
    "one-hot": ((False, True), np.float32, (784,), (10,)),
    "bytes": ((False, False, TF_UINT8), np.uint8, (784,), ()),
    "all": ((False, True, "uint8", False, 5000, 1, "http://nowhere"), np.uint8, (28, 28, 1), (10,)),
}


@pytest.mark.parametrize("args, dtype, image, label", ASKED.values(), ids=ASKED)
def test_arguments_are_tensorflows_in_its_order(args, dtype, image, label, small_data):
    parts = read_data_sets(str(small_data), *args)
    train = pixels(small_data, "train")
    for part, expected in zip(parts, (train[5000:], train[:5000], pixels(small_data, "t10k"))):
        n = len(expected)
        assert (part.images.dtype, part.images.shape) == (dtype, (n, *image))
        found = part.images * (255 if dtype is np.float32 else 1)
        assert np.array_equal(np.rint(found).ravel(), expected.ravel())
        assert np.array_equal(
            part.labels, (np.eye(10) if label else np.arange(10))[np.arange(n) % 10]
        )


def test_any_other_dtype_is_refused(good):
    with pytest.raises(TypeError, match="uint8 or float32, found float64"):
        read_data_sets(good, dtype=np.float64, validation_size=10)


def test_made_up_data_is_refused_by_name():
    for call in (read_data_sets, lambda n, fake: DataSet([], [], fake), numbered(9).next_batch):
        with pytest.raises(NotImplementedError, match="fake_data=True"):
            call(5, True)


@pytest.mark.parametrize(
    "n, asked, size",
    [(30, 0, 0), (30, 30, 30), (5001, None, 5000), (5000, None, 500), (11, None, 2)],
)
def test_as_many_are_set_aside_as_asked_for_or_5000_or_a_tenth(tmp_path, n, asked, size):
    parts = read_data_sets(write_data_set(tmp_path, n, 1), validation_size=asked)
    assert parts.validation.labels.tolist() == [i % 10 for i in range(size)]
    assert parts.train.labels.tolist() == [i % 10 for i in range(size, n)]


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


# Any file at all.

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 28, 28)).astype(np.uint8)
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
        content = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
        found_magic, n_items, *found_shape = struct.unpack_from(f">{2 + len(shape)}I", content)
    except (OSError, EOFError, zlib.error, struct.error):
        return None
    body = content[8 + 4 * len(shape) :]
    whole = n_items > 0 and len(body) == n_items * (784 if shape else 1)
    return (body, n_items) if whole and (found_magic, *found_shape) == (magic, *shape) else None


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(
    array=st.sampled_from([IMAGES, LABELS]),
    before=st.sampled_from([bytes, gzip.compress]),
    changes=st.lists(CHANGE, max_size=3),
    after=st.sampled_from([bytes, gzip.compress]),
)
def test_any_file_is_read_as_it_is_or_refused(tmp_path_factory, array, before, changes, after):
    magic, shape = (2049, ()) if array is LABELS else (2051, (28, 28))
    file = after(changed(before(idx_bytes(array)), changes))
    path = tmp_path_factory.getbasetemp() / "any_file"
    path.write_bytes(file)
    try:
        found = data._read_idx(str(path), magic, shape)
    except DataError:
        found = None
    assert (found if found is None else (found.tobytes(), len(found))) == held(file, magic, shape)
    assert found is None or found.shape[1:] == shape


# Batches.


def numbered(n, labels=None, seed=None):
    """A data set whose i-th image is all i."""
    images = np.full((784, n), np.arange(n), np.float32).T
    return DataSet(images, np.arange(n) if labels is None else labels, seed=seed)


def walk(data_set, *batch_sizes, **how):
    """The numbers of the images in so many batches, one after the other."""
    batches = [data_set.next_batch(size, **how)[0] for size in batch_sizes]
    return np.concatenate(batches)[:, 0].astype(int).tolist()


def test_images_of_bytes_are_flattened_and_scaled_and_of_floats_are_kept():
    images = np.arange(2 * 784).reshape(2, 28, 28, 1) % 256
    scaled = DataSet(images.astype(np.uint8), np.zeros(2)).images
    assert np.array_equal(scaled, (images.reshape(2, 784) / 255).astype(np.float32))
    assert np.array_equal(DataSet(scaled, np.zeros(2)).images, scaled)


def test_what_would_have_no_effect_or_not_fit_is_refused():
    with pytest.raises(ValueError, match="10 images, but 9 labels"):
        numbered(10, np.arange(9))
    with pytest.raises(AttributeError, match="_position"):
        numbered(10)._position = 0


@pytest.mark.parametrize("batch_size", [1, 4, 10, 23])
@pytest.mark.parametrize("labels", [3 * np.arange(10) + 1, np.eye(10)], ids=["plain", "one-hot"])
def test_an_epoch_holds_each_image_once_also_where_batches_cross_its_end(batch_size, labels):
    data_set, numbers = numbered(10, labels), []
    for _ in range(30):
        images, labels_found = data_set.next_batch(batch_size)
        assert (images.shape, images.dtype) == ((batch_size, 784), np.float32)
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
    data_set._index_in_epoch = data_set._epochs_completed = 0
    data_set._images, data_set._labels = numbered(30).images, np.arange(30)
    assert sorted(walk(data_set, 30)) == list(range(30))
    assert (data_set.num_examples, data_set.epochs_completed) == (30, 0)


def test_a_tutorial_may_ask_for_the_number_of_images_and_go_through_fewer():
    data_set = numbered(10)
    assert data_set._num_examples == 10
    data_set._num_examples = 4
    assert data_set.num_examples == 4
    assert sorted(walk(data_set, 4)) == sorted(walk(data_set, 4)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "batch_size, counts", [(4, [0, 0, 1, 1, 1, 2]), (10, [0, 1, 2]), (25, [2, 4, 7])]
)
def test_an_epoch_is_complete_once_a_batch_goes_past_its_end(batch_size, counts):
    data_set = numbered(10)
    for count in counts:
        data_set.next_batch(batch_size)
        assert data_set.epochs_completed == count


@pytest.mark.parametrize("n, batch_size", [(10, 0), (10, -1), (0, 1)])
def test_a_batch_without_an_image_is_refused_and_changes_nothing(n, batch_size):
    data_set = numbered(n)
    with pytest.raises(ValueError, match=f"{batch_size} of {n} "):
        data_set.next_batch(batch_size)
    assert data_set.epochs_completed == 0
    assert n == 0 or walk(data_set, n, shuffle=False) == list(range(n))


def told(data_set):
    """All that a data set gives, from its images to the batches of some epochs."""
    yield from (data_set.images, data_set.labels)
    np.random.seed(4)
    n = data_set.num_examples
    for size, *args in [(n // 2,), (n, False), (n // 3, False, False), (n, False, False), (n,)] * 2:
        yield from data_set.next_batch(size, *args)
        yield np.array([data_set.epochs_completed, data_set._index_in_epoch])
    data_set._index_in_epoch = data_set._epochs_completed = 0
    yield from data_set.next_batch(n // 2)


@pytest.mark.parametrize("args", [(), (False, True), "uint8", "float32"], ids=str)
def test_tensorflows_own_module_gives_the_same_but_for_the_last_bit(small_data, args):
    tf = pytest.importorskip("tensorflow")
    original = pytest.importorskip("tensorflow.contrib.learn.python.learn.datasets.mnist")
    if isinstance(args, str):
        args = (False, True, getattr(tf, args), False, 5300, None, "http://nowhere")
    parts = data.read_data_sets(str(small_data), *args)
    for part, same in zip(parts, original.read_data_sets(str(small_data), *args)):
        for found, expected in zip(list(told(part)), list(told(same))):
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
    told = strengths > 0.001  # the others are lost in the rounding of the grey they are added to
    scaled = noise[told] / strengths[told, None]
    assert (abs(scaled) < 1).mean() == pytest.approx(0.6827, abs=0.005)


# The test images: one for each label.

TEN_OF_EACH = numbered(100, np.arange(100) % 10)


@pytest.mark.parametrize("n_images", [1, 4, 10])
def test_drawn_images_have_distinct_labels_and_match_them(n_images):
    for seed in range(20):
        images, _, labels = draw_test_images(TEN_OF_EACH, n_images, np.random.default_rng(seed))
        assert images.shape == (n_images, 784)
        assert len(set(labels.tolist())) == len(labels) == n_images
        assert np.array_equal(images % 10, np.repeat(labels, 784).reshape(-1, 784))


def test_noisy_test_images_are_the_same_images_with_noise():
    images, noisy, _ = draw_test_images(TEN_OF_EACH, 10, np.random.default_rng(1))
    assert (noisy - images).std(axis=1) == pytest.approx(0.5, abs=0.05)


def test_fewer_labels_than_asked_for_give_fewer_images():
    data_set = DataSet(np.arange(6.0).reshape(6, 1), np.array([7, 7, 2, 7, 2, 7]))
    images, noisy, labels = draw_test_images(data_set, 4, np.random.default_rng(1))
    assert sorted(labels) == [2, 7]
    assert images.shape == noisy.shape == (2, 1)


def test_every_image_can_be_drawn():
    rng = np.random.default_rng(1)
    drawn = np.array([draw_test_images(TEN_OF_EACH, 3, rng)[0][:, 0] for _ in range(500)])
    assert len(np.unique(drawn)) == 100
