"""Whatever a user gets wrong: one line that names it, before training, with nothing changed.

To cover another case, add a row to the table.
"""

import gzip
import os
import re
import shlex
import shutil

import pytest
import tensorflow.compat.v1 as tf

from conftest import write_data_set
from program import call, files_in

RUN = (
    "--data-dir {tmp}/data --figures-dir {tmp}/figures"
    " --n-neurons 16 --n-neurons-z 2 --batch-size 100 --n-epochs 2 "
)
IMAGES = "data/train-images-idx3-ubyte.gz"
LABELS = "data/train-labels-idx1-ubyte.gz"
TEST_LABELS = "data/t10k-labels-idx1-ubyte.gz"
NEWEST = "saved/vae-1.data-00000-of-00001"


def remove(path):
    return lambda tmp: (tmp / path).unlink()


def empty(path):
    return lambda tmp: (tmp / path).write_bytes(b"")


def truncate(path):
    return lambda tmp: (tmp / path).write_bytes((tmp / path).read_bytes()[:-100])


def flip(path, position):
    def flip(tmp):
        content = bytearray((tmp / path).read_bytes())
        content[position] ^= 16
        (tmp / path).write_bytes(content)

    return flip


def repack(path, change):
    def repack(tmp):
        content = gzip.decompress((tmp / path).read_bytes())
        (tmp / path).write_bytes(gzip.compress(change(content), 1))

    return repack


def copy(source, target):
    return lambda tmp: shutil.copy(str(tmp / source), str(tmp / target))


def other_data(tmp):
    labels = gzip.decompress((tmp / LABELS).read_bytes())
    (tmp / LABELS).write_bytes(gzip.compress(labels[:8] + labels[:7:-1], 1))


def foreign_checkpoint(**variables):
    """A function that puts a checkpoint of variables at saved/vae-3."""

    def save(tmp):
        with tf.Graph().as_default(), tf.Session() as tfs:
            for name, value in variables.items():
                tf.get_variable(name, initializer=value)
            tf.global_variables_initializer().run()
            tf.train.Saver().save(tfs, str(tmp / "saved" / "vae"), 3)

    return save


def case(name, flags, words, prepare=None, marks=()):
    """flags: added to RUN. words: what the line must hold, in order. prepare: changes tmp.

    tmp holds a data set in data, what RUN with --checkpoint-dir saved in saved, and with
    --cosine-decay as well in cosine, an empty folder, a file, and a folder of foreign files.
    """
    return pytest.param(flags, words, prepare, id=name, marks=marks)


def nonsense(flag, *values):
    return [
        case(f"{flag} {v or 'empty'}", f"{flag}={shlex.quote(v)}", f"{flag} {v}") for v in values
    ]


LARGE = "1" + 30 * "0"
FOLDERS = ["--figures-dir", "--checkpoint-dir", "--log-dir"]
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")

TABLE = [
    *nonsense("--learning-rate", "fast", "0", "-0.001", "nan", "inf", "-inf", "1e400", LARGE + "1"),
    *nonsense("--learning-rate", "", "1e-400", "0,001"),
    *nonsense("--n-epochs", "many", "0", "-1", "nan", "inf", "1.5", "1e400", LARGE, ""),
    *nonsense("--batch-size", "many", "0", "-1", "nan", "inf", "1.5", "1e400", LARGE, ""),
    *nonsense("--n-neurons", "many", "0", "-1", "nan", "inf", "1.5", "1e400", LARGE, ""),
    *nonsense("--n-neurons-z", "many", "0", "-1", "nan", "inf", "1.5", "1e400", LARGE, ""),
    *nonsense("--seed", "lucky", "-1", "nan", "inf", "1.5", "1e400", LARGE, "2147483648", ""),
    *nonsense("--activation", "swish", "TANH", "None", ""),
    *nonsense("--figures-dir", "", "gs://bucket/figures"),
    *nonsense("--checkpoint-dir", "", "gs://bucket/saved", "file:///tmp/saved"),
    *nonsense("--log-dir", "", "ram://log"),
    *nonsense("--data-dir", ""),
    case("a path in no known letters", "--figures-dir {tmp}/\udcff", "--figures-dir"),
    case("no layer", "--n-neurons", "--n-neurons"),
    case("a layer of none", "--n-neurons 16 0", "--n-neurons 0"),
    case("a flag without its value", "--n-epochs --denoise", "--n-epochs"),
    case("an unknown flag", "--n-layers 3", "--n-layers"),
    case("an unknown word", "--denoise fast", "fast"),
    case("a value for a switch", "--cosine-decay=yes", "--cosine-decay yes"),
    case("a shortened flag of two meanings", "--n-ne 3", "--n-ne --n-neurons --n-neurons-z"),
    case("a batch larger than the training set", "--batch-size 601", "--batch-size 601 600"),
    *[case(f"{f} is a file", f"{f} {{tmp}}/file", "{tmp}/file") for f in FOLDERS],
    *[case(f"{f} below a file", f"{f} {{tmp}}/file/x/y", "{tmp}/file/x/y") for f in FOLDERS],
    *[case(f"{f} not writable", f"{f} /proc/x", "/proc/x", marks=needs_proc) for f in FOLDERS],
    case("--data-dir missing", "--data-dir {tmp}/nowhere", "{tmp}/nowhere/"),
    case("--data-dir is a file", "--data-dir {tmp}/file", "{tmp}/file/"),
    case("--data-dir is empty", "--data-dir {tmp}/empty", "{tmp}/empty/"),
    case("a data file is missing", "", TEST_LABELS, remove(TEST_LABELS)),
    case("a data file is empty", "", IMAGES, empty(IMAGES)),
    case("a data file is truncated", "", IMAGES, truncate(IMAGES)),
    case("a data file has a wrong byte", "", IMAGES, flip(IMAGES, 200000)),
    case("a data file is no gzip", "", LABELS, copy("file", LABELS)),
    case("labels for images", "", IMAGES + " 2051 2049", copy(LABELS, IMAGES)),
    case("images for labels", "", LABELS + " 2049 2051", copy(IMAGES, LABELS)),
    case("a pixel too few", "", IMAGES, repack(IMAGES, lambda content: content[:-1])),
    case("a pixel too many", "", IMAGES, repack(IMAGES, lambda content: content + b"0")),
    case("labels of other images", "", TEST_LABELS + " 200 5600", copy(LABELS, TEST_LABELS)),
    case("no checkpoints", "--checkpoint-dir {tmp}/foreign", "{tmp}/foreign notes.txt"),
    *[
        case(f"{sign} in --checkpoint-dir", f"--checkpoint-dir '{{tmp}}/s{sign}d'", f"/s{sign}d")
        for sign in "*?[]\\"
    ],
    *[
        case(name, "--checkpoint-dir {tmp}/saved " + flags, "{tmp}/saved/vae-" + words, prepare)
        for name, flags, words, prepare in [
            ("a checkpoint of something else", "", "3", foreign_checkpoint(weight=1.0)),
            ("a record of other words", "", "3", foreign_checkpoint(record="[[], {}]")),
            ("a checkpoint truncated", "", "1", truncate(NEWEST)),
            ("a checkpoint without its data", "", "1", remove(NEWEST)),
            ("a checkpoint with a wrong byte", "", "1", flip(NEWEST, 1000)),
            ("an index with a wrong byte", "", "1", flip("saved/vae-1.index", 500)),
            ("an index that is empty", "", "1", empty("saved/vae-1.index")),
            ("other --n-neurons", "--n-neurons 17", "1 n_neurons 16 17", None),
            ("other --n-neurons-z", "--n-neurons-z 3", "1 n_neurons_z 2 3", None),
            ("other --activation", "--activation relu", "1 activation tanh relu", None),
            ("other --learning-rate", "--learning-rate 0.01", "1 learning_rate 0.001 0.01", None),
            ("--denoise added", "--denoise", "1 denoise False True", None),
            ("--cosine-decay added", "--cosine-decay", "1 cosine_decay False True", None),
            ("fewer epochs than saved", "--n-epochs 1", "1 n_epochs 2 1", None),
            ("another data set", "", "1 labels", other_data),
        ]
    ],
    case(
        "more epochs after a cosine",
        "--checkpoint-dir {tmp}/cosine --cosine-decay --n-epochs 3",
        "{tmp}/cosine/vae-1 n_epochs 2 3",
    ),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write_data_set(folder / "data", 5600, 200)
    (folder / "empty").mkdir()
    (folder / "file").write_text("not a folder")
    (folder / "foreign").mkdir()
    (folder / "foreign" / "notes.txt").write_text("not a checkpoint")
    for flags in ("--checkpoint-dir {tmp}/saved", "--checkpoint-dir {tmp}/cosine --cosine-decay"):
        assert call(*shlex.split((RUN + flags).format(tmp=folder))) is None
    return folder


@pytest.mark.parametrize("flags, words, prepare", TABLE)
def test_it_is_refused_in_one_line_with_nothing_changed(
    flags, words, prepare, prepared, tmp_path, capsys
):
    tmp = tmp_path / "tmp"
    shutil.copytree(str(prepared), str(tmp))
    if prepare:
        prepare(tmp)
    before = files_in(tmp)
    capsys.readouterr()

    try:
        status, message = 1, call(*shlex.split((RUN + flags).format(tmp=tmp)))
    except SystemExit as exit:
        status, message = exit.code, ""

    stdout, stderr = capsys.readouterr()
    lines = (stderr + (message or "")).splitlines()
    assert status in (1, 2)
    assert len(lines) == 1
    assert re.search(".*".join(map(re.escape, words.format(tmp=tmp).split())), lines[0])
    assert stdout == ""
    assert files_in(tmp) == before
