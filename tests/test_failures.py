"""Whatever goes wrong, the user's fault or not: one line that names it, and nothing half done.

What is wrong with a flag itself is told in test_flags.py.
"""

import errno
import gzip
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from conftest import ROOT, environment, write_data_set
from data import DataError
from harness.checkpoints import CheckpointError
from harness.failures import check_writable, report_failures
from harness.finite import StopAtNan, check_finite, check_results
from program import DRAWING, call, files_in, finish, losses, printed, start

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
# saved, and with --cosine-decay as well in cosine, an empty folder, a file, a folder of foreign
# files.
OF_DATA = [
    ("a batch above the training set", "--batch-size 601 600", "--batch-size 601", None),
    ("no --data-dir", "{tmp}/nowhere/", "--data-dir {tmp}/nowhere", None),
    ("a file as --data-dir", "{tmp}/file/", "--data-dir {tmp}/file", None),
    ("an empty --data-dir", "{tmp}/empty/", "--data-dir {tmp}/empty", None),
    ("a file missing", TEST_LABELS, "", remove(TEST_LABELS)),
    ("a file empty", IMAGES, "", empty(IMAGES)),
    ("a file truncated", IMAGES, "", truncate(IMAGES)),
    ("a wrong byte", IMAGES, "", flip(IMAGES, 200000)),
    ("no gzip", LABELS, "", copy("file", LABELS)),
    ("labels for images", IMAGES + " 2051 2049", "", copy(LABELS, IMAGES)),
    ("images for labels", LABELS + " 2049 2051", "", copy(IMAGES, LABELS)),
    ("a pixel too few", IMAGES, "", repack(IMAGES, lambda content: content[:-1])),
    ("a pixel too many", IMAGES, "", repack(IMAGES, lambda content: content + b"0")),
    ("labels of other images", TEST_LABELS + " 200 5600", "", copy(LABELS, TEST_LABELS)),
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
OF_CHECKPOINTS = [
    (what, "{tmp}/saved/vae-" + words, "--checkpoint-dir {tmp}/saved " + flags, prepare)
    for what, words, flags, prepare in [
        ("a checkpoint of something else", "3", "", foreign_checkpoint(weight=1.0)),
        ("a record of other words", "3", "", foreign_checkpoint(record="[[], {}]")),
        ("a checkpoint truncated", "1", "", truncate(NEWEST)),
        ("a checkpoint without its data", "1", "", remove(NEWEST)),
        ("a checkpoint with a wrong byte", "1", "", flip(NEWEST, 1000)),
        ("an index with a wrong byte", "1", "", flip("saved/vae-1.index", 500)),
        ("an index that is empty", "1", "", empty("saved/vae-1.index")),
        ("other --n-neurons", "1 n_neurons 16 17", "--n-neurons 17", None),
        ("other --n-neurons-z", "1 n_neurons_z 2 3", "--n-neurons-z 3", None),
        ("other --activation", "1 activation tanh relu", "--activation relu", None),
        ("other --learning-rate", "1 learning_rate 0.001 0.01", "--learning-rate 0.01", None),
        ("--denoise added", "1 denoise False True", "--denoise", None),
        ("--cosine-decay added", "1 cosine_decay False True", "--cosine-decay", None),
        ("fewer epochs than saved", "1 n_epochs 2 1", "--n-epochs 1", None),
        ("other labels", "1 labels", "", repack(LABELS, lambda c: c[:8] + c[:7:-1])),
        ("other images", "1 first images", "", repack(IMAGES, lambda c: c[:16] + c[:15:-1])),
        ("other flags and a log", "1 denoise False True", "--denoise --log-dir {tmp}/empty", None),
    ]
]
OF_CHECKPOINTS += [
    (f"{sign} in --checkpoint-dir", f"/s{sign}d", f"--checkpoint-dir '{{tmp}}/s{sign}d'", None)
    for sign in "*?[]\\"
]
OF_CHECKPOINTS += [
    ("no checkpoints", "{tmp}/foreign notes.txt", "--checkpoint-dir {tmp}/foreign", None),
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
    write_data_set(folder / "data", 5600, 200)
    (folder / "empty").mkdir()
    (folder / "file").write_text("not a folder")
    (folder / "foreign").mkdir()
    (folder / "foreign" / "notes.txt").write_text("not a checkpoint")
    for flags in ("--checkpoint-dir {tmp}/saved", "--checkpoint-dir {tmp}/cosine --cosine-decay"):
        assert call(*shlex.split((RUN + flags).format(tmp=folder))) is None
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
    before = files_in(tmp)

    message = call(*shlex.split((RUN + flags).format(tmp=tmp)))

    assert len(message.splitlines()) == 1
    in_order = ".*".join(re.escape(word) for word in words.format(tmp=tmp).split())
    assert re.match(f"vae_mnist.py: error: .*{in_order}", message)
    assert capsys.readouterr() == ("", "")
    assert files_in(tmp) == before


# The folders that a run writes to


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


# Each failure to its line and status


def fail(error):
    """What report_failures() makes of a run that raises error."""
    return report_failures(mock.Mock(side_effect=error), SimpleNamespace(checkpoint_dir=None))


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
        (DataError("MNIST_data/x.gz: damaged"), "MNIST_data/x.gz: damaged"),
        (CheckpointError("saved/vae-1: damaged"), "saved/vae-1: damaged"),
        (FloatingPointError("loss is nan"), "loss is nan"),
        (MemoryError("Unable to allocate 164. MiB"), "Unable to allocate 164. MiB"),
        (
            tf.errors.ResourceExhaustedError(None, None, OUT_OF_MEMORY),
            "OOM when allocating tensor with shape[100,10000] and type float on CPU:0 by"
            " allocator cpu",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, DISK_FULL),
            "saved/vae-1.index.tempstate1; No space left on device",
        ),
        (OSError(errno.ENOSPC, "No space left", "figures"), "figures: No space left"),
        (OSError(errno.ENOSPC, "No space left"), "standard output: No space left"),
    ],
)
def test_an_error_is_told_in_one_line(error, line, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    assert fail(error) == f"vae_mnist.py: error: {line}"


def test_an_error_of_tensorflows_in_other_words_is_told_in_one_line_too():
    (line,) = fail(tf.errors.InternalError(None, None, "first\nsecond")).splitlines()
    assert line.startswith("vae_mnist.py: error: InternalError")


def test_an_error_in_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


def test_a_run_that_succeeds_has_no_line_and_no_status():
    args = SimpleNamespace(checkpoint_dir=None)
    run = mock.Mock()
    assert report_failures(run, args) is None
    run.assert_called_once_with(args)


def test_a_closed_pipe_ends_in_silence_with_status_141(capsys):
    with mock.patch("os._exit", side_effect=SystemExit) as leave, pytest.raises(SystemExit):
        fail(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    leave.assert_called_once_with(141)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("epochs, last", [([], "none"), ([8, 9, 10], "10")])
def test_an_interrupt_ends_with_status_130_and_the_epoch_that_is_saved(
    epochs, last, tmp_path, capsys
):
    for epoch in epochs:
        (tmp_path / f"vae-{epoch}.index").touch()
    args = SimpleNamespace(checkpoint_dir=str(tmp_path))
    assert report_failures(mock.Mock(side_effect=KeyboardInterrupt), args) == 130
    stdout, stderr = capsys.readouterr()
    (line,) = stderr.splitlines()
    assert re.search(rf"^vae_mnist.py: interrupted: .* {last}; .*--checkpoint-dir", line)
    assert stdout == ""


# A stdout that cannot take the results


@pytest.fixture
def small(small_data, tmp_path):
    """A function that adds flags to those for a small net and pictures in tmp_path / "figures"."""
    net = ["--n-neurons", 16, "--n-neurons-z", 2, "--figures-dir", tmp_path / "figures"]
    return lambda *flags: ["--data-dir", small_data, *net, *flags]


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@needs_full
def test_a_full_stdout_ends_the_program_in_one_line(small, capsys):
    # As it is closed, the file complains that it is full.
    with suppress(OSError), open("/dev/full", "w") as full, redirect_stdout(full):
        message = call(*small("--n-epochs", 1))
    assert message == "vae_mnist.py: error: standard output: No space left on device"
    assert capsys.readouterr() == ("", "")


@needs_full
def test_a_full_stdout_is_complained_of_only_once():
    # Python writes what is left for stdout as it ends. No TensorFlow is needed to see that.
    program = """if True:
        import sys
        from unittest.mock import Mock
        names = ["tensorflow", "tensorflow.compat", "tensorflow.compat.v1"]
        sys.modules.update(dict.fromkeys(names, Mock()))
        from harness.failures import report_failures
        sys.exit(report_failures(lambda args: print("a result", flush=True), None))
    """
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-c", program],
            cwd=str(ROOT),
            env=environment(PYTHONUNBUFFERED=None),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    line = "vae_mnist.py: error: standard output: No space left on device\n"
    assert (result.returncode, result.stderr) == (1, line)


def test_a_folder_that_stdout_has_no_letters_for_is_told_after_the_results(small, tmp_path):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    with redirect_stdout(stdout):
        message = call(*small("--n-epochs", 1, "--figures-dir", tmp_path / "数字"))
    assert re.fullmatch("vae_mnist.py: error: .*ascii.*", message)
    lines = stdout.buffer.getvalue().decode().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["epoch:", "test", "test"]


# A loss that is not finite


def test_a_loss_that_is_not_finite_ends_the_program_with_nothing_written(small, tmp_path, capsys):
    folders = ["--figures-dir", tmp_path, "--checkpoint-dir", tmp_path]
    message = call(*small(*folders, "--learning-rate", "1e20"), pictures=DRAWING)
    assert re.fullmatch("vae_mnist.py: error: .*epoch 0, batch [1-9].*--learning-rate.*", message)
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_is_told_with_its_place(loss):
    where = f"loss is {loss} in epoch 3, batch 4: .*--learning-rate"
    with pytest.raises(FloatingPointError, match=where):
        StopAtNan().after_step(3, 4, np.float32(loss))


@pytest.mark.parametrize("loss", [0.0, -1.0, 3e38])
def test_any_finite_loss_will_do(loss):
    check_finite(np.float32(loss), "epoch 0, batch 0")


@pytest.mark.parametrize("result", [np.nan, np.inf])
def test_a_result_that_is_not_finite_is_told_by_its_name_with_what_to_do(result):
    check_results({"test loss": 100.0, "test mse": 0.1})
    where = f"^test mse is {result}: .*--max-log-var 2.*--denoise"
    with pytest.raises(FloatingPointError, match=where):
        check_results({"test loss": 100.0, "test mse": result})


def test_a_run_whose_results_are_not_finite_leaves_its_pictures_and_ends_in_one_line(
    small_data, tmp_path, monkeypatch, capsys
):
    spoil = lambda images, rng: np.full_like(images, np.nan)  # noqa: E731
    monkeypatch.setattr(vae_mnist, "add_noise", spoil)
    flags = ["--data-dir", small_data, "--n-epochs", 1, "--n-neurons", 8, "--n-neurons-z", 3]
    message = call(*flags, "--figures-dir", tmp_path, pictures=DRAWING)
    assert message.startswith("vae_mnist.py: error: test mse of noisy images is nan: ")
    assert "nan" not in capsys.readouterr().out
    assert {"Y_test_pred1.png", "samples.png", "loss.png"} < {
        path.name for path in tmp_path.iterdir()
    }


# Out of room


@pytest.fixture
def disk(tmp_path):
    """A function that makes a disk of some kilobytes, or changes its size, and gives its folder."""
    folder = tmp_path / "disk"

    def resize(kilobytes):
        how = f"size={kilobytes}k" + (",remount" if folder.exists() else "")
        folder.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)]
        if sys.platform != "linux" or os.geteuid() or subprocess.call(mount):
            pytest.skip("needs to mount a tmpfs")
        return folder

    yield resize
    if folder.is_mount():
        subprocess.check_call(["umount", "--lazy", str(folder)])


def assert_no_space(message, path):
    assert len(message.splitlines()) == 1
    assert re.search(f"{re.escape(str(path))}.*No space left on device", message)


@pytest.mark.parametrize("flag", ["--figures-dir", "--checkpoint-dir", "--log-dir"])
def test_a_full_disk_is_refused_before_training(flag, small, disk, capsys):
    folder = disk(8)
    (folder / "checkpoint").write_bytes(bytes(8192))
    before = files_in(folder)
    assert_no_space(call(*small(flag, folder)), folder)
    assert capsys.readouterr() == ("", "")
    assert files_in(folder) == before


def test_a_disk_that_fills_up_leaves_pictures_whole_or_absent(small, disk):
    folder = disk(16)
    (folder / "test_images.png").write_bytes(bytes(4096))
    (folder / "other").write_bytes(bytes(8192))
    before = files_in(folder)
    message = call(*small("--n-epochs", 1, "--figures-dir", folder), pictures=DRAWING)
    assert_no_space(message, folder / "test_images.png")
    assert files_in(folder) == before


def test_a_disk_that_fills_up_leaves_checkpoints_to_go_on_from(small, disk):
    folder = disk(600)
    flags = small("--checkpoint-dir", folder / "saved")
    printed(*flags, "--n-epochs", 1)
    before = files_in(folder)
    assert_no_space(call(*flags, "--n-epochs", 3), folder / "saved" / "vae-1.")
    assert files_in(folder) == before
    first = losses(folder / "saved")
    disk(2000)
    printed(*flags, "--n-epochs", 3)
    assert len(losses(folder / "saved")) == 3
    assert losses(folder / "saved")[:1] == first


def test_a_disk_that_fills_up_with_the_log_ends_in_one_line(small, disk, tmp_path):
    folder, stderr = disk(64), tmp_path / "stderr"
    (folder / "other").write_bytes(b"whole")
    flags = small("--n-epochs", 3, "--log-dir", folder)
    assert finish(start(*flags, stdout=tmp_path / "stdout", stderr=stderr)) == 1
    assert_no_space(stderr.read_text(), folder)
    assert (folder / "other").read_bytes() == b"whole"
