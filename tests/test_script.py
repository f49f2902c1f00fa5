"""The program as its users meet it: what it prints, where, when, and the pictures it leaves."""

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest import mock

import matplotlib.image
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from conftest import ROOT, SCRIPT, command, environment, run_script
from program import DRAWING, Terminal, call, files_in, our_lines, printed

PICTURES = {
    "test_images.png",
    "Y_test_pred1.png",
    "test_images_noisy.png",
    "Y_test_pred2.png",
    "samples.png",
    "loss.png",
}
LATENT = {"latent.png", "manifold.png"}
N = r"(\d+\.\d{6})"
EPOCHS = [f"epoch: {epoch:04d}   loss = {N}" for epoch in (0, 9, 19)]
RESULTS = [f"test loss = {N}   rec = {N}   reg = {N}", f"test mse  = {N} clean   {N} noisy"]
# As a user's environment is who has set nothing, and whose stdout Python therefore buffers.
DEFAULTS = {"TF_CPP_MIN_LOG_LEVEL": None, "PYTHONUNBUFFERED": None}
FLAGS = {
    "--learning-rate": "0.001",
    "--n-epochs": "20",
    "--batch-size": "100",
    "--n-neurons": "[512, 256]",
    "--n-neurons-z": "128",
    "--activation": "tanh",
    "--cosine-decay": "False",
    "--denoise": "False",
    "--seed": "123",
    "--data-dir": str(ROOT / "MNIST_data"),
    "--figures-dir": "figures",
    "--checkpoint-dir": "None",
    "--log-dir": "None",
}


def small(data, *flags):
    """Flags for a net of 16 neurons and 2 latent dimensions, in epochs of 12 steps."""
    net = ["--n-neurons", 16, "--n-neurons-z", 2, "--batch-size", 50]
    return ["--data-dir", data, *net, *flags]


def numbers(lines, text):
    match = re.fullmatch("\n".join(lines) + "\n", text)
    assert match, text
    return [float(number) for number in match.groups()]


def watched(cwd, *flags):
    """Run the script in cwd, noting for each line of stdout what pictures there are by then."""
    with open(str(cwd.parent / "stderr"), "w+") as stderr:
        how = {"cwd": str(cwd), "env": environment(**DEFAULTS), "text": True}
        how.update(stdout=subprocess.PIPE, stderr=stderr)
        with subprocess.Popen(command(*flags), **how) as process:
            killer = threading.Timer(120, process.kill)
            killer.start()
            lines = [(line, [path.name for path in cwd.glob("*/*")]) for line in process.stdout]
            killer.cancel()
        stderr.seek(0)
        stdout = "".join(line for line, _ in lines)
        return SimpleNamespace(
            cwd=cwd,
            lines=lines,
            stdout=stdout,
            stderr=stderr.read(),
            returncode=process.returncode,
        )


def full_disk(data):
    """Run the script with a stdout that has no room, and a home that cannot be written."""
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        return subprocess.run(
            command(*small(data)),
            cwd=str(data),
            env=environment(HOME=os.devnull, **DEFAULTS),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def runs(small_data, tmp_path_factory):
    """The processes that import TensorFlow anew, two at a time, as futures of what they gave."""
    tmp = tmp_path_factory.mktemp("runs")
    data = tmp / "Ziffern für später"
    os.symlink(str(small_data), str(data))
    (tmp / "first").mkdir()
    with ThreadPoolExecutor(2) as pool:
        yield SimpleNamespace(
            first=pool.submit(watched, tmp / "first", *small(small_data)),
            again=pool.submit(
                run_script,
                *small(data.name, "--figures-dir", "Bilder für später/数字"),
                cwd=str(tmp),
                HOME=None,
                MPLBACKEND="TkAgg",
                LC_ALL="C",
                **DEFAULTS,
            ),
            full_disk=pool.submit(full_disk, small_data),
            tmp=tmp,
        )


@pytest.fixture(scope="module")
def first(runs):
    """A run of 20 epochs, in a folder of its own, with its stdout and stderr in pipes."""
    return runs.first.result()


@pytest.fixture(scope="module")
def again(runs):
    """The same run from elsewhere: no HOME, no screen, no locale, paths with spaces and more."""
    return runs.again.result()


@pytest.fixture(scope="module")
def other(small_data, tmp_path_factory):
    """The same run with another seed."""
    tmp = tmp_path_factory.mktemp("other seed")
    flags = small(small_data, "--seed", 124, "--figures-dir", tmp / "figures")
    folders = ["--checkpoint-dir", tmp / "Zustände 状态", "--log-dir", tmp / "Verläufe 日志"]
    return SimpleNamespace(tmp=tmp, stdout=printed(*flags, *folders, pictures=DRAWING))


# Results


def test_stdout_holds_the_results_alone(first):
    numbers([*EPOCHS, *RESULTS, "pictures in figures"], first.stdout)
    assert first.returncode == 0


def test_stderr_holds_nothing_of_ours(first):
    assert our_lines(first.stderr) == []


def test_the_test_loss_is_the_sum_of_rec_and_reg(first):
    _, _, _, loss, rec, reg, _, _ = numbers([*EPOCHS, *RESULTS, "pictures in .*"], first.stdout)
    assert loss == pytest.approx(rec + reg, abs=2e-6)
    assert min(rec, reg) > 0


def test_the_results_are_there_before_the_pictures(first):
    assert [bool(LATENT.intersection(names)) for _, names in first.lines] == [False] * 5 + [True]


def test_the_pictures_are_made_and_open(first):
    made = first.cwd / "figures"
    assert {path.name for path in made.iterdir()} == PICTURES | LATENT
    for path in made.iterdir():
        assert np.ptp(matplotlib.image.imread(str(path))) > 0.5


def test_nothing_is_written_but_the_pictures(first):
    assert [path.name for path in first.cwd.iterdir()] == ["figures"]


def test_only_two_latent_dimensions_are_drawn(small_data, tmp_path):
    flags = ["--n-epochs", 1, "--n-neurons-z", 3, "--figures-dir", tmp_path]
    assert call(*small(small_data, *flags), pictures=["display_latent", "display_manifold"]) is None
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_gives_the_same_bytes_wherever_it_runs(runs, first, again):
    assert again.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
    assert files_in(runs.tmp / "Bilder für später" / "数字") == files_in(first.cwd / "figures")


def test_another_seed_gives_other_numbers_and_pictures(first, other):
    names = [*EPOCHS, *RESULTS, "pictures in .*"]
    found, expected = numbers(names, other.stdout), numbers(names, first.stdout)
    assert all(a != b for a, b in zip(found, expected))
    found, expected = files_in(other.tmp / "figures"), files_in(first.cwd / "figures")
    assert [name for name in expected if found[name] == expected[name]] == []


# Where it runs


def test_it_needs_no_home_no_screen_no_locale_and_no_plain_paths(again):
    assert again.returncode == 0
    assert our_lines(again.stderr) == []
    assert again.stdout.splitlines()[-1] == "pictures in Bilder für später/数字"


def test_checkpoints_and_logs_go_to_any_path(other):
    assert (other.tmp / "Zustände 状态" / "vae-19.index").is_file()
    (log,) = (other.tmp / "Verläufe 日志").iterdir()
    assert log.stat().st_size > 100000


def test_a_home_that_cannot_be_written_is_not_mentioned(runs):
    assert "atplotlib" not in runs.full_disk.result().stderr


def test_importing_it_does_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(SCRIPT), run_name="imported")
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("level, kept", [("0", "0"), ("1", "1"), (None, "3")])
def test_a_log_level_for_tensorflow_is_kept(level, kept, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level or "")
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    runpy.run_path(str(SCRIPT), run_name="imported")
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == kept


def test_a_stdout_that_is_full_ends_it_in_one_line(runs):
    result = runs.full_disk.result()
    assert result.returncode == 1
    assert len(our_lines(result.stderr)) == 1
    assert "standard output: No space left" in our_lines(result.stderr)[0]


def test_it_runs_without_a_stderr(small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert call(*small(small_data, "--n-epochs", 1, "--figures-dir", tmp_path)) is None


# On a terminal


@pytest.fixture(scope="module")
def on_terminal(small_data, tmp_path_factory):
    """The same run as first with its stderr on a terminal: its stdout, and what that is sent."""
    terminal = Terminal()
    with open(terminal.path, "w") as stderr, contextlib.redirect_stderr(stderr):
        stdout = printed(*small(small_data, "--figures-dir", tmp_path_factory.mktemp("terminal")))
        return stdout, terminal.read()


def test_a_terminal_is_shown_how_far_each_epoch_is(on_terminal):
    _, sent = on_terminal
    for epoch in range(20):
        assert re.search(f"epoch {epoch:04d}: *0/12\r.*epoch {epoch:04d}: *10/12\r", sent)


def test_progress_on_a_terminal_leaves_no_remains_of_a_longer_line(on_terminal):
    _, sent = on_terminal
    shown = ""
    for line in sent.split("\r")[:-1]:
        shown = line + shown[len(line) :]
        assert re.fullmatch(r"epoch \d{4}: *\d+/12 *", shown)


def test_a_terminal_changes_nothing_in_stdout(first, on_terminal):
    stdout, _ = on_terminal
    assert stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]


# Help, and a training that fails


def test_help_names_every_flag_with_its_default(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as exit:
        call("--help")
    assert exit.value.code == 0
    described = re.findall(r"^  (--[a-z-]+)[^(]*\(default: (.*)\)$", capsys.readouterr().out, re.M)
    assert dict(described) == FLAGS


def test_a_loss_that_is_not_finite_ends_it_in_one_line_without_pictures(
    small_data, tmp_path, capsys
):
    flags = ["--learning-rate", "1e20", "--figures-dir", tmp_path, "--checkpoint-dir", tmp_path]
    message = call(*small(small_data, *flags), pictures=DRAWING)
    assert re.fullmatch("vae_mnist.py: error: .*epoch 0, batch [1-9].*--learning-rate", message)
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


OUT_OF_MEMORY = """Graph execution error:

Detected at node 'encoder/MatMul' defined at (most recent call last):
Node: 'encoder/MatMul'
OOM when allocating tensor with shape[100,10000] and type float on CPU:0 by allocator cpu
Hint: If you want to see a list of allocated tensors when OOM happens, add an option."""


@pytest.mark.parametrize(
    "error, line",
    [
        (
            tf.errors.ResourceExhaustedError(None, None, OUT_OF_MEMORY),
            "OOM when allocating tensor with shape[100,10000] and type float on CPU:0 by"
            " allocator cpu",
        ),
        (MemoryError("Unable to allocate 164. MiB"), "Unable to allocate 164. MiB"),
    ],
)
def test_a_memory_that_is_too_small_ends_it_in_one_line(
    error, line, small_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(vae_mnist, "train", mock.Mock(side_effect=error))
    message = call(*small(small_data, "--figures-dir", tmp_path))
    assert message == f"vae_mnist.py: error: {line}"


def test_a_folder_that_stdout_has_no_letters_for_ends_it_in_one_line(small_data, tmp_path):
    flags = small(small_data, "--n-epochs", 1, "--figures-dir", tmp_path / "数字")
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    with contextlib.redirect_stdout(stdout):
        message = call(*flags)
    assert re.fullmatch("vae_mnist.py: error: .*ascii.*", message)
    numbers([EPOCHS[0], *RESULTS], stdout.buffer.getvalue().decode())


# The chapter's numbers


def trained(*flags):
    result = run_script(*flags, timeout=1800)
    assert result.returncode == 0
    return numbers([*EPOCHS, *RESULTS, "pictures in .*"], result.stdout)


@pytest.mark.slow
def test_the_default_training_reproduces_the_chapter(tmp_path):
    first, tenth, last, loss, _, _, clean, noisy = trained("--figures-dir", tmp_path)
    assert 175 <= first <= 184
    assert 105.8 <= tenth <= 107.6
    assert 101.8 <= last <= 103.4
    assert 101.9 <= loss <= 104.0
    assert 0.0123 <= clean <= 0.0143
    assert 0.037 <= noisy <= 0.045


@pytest.mark.slow
def test_denoise_restores_the_noisy_test_set(tmp_path):
    assert trained("--denoise", "--figures-dir", tmp_path)[-1] <= 0.0235
