"""The program as its users meet it: what it prints, where, when, and the pictures it leaves."""

import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from data_files import write_data_set
from program import DRAWING, SCRIPT, call, command, environment, files_in, our_lines, printed
from program import small_net

PICTURES = {
    "test_images.png",
    "Y_test_pred1.png",
    "test_images_noisy.png",
    "Y_test_pred2.png",
    "compared.png",
    "samples.png",
    "between.png",
    "kl.png",
    "loss.png",
}
LATENT = {"latent.png", "manifold.png", "manifold.gif"}
N = r"(\d+\.\d{6})"
# What a run of 10 epochs prints.
STDOUT = rf"""epoch: 0000   loss = {N}
epoch: 0009   loss = {N}
test loss = {N}   rec = {N}   reg = {N}
test mse  = {N} clean   {N} noisy
pictures in (.*)
"""
# As a user's environment is who has set nothing, and whose stdout Python therefore buffers.
DEFAULTS = {"TF_CPP_MIN_LOG_LEVEL": None, "PYTHONUNBUFFERED": None}


def numbers(stdout):
    """The two losses of epochs, the test's loss, rec and reg, and the two mse's."""
    match = re.fullmatch(STDOUT, stdout)
    assert match, stdout
    return [float(number) for number in match.groups()[:-1]]


@pytest.fixture(scope="module")
def small(small_data):
    """A function that adds flags to those for a small net in 10 epochs of 12 steps."""
    return lambda *flags: small_net(small_data, "--batch-size", 50, "--n-epochs", 10, *flags)


@pytest.fixture(scope="module")
def process(small, tmp_path_factory):
    """A run as a process: no HOME, no screen, no locale, paths with spaces and more.

    Noted is for each line of stdout what pictures there were by then.
    """
    tmp = tmp_path_factory.mktemp("process")
    cwd, folder = tmp / "cwd", tmp / "cwd" / "Bilder für später" / "数字"
    cwd.mkdir()
    write_data_set(tmp / "Ziffern für später", 667, 200)
    flags = ["--data-dir", tmp / "Ziffern für später", "--figures-dir", folder.relative_to(cwd)]
    env = environment(
        HOME=None, MPLBACKEND="module://matplotlib_inline.backend_inline", LC_ALL="C", **DEFAULTS
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "universal_newlines": True}
    with subprocess.Popen(command(*small(*flags)), cwd=str(cwd), env=env, **pipes) as process:
        killer = threading.Timer(120, process.kill)
        killer.start()
        lines = [(line, {path.name for path in folder.glob("*")}) for line in process.stdout]
        killer.cancel()
    ours = our_lines("".join(line for line, _ in lines))
    pictures_by_line = [names for line, names in lines if our_lines(line)]
    return SimpleNamespace(
        returncode=process.returncode,
        output="".join(line + "\n" for line in ours),
        pictures_by_line=pictures_by_line,
        cwd=cwd,
        folder=folder,
    )


@pytest.fixture(scope="module")
def again(small, tmp_path_factory):
    """The same run in this process."""
    folder = tmp_path_factory.mktemp("again")
    stdout = printed(*small("--figures-dir", folder), pictures=DRAWING)
    return SimpleNamespace(folder=folder, stdout=stdout)


@pytest.fixture(scope="module")
def other(small, tmp_path_factory):
    """The same run with another seed, with checkpoints and a log, and two of the pictures."""
    tmp = tmp_path_factory.mktemp("other seed")
    folders = ["--checkpoint-dir", tmp / "Zustände 状态", "--log-dir", tmp / "Verläufe 日志"]
    flags = small("--seed", 124, "--figures-dir", tmp / "figures", *folders)
    return SimpleNamespace(
        tmp=tmp, stdout=printed(*flags, pictures=["display_kl", "display_losses"])
    )


# Results


def test_a_process_prints_the_results_and_of_its_own_nothing_else_on_either_stream(process):
    assert process.returncode == 0
    assert re.fullmatch(STDOUT, process.output).groups()[-1].startswith("Bilder f")


def test_the_test_loss_is_the_sum_of_rec_and_reg(again):
    loss, rec, reg = numbers(again.stdout)[2:5]
    assert loss == pytest.approx(rec + reg, abs=2e-6)
    assert min(rec, reg) > 0


def test_the_results_are_there_before_the_pictures(process):
    # Of these two at least: the others may be drawn while the watcher reads the line before.
    there = [bool(names & LATENT) for names in process.pictures_by_line]
    assert there == [False, False, False, False, True]


def test_the_pictures_are_made_and_open(process):
    assert {path.name for path in process.folder.iterdir()} == PICTURES | LATENT
    for path in process.folder.iterdir():
        assert np.ptp(matplotlib.image.imread(str(path))) > 0.5


def test_nothing_is_written_but_the_pictures(process):
    files = {path for path in process.cwd.rglob("*") if path.is_file()}
    assert files == set(process.folder.iterdir())


def test_only_two_latent_dimensions_are_drawn(small, tmp_path):
    flags = small("--n-epochs", 1, "--n-neurons-z", 3, "--figures-dir", tmp_path)
    assert call(*flags, pictures=["display_latent", "display_manifold", "save_animation"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_few_images_is_trained_on_too(tmp_path):
    data = write_data_set(tmp_path / "data", 100, 20)
    flags = small_net(data, "--figures-dir", tmp_path / "figures", "--n-epochs", 1)
    assert printed(*flags, "--batch-size", 90).startswith("epoch: 0000   loss = ")


def test_a_finished_run_leaves_its_animation_as_it_is(small, tmp_path):
    flags = small("--n-epochs", 1, "--figures-dir", tmp_path, "--checkpoint-dir", tmp_path / "s")
    assert call(*flags, pictures=["save_animation"]) == 0
    before = files_in(tmp_path)
    assert call(*flags, pictures=["save_animation"]) == 0
    assert files_in(tmp_path) == before


def test_the_same_seed_gives_the_same_bytes_wherever_it_runs(process, again):
    assert numbers(again.stdout) == numbers(process.output)
    assert files_in(again.folder) == files_in(process.folder)


def test_another_seed_gives_other_numbers_and_pictures(again, other):
    assert all(a != b for a, b in zip(numbers(other.stdout), numbers(again.stdout)))
    found, expected = files_in(other.tmp / "figures"), files_in(again.folder)
    assert sorted(found) == ["kl.png", "loss.png"]
    assert [name for name in found if found[name] == expected[name]] == []


# Where it runs


def test_checkpoints_and_logs_go_to_any_path(other):
    assert (other.tmp / "Zustände 状态" / "vae-9.index").is_file()
    (log,) = (other.tmp / "Verläufe 日志").iterdir()
    assert log.stat().st_size > 100000


# What TensorFlow and matplotlib change as they are imported, IPython's import too, is theirs.
IMPORT = """
import os, sys
import tensorflow.compat.v1, matplotlib.pyplot

os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)  # JAX sets it, where TensorFlow finds it
sys.modules.pop("IPython", None)
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
before = dict(os.environ)
import vae_mnist

print(sorted(name for name, value in before.items() if os.environ.get(name) != value))
print(sorted(os.environ.items() - before.items()))
"""


def test_importing_it_does_nothing_but_set_the_log_level_and_drop_a_notebooks_backend(tmp_path):
    env = environment(PYTHONPATH=str(SCRIPT.parent), **DEFAULTS)
    pipes = {"stdout": subprocess.PIPE, "universal_newlines": True}
    words = [sys.executable, "-B", "-c", IMPORT]
    done = subprocess.run(words, cwd=str(tmp_path), env=env, timeout=120, check=True, **pipes)
    assert done.stdout.splitlines() == ["['MPLBACKEND']", "[('TF_CPP_MIN_LOG_LEVEL', '3')]"]
    assert list(tmp_path.iterdir()) == []


class Log:
    """What somebody may put in place of a stream, to keep what is written."""

    write = flush = lambda self, *text: None


@pytest.mark.parametrize("stdout, stderr", [(sys.stdout, None), (Log(), Log())])
def test_it_runs_whatever_stands_for_the_streams(stdout, stderr, small, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert call(*small("--n-epochs", 1, "--figures-dir", tmp_path)) == 0


# The book's numbers


def trained(*flags):
    lines = re.findall(r"\d+\.\d{6}", printed(*flags))
    return [float(number) for number in lines]


@pytest.mark.slow
def test_the_default_training_reproduces_the_book(tmp_path):
    first, tenth, last, loss, _, _, clean, noisy = trained("--figures-dir", tmp_path)
    assert 175 <= first <= 184
    assert 105.8 <= tenth <= 107.6
    assert 101.8 <= last <= 103.4
    assert 101.9 <= loss <= 104.0
    assert 0.0123 <= clean <= 0.0143
    assert 0.037 <= noisy <= 0.045
    # The mended listing's own losses, as docs/listing.md has them for TensorFlow 2.
    if not tf.__version__.startswith("1."):
        assert np.allclose([first, tenth, last], [179.9376, 106.8979, 102.7250], atol=0.01)


@pytest.mark.slow
def test_denoise_restores_the_noisy_test_set(tmp_path):
    assert trained("--denoise", "--figures-dir", tmp_path)[-1] <= 0.0235
