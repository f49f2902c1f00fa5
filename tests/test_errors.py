"""Whatever a user can cause to go wrong: one line that names it, and nothing half done.

What is wrong with a flag itself is tested in test_flags.py.
"""

import errno
import gzip
import io
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from data_files import write_data_set
from data import DataError
from extras.errors import RunError, errors_in_one_line, make_folders
from program import WINDOWS, call, files_in, small_net

# Refused before training, with nothing changed. To cover another case, add a row to a table.

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


def change(path, changed):
    """A function that replaces the bytes of a file by what changed() makes of them."""
    return lambda tmp: (tmp / path).write_bytes(changed((tmp / path).read_bytes()))


def empty(path):
    return change(path, lambda content: b"")


def truncate(path):
    return change(path, lambda content: content[:-100])


def flip(path, i):
    return change(path, lambda c: c[:i] + bytes([c[i] ^ 16]) + c[i + 1 :])


def repack(path, changed):
    return change(path, lambda content: gzip.compress(changed(gzip.decompress(content)), 1))


def copy(source, target):
    return lambda tmp: shutil.copy(str(tmp / source), str(tmp / target))


def copy_all(source, target):
    def copy_each(tmp):
        for ending in (".index", ".data-00000-of-00001"):
            copy(source + ending, target + ending)(tmp)

    return copy_each


def folder_instead(path):
    def replace(tmp):
        (tmp / path).unlink()
        (tmp / path).mkdir()

    return replace


def link_to_nowhere(tmp):
    (tmp / "link").symlink_to(tmp / "gone")


def foreign_checkpoint(**variables):
    """A function that puts a checkpoint of variables at saved/vae-3."""

    def save(tmp):
        with tf.Graph().as_default(), tf.Session() as tfs:
            for name, value in variables.items():
                tf.get_variable(name, initializer=value)
            tf.global_variables_initializer().run()
            tf.train.Saver().save(tfs, str(tmp / "saved" / "vae"), 3)

    return save


# Each row: what is wrong, the words that the line must hold in order, the flags to add to RUN, and
# what to change in tmp. That holds a data set in data, what RUN with --checkpoint-dir saved in
# saved, and with --cosine-decay as well in cosine, an empty folder, and a file.
OF_DATA = [
    ("a batch above the training set", "--batch-size 601 600", "--batch-size 601", None),
    ("no --data-dir", "{tmp}/nowhere/", "--data-dir {tmp}/nowhere", None),
    ("a file as --data-dir", "{tmp}/file/", "--data-dir {tmp}/file", None),
    ("a file missing", TEST_LABELS, "", remove(TEST_LABELS)),
    ("a file truncated", IMAGES, "", truncate(IMAGES)),
    ("labels of other images", TEST_LABELS + " 200 667", "", copy(LABELS, TEST_LABELS)),
]
OF_FOLDERS = [
    (f"{flag} {what}", path, f"{flag} {path}", None)
    for flag in ("--figures-dir", "--checkpoint-dir", "--log-dir")
    for what, path in [
        ("is a file", "{tmp}/file"),
        ("below a file", "{tmp}/file/x/y"),
        *([("not writable", "/proc/x")] if os.path.isdir("/proc/self") else []),
    ]
]
if not WINDOWS:
    link = "{tmp}/link/logs: leads through a link to {tmp}/gone"
    OF_FOLDERS += [("a link to nowhere", link, "--log-dir {tmp}/link/logs", link_to_nowhere)]
OF_CHECKPOINTS = [
    (what, "{tmp}/saved/vae-" + words, "--checkpoint-dir {tmp}/saved " + flags, prepare)
    for what, words, flags, prepare in [
        ("a checkpoint of something else", "3", "", foreign_checkpoint(weight=1.0)),
        ("a record of other words", "3", "", foreign_checkpoint(record="[[], {}]")),
        ("a checkpoint renamed", "5", "", copy_all("saved/vae-1", "saved/vae-5")),
        ("a checkpoint truncated", "1", "", truncate(NEWEST)),
        ("a checkpoint without its data", "1", "", remove(NEWEST)),
        ("data that cannot be read", "1.data-00000-of-00001: Is", "", folder_instead(NEWEST)),
        ("a checkpoint with a wrong byte", "1: move its files away", "", flip(NEWEST, 1000)),
        ("an index with a wrong byte", "1", "", flip("saved/vae-1.index", 500)),
        ("an index that is empty", "1", "", empty("saved/vae-1.index")),
        ("other --n-neurons", "1 n_neurons 16 17", "--n-neurons 17", None),
        ("fewer epochs than saved", "1 n_epochs 2 1", "--n-epochs 1", None),
        ("other labels", "1 first_images", "", repack(LABELS, lambda c: c[:8] + c[:7:-1])),
        ("other images", "1 first_images", "", repack(IMAGES, lambda c: c[:16] + c[:15:-1])),
        ("other flags and a log", "1 denoise False True", "--denoise --log-dir {tmp}/empty", None),
    ]
]
OF_CHECKPOINTS += [
    (f"{sign} in --checkpoint-dir", f"/s{sign}d", f"--checkpoint-dir '{{tmp}}/s{sign}d'", None)
    for sign in "*\\"
]
OF_CHECKPOINTS += [
    (
        "more epochs after a cosine",
        "{tmp}/cosine/vae-1 n_epochs 2 3",
        "--checkpoint-dir {tmp}/cosine --cosine-decay --n-epochs 3",
        None,
    ),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write_data_set(folder / "data", 667, 200)
    (folder / "empty").mkdir()
    (folder / "file").write_text("not a folder")
    for flags in ("--checkpoint-dir {tmp}/saved", "--checkpoint-dir {tmp}/cosine --cosine-decay"):
        assert call(*shlex.split((RUN + flags).format(tmp=folder))) == 0
    (folder / "figures").rmdir()
    return folder


@pytest.mark.parametrize(
    "words, flags, prepare",
    [pytest.param(*row, id=what) for what, *row in OF_DATA + OF_FOLDERS + OF_CHECKPOINTS],
)
def test_it_is_refused_in_one_line_with_nothing_changed(
    words, flags, prepare, prepared, tmp_path, capsys
):
    tmp = tmp_path / "tmp"
    shutil.copytree(str(prepared), str(tmp))
    if prepare:
        prepare(tmp)
    before, paths = files_in(tmp), set(tmp.rglob("*"))

    assert call(*shlex.split((RUN + flags).format(tmp=tmp))) == 1
    stdout, stderr = capsys.readouterr()
    (line,) = stderr.splitlines()
    in_order = ".*".join(re.escape(word) for word in words.format(tmp=tmp).split())
    assert re.match(f"vae_mnist.py: error: .*{in_order}", line)
    assert stdout == ""
    assert files_in(tmp) == before
    assert set(tmp.rglob("*")) == paths  # no empty folder either


def test_folders_on_a_full_disk_are_taken_back(tmp_path, monkeypatch):
    def fill(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError) as error:
        make_folders(None, str(tmp_path / "new" / "figures"), str(tmp_path / "saved"))
    assert error.value.filename == str(tmp_path / "new" / "figures")
    assert list(tmp_path.iterdir()) == []


# Each error to its line and status

OUT_OF_MEMORY = """Graph execution error:

Detected at node 'encoder/MatMul' defined at (most recent call last):
Node: 'encoder/MatMul'
OOM when allocating tensor with shape[100,10000] and type float on CPU:0 by allocator cpu
Hint: If you want to see a list of allocated tensors when OOM happens, add an option."""
DISK_FULL = """{{node save/SaveV2}} failed
saved/vae-1.index.tempstate1; No space left on device
\t [[node save/SaveV2]]"""


@pytest.mark.parametrize(
    "error, line",
    [
        (DataError("MNIST_data/x.gz: damaged"), "error: MNIST_data/x.gz: damaged"),
        (RunError("saved/two\nlines: damaged"), r"error: saved/two\nlines: damaged"),
        (FloatingPointError("loss is nan"), "error: loss is nan"),
        (MemoryError("Unable to allocate 164. MiB"), "error: Unable to allocate 164. MiB"),
        (MemoryError(), "error: out of memory"),
        (
            tf.errors.ResourceExhaustedError(None, None, OUT_OF_MEMORY),
            "error: OOM when allocating tensor with shape[100,10000] and type float on CPU:0 by"
            " allocator cpu",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, DISK_FULL),
            "error: saved/vae-1.index.tempstate1; No space left on device",
        ),
        (  # as on Windows
            tf.errors.UnknownError(
                None, None, "Failed to rename: a to b : Access denied.\n; I/O error"
            ),
            "error: Failed to rename: a to b : Access denied.; I/O error",
        ),
        (OSError(errno.ENOSPC, "No space left", "figures"), "error: figures: No space left"),
        (OSError(errno.EMFILE, "Too many open files"), "error: OSError: Too many open files"),
        (
            KeyboardInterrupt(),
            "interrupted: a run with --checkpoint-dir goes on after its last epoch",
        ),
    ],
)
def test_an_error_is_reported_in_one_line(error, line, capsys):
    with pytest.raises(SystemExit) as end, errors_in_one_line():
        raise error
    assert end.value.code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert capsys.readouterr() == ("", f"vae_mnist.py: {line}\n")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), tf.errors.InvalidArgumentError(None, None, "x")]
)
def test_an_error_in_the_program_keeps_its_traceback(error):
    with pytest.raises(type(error)), errors_in_one_line():
        raise error


@pytest.fixture
def small(small_data, tmp_path):
    """A function that adds flags to those for a small net and pictures in tmp_path / "figures"."""
    return lambda *flags: small_net(small_data, "--figures-dir", tmp_path / "figures", *flags)


def test_called_from_other_code_it_raises_what_went_wrong(small, tmp_path):
    before = sys.stdout, signal.getsignal(signal.SIGINT)
    (tmp_path / "file").touch()
    for flags, kind in [
        (["--data-dir", tmp_path], DataError),
        (["--figures-dir", tmp_path / "file"], OSError),
        (["--learning-rate", "1e20"], FloatingPointError),
    ]:
        with pytest.raises(kind):
            vae_mnist.main([str(word) for word in small(*flags)])
    assert (sys.stdout, signal.getsignal(signal.SIGINT)) == before


def test_a_test_that_is_not_finite_ends_the_program_with_its_pictures_drawn(
    small, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(vae_mnist, "add_noise", lambda images, rng: images * np.nan)
    assert call(*small("--n-epochs", 1), pictures=["display_losses"]) == 1
    assert capsys.readouterr().err.startswith("vae_mnist.py: error: loss is nan in the test: ")
    assert (tmp_path / "figures" / "loss.png").exists()


def test_a_loss_that_is_not_finite_ends_the_program_with_nothing_saved(small, tmp_path, capsys):
    folder = tmp_path / "saved"
    assert call(*small("--checkpoint-dir", folder, "--learning-rate", "1e20")) == 1
    stderr = capsys.readouterr().err
    assert re.fullmatch("vae_mnist.py: error: loss is nan in epoch 0.*--learning-rate.*\n", stderr)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(WINDOWS, reason="os.kill() ends a process there")
def test_ctrl_c_ends_it_in_one_line(small, monkeypatch, capsys):
    def press_ctrl_c(images, rng):
        if len(images) == 100:  # in the first step
            os.kill(os.getpid(), signal.SIGINT)
        return images

    monkeypatch.setattr(vae_mnist, "add_noise", press_ctrl_c)
    # As at a terminal, even if these tests run in the background of a shell, which ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert call(*small("--denoise")) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search("interrupted.*--checkpoint-dir", line)


# A stdout that cannot take the results, and no stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_stdout_ends_the_program_in_one_line(capsys):
    ended = pytest.raises(SystemExit)
    with open("/dev/full", "w") as full, redirect_stdout(full), ended as end, errors_in_one_line():
        print("a result", flush=True)
    line = "vae_mnist.py: error: standard output: No space left on device\n"
    assert (end.value.code, capsys.readouterr().err) == (1, line)


def test_a_line_goes_through_a_pipe_at_once_and_a_closed_pipe_ends_it_in_silence(small, capsys):
    reading, writing = os.pipe()
    lines = []

    def read_one_line():
        with open(reading) as pipe:
            lines.append(pipe.readline())

    reader = threading.Thread(target=read_one_line)
    reader.start()
    with open(writing, "w") as pipe, redirect_stdout(pipe):
        assert call(*small("--n-epochs", 100000)) == 141
    reader.join()
    assert re.fullmatch(r"epoch: 0000   loss = \d+\.\d+\n", lines[0])
    assert capsys.readouterr().err == ""


def test_a_closed_pipe_ends_it_in_silence_where_nothing_is_buffered(capsys):
    reading, writing = os.pipe()
    os.close(reading)
    pipe = io.TextIOWrapper(open(writing, "wb", 0), write_through=True)  # noqa: SIM115
    with redirect_stdout(pipe), pytest.raises(SystemExit) as end, errors_in_one_line():
        print("a result")
    assert (end.value.code, capsys.readouterr().err) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("flags, status", [("--data-dir nowhere", 1), ("--n-epochs 0", 2)])
def test_the_status_is_right_where_stderr_is_full(flags, status, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert call(*flags.split()) == status
        # As Python ends, it writes what is left, and would make the status 120.
        full.flush()


def test_without_a_stderr_an_error_leaves_stdout_to_the_results(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as end, errors_in_one_line():
        raise RunError("no folder")
    assert (end.value.code, capsys.readouterr().out) == (1, "")


def test_a_folder_that_stdout_has_no_letters_for_is_shown_escaped(small, tmp_path):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    with redirect_stdout(stdout):
        assert call(*small("--n-epochs", 1, "--figures-dir", tmp_path / "数字\u200d\u00a0")) == 0
    last = stdout.buffer.getvalue().decode().splitlines()[-1]
    assert last == f"pictures in {tmp_path}/\\u6570\\u5b57\\u200d\\xa0"
