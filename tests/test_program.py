"""The program as its users meet it: what it prints, where, when, and the pictures it leaves."""

import os
import re
import runpy
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from conftest import SCRIPT, command, environment, run_script, write_data_set
from program import DRAWING, call, files_in, our_lines, printed, small_net

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
# What a run of 20 epochs prints.
STDOUT = rf"""epoch: 0000   loss = {N}
epoch: 0009   loss = {N}
epoch: 0019   loss = {N}
test loss = {N}   rec = {N}   reg = {N}
test mse  = {N} clean   {N} noisy
pictures in (.*)
"""
# As a user's environment is who has set nothing, and whose stdout Python therefore buffers.
DEFAULTS = {"TF_CPP_MIN_LOG_LEVEL": None, "PYTHONUNBUFFERED": None}


def numbers(stdout):
    """The three losses of epochs, the test's loss, rec and reg, and the two mse's."""
    match = re.fullmatch(STDOUT, stdout)
    assert match, stdout
    return [float(number) for number in match.groups()[:-1]]


def watched(cwd, *flags):
    """Run the script in cwd, noting for each line of stdout what pictures there are by then."""
    with open(str(cwd.parent / "stderr"), "w+") as stderr:
        with subprocess.Popen(
            command(*flags),
            cwd=str(cwd),
            env=environment(**DEFAULTS),
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
        ) as process:
            killer = threading.Timer(120, process.kill)
            killer.start()
            lines = [(line, {path.name for path in cwd.glob("*/*")}) for line in process.stdout]
            killer.cancel()
        stderr.seek(0)
        return SimpleNamespace(
            returncode=process.returncode,
            stdout="".join(line for line, _ in lines),
            stderr=stderr.read(),
            pictures_by_line=[names for _, names in lines],
        )


@pytest.fixture(scope="module")
def small(small_data):
    """A function that adds flags to those for a small net in epochs of 12 steps."""
    return lambda *flags: small_net(small_data, "--batch-size", 50, *flags)


@pytest.fixture(scope="module")
def runs(small, small_data, tmp_path_factory):
    """The two processes that import TensorFlow anew, at the same time."""
    tmp = tmp_path_factory.mktemp("runs")
    first_cwd, folder = tmp / "first", tmp / "Bilder für später" / "数字"
    first_cwd.mkdir()
    os.symlink(str(small_data), str(tmp / "Ziffern für später"))
    data_and_figures = [
        "--data-dir",
        "Ziffern für später",
        "--figures-dir",
        folder.relative_to(tmp),
    ]
    elsewhere = {"cwd": str(tmp), "HOME": None, "MPLBACKEND": "TkAgg", "LC_ALL": "C", **DEFAULTS}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(watched, first_cwd, *small())
        again = pool.submit(run_script, *small(*data_and_figures), **elsewhere)
        first, again = first.result(), again.result()
    first.cwd, first.folder, again.folder = first_cwd, first_cwd / "figures", folder
    return SimpleNamespace(first=first, again=again)


@pytest.fixture(scope="module")
def first(runs):
    """A run of 20 epochs, in a folder of its own, with its stdout and stderr in pipes."""
    return runs.first


@pytest.fixture(scope="module")
def again(runs):
    """The same run from elsewhere: no HOME, no screen, no locale, paths with spaces and more."""
    return runs.again


@pytest.fixture(scope="module")
def other(small, tmp_path_factory):
    """The same run with another seed, with checkpoints and a log."""
    tmp = tmp_path_factory.mktemp("other seed")
    folders = ["--checkpoint-dir", tmp / "Zustände 状态", "--log-dir", tmp / "Verläufe 日志"]
    flags = small("--seed", 124, "--figures-dir", tmp / "figures", *folders)
    return SimpleNamespace(tmp=tmp, stdout=printed(*flags, pictures=DRAWING))


# Results


def test_stdout_holds_the_results_alone(first):
    assert re.fullmatch(STDOUT, first.stdout).groups()[-1] == "figures"
    assert first.returncode == 0


def test_stderr_holds_nothing_of_ours(first):
    assert our_lines(first.stderr) == []


def test_the_test_loss_is_the_sum_of_rec_and_reg(first):
    loss, rec, reg = numbers(first.stdout)[3:6]
    assert loss == pytest.approx(rec + reg, abs=2e-6)
    assert min(rec, reg) > 0


def test_the_results_are_there_before_the_pictures(first):
    # Of these two at least: the others may be drawn while the watcher reads the line before.
    there = [bool(names & LATENT) for names in first.pictures_by_line]
    assert there == [False, False, False, False, False, True]


def test_the_pictures_are_made_and_open(first):
    assert {path.name for path in first.folder.iterdir()} == PICTURES | LATENT
    for path in first.folder.iterdir():
        assert np.ptp(matplotlib.image.imread(str(path))) > 0.5


def test_nothing_is_written_but_the_pictures(first):
    assert [path.name for path in first.cwd.iterdir()] == ["figures"]


def test_only_two_latent_dimensions_are_drawn(small, tmp_path):
    flags = small("--n-epochs", 1, "--n-neurons-z", 3, "--figures-dir", tmp_path)
    assert call(*flags, pictures=["display_latent", "display_manifold", "save_unfolding"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_runs_in_one_process_leave_no_figure_but_the_callers_own(small, tmp_path):
    own = plt.figure()
    for _ in range(2):
        flags = small("--n-epochs", 1, "--figures-dir", tmp_path)
        assert call(*flags, pictures=["display_losses", "display_kl"]) == 0
    assert plt.get_fignums() == [own.number]
    plt.close(own)


def test_a_set_of_few_images_is_trained_on_too(tmp_path):
    data = write_data_set(tmp_path / "data", 100, 20)
    flags = small_net(data, "--figures-dir", tmp_path / "figures", "--n-epochs", 1)
    assert printed(*flags, "--batch-size", 90).startswith("epoch: 0000   loss = ")


def test_a_finished_run_leaves_its_animation_as_it_is(small, tmp_path):
    flags = small("--n-epochs", 1, "--figures-dir", tmp_path, "--checkpoint-dir", tmp_path / "s")
    assert call(*flags, pictures=["save_unfolding"]) == 0
    before = files_in(tmp_path)
    assert call(*flags, pictures=["save_unfolding"]) == 0
    assert files_in(tmp_path) == before


def test_the_same_seed_gives_the_same_bytes_wherever_it_runs(first, again):
    assert numbers(again.stdout) == numbers(first.stdout)
    assert files_in(again.folder) == files_in(first.folder)


def test_another_seed_gives_other_numbers_and_pictures(first, other):
    assert all(a != b for a, b in zip(numbers(other.stdout), numbers(first.stdout)))
    found, expected = files_in(other.tmp / "figures"), files_in(first.folder)
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


def test_importing_it_does_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(SCRIPT), run_name="imported")
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_it_runs_without_a_stderr(small, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert call(*small("--n-epochs", 1, "--figures-dir", tmp_path)) == 0


# The chapter's numbers


def trained(*flags):
    result = run_script(*flags, timeout=1800)
    assert result.returncode == 0
    return numbers(result.stdout)


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
