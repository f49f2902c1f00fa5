"""Runs that are killed, interrupted, out of room or logged: what they save, and how they go on."""

import functools
import io
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import matplotlib.image
import pytest
import tensorflow.compat.v1 as tf

from program import DRAWING, Terminal, call, files_in, finish, our_lines, printed, start, wait_for


@pytest.fixture(scope="module")
def small(small_data):
    """A function that adds flags to those for a net of 16 neurons and 2 latent dimensions."""
    return lambda *flags: ["--data-dir", small_data, "--n-neurons", 16, "--n-neurons-z", 2, *flags]


def saved(folder):
    """The epochs whose checkpoints have an index in folder."""
    names = os.listdir(str(folder)) if folder.exists() else []
    return sorted(int(name[4:-6]) for name in names if name.endswith(".index"))


def gone_on(folder, epoch):
    """Whether epoch or one after it is saved in folder."""
    return max(saved(folder), default=-1) >= epoch


def losses(folder):
    """The losses that the newest checkpoint in folder has on record."""
    checkpoint = tf.train.load_checkpoint(str(folder / f"vae-{saved(folder)[-1]}"))
    return json.loads(checkpoint.get_tensor("record"))[1]


def loss_of(stdout):
    """The test loss that a run printed."""
    return float(re.search(r"^test loss = (\S+)", stdout, re.M).group(1))


def kinds(stdout):
    """The first words of the lines that a run printed."""
    return [line.split()[0] for line in stdout.splitlines()]


# Killed


@pytest.fixture(scope="module")
def long(small, tmp_path_factory):
    """Three epochs of 300 steps, uninterrupted."""
    tmp = tmp_path_factory.mktemp("long")
    flags = small("--batch-size", 2, "--n-epochs", 3, "--figures-dir", tmp / "figures")
    stdout = printed(*flags, "--checkpoint-dir", tmp / "saved")
    return SimpleNamespace(flags=flags, stdout=stdout, losses=losses(tmp / "saved"))


@pytest.fixture(scope="module")
def killed(long, tmp_path_factory):
    """The same, killed a tenth into epoch 1, as if while saving, and started again."""
    tmp = tmp_path_factory.mktemp("killed")
    folder, terminal = tmp / "saved", Terminal()
    flags = [*long.flags, "--checkpoint-dir", folder]
    process = start(*flags, stdout=tmp / "before", stderr=terminal.path)
    wait_for(lambda: re.search("epoch 0001: *30/300", terminal.read()))
    os.kill(process.pid, signal.SIGKILL)
    assert finish(process) == -signal.SIGKILL
    left = SimpleNamespace(saved=saved(folder), losses=losses(folder))
    data = "vae-0.data-00000-of-00001"
    for name in ("vae-1.data-00000-of-00001", "vae-1.data-00000-of-00001.tempstate1"):
        (folder / name).write_bytes((folder / data).read_bytes()[:5000])
    assert finish(start(*flags, stdout=tmp / "stdout", stderr=tmp / "stderr")) == 0
    return SimpleNamespace(
        flags=flags,
        folder=folder,
        left=left,
        stdout=(tmp / "stdout").read_text(),
        stderr=(tmp / "stderr").read_text(),
    )


def test_a_kill_costs_only_the_epoch_in_progress(killed, long):
    assert killed.left.saved == [0]
    assert killed.left.losses == long.losses[:1]


def test_a_killed_run_goes_on_after_its_last_saved_epoch(killed):
    assert kinds(killed.stdout) == ["test", "test", "pictures"]
    assert our_lines(killed.stderr) == []


def test_a_killed_run_ends_with_a_whole_loss_curve(killed):
    found = losses(killed.folder)
    assert len(found) == 3
    assert found[:1] == killed.left.losses


def test_a_killed_run_ends_near_one_that_was_not(killed, long):
    assert loss_of(killed.stdout) == pytest.approx(loss_of(long.stdout), abs=1.5)


def test_the_newest_two_checkpoints_are_kept(killed):
    whole = [name for name in os.listdir(str(killed.folder)) if "tempstate" not in name]
    data = [f"vae-{epoch}.data-00000-of-00001" for epoch in (1, 2)]
    assert sorted(whole) == sorted(["checkpoint", *data, "vae-1.index", "vae-2.index"])


def test_a_finished_run_draws_its_results_again_without_training(killed, tmp_path):
    before = files_in(killed.folder)
    flags = [*killed.flags, "--figures-dir", tmp_path]
    stdout = printed(*flags, pictures=["display_losses", "display_latent"])
    assert kinds(stdout) == ["test", "test", "pictures"]
    assert loss_of(stdout) == pytest.approx(loss_of(killed.stdout), rel=0.01)
    assert sorted(files_in(tmp_path)) == ["latent.png", "loss.png"]
    assert files_in(killed.folder) == before


def test_more_epochs_may_follow_a_finished_run(killed, tmp_path):
    folder = tmp_path / "saved"
    shutil.copytree(str(killed.folder), str(folder))
    printed(*killed.flags, "--n-epochs", 4, "--checkpoint-dir", folder)
    found = losses(folder)
    assert len(found) == 4
    assert found[:3] == losses(killed.folder)


def test_whenever_it_is_killed_the_next_start_goes_on(small, tmp_path):
    folder, draw = tmp_path / "saved", random.Random(1)
    flags = small("--n-neurons", 300, "--batch-size", 300, "--figures-dir", tmp_path / "figures")
    flags += ["--checkpoint-dir", folder]
    output, known = tmp_path / "output", []

    def saving():
        return any("tempstate" in name for name in os.listdir(str(folder)))

    for kill in range(4):
        process = start(*flags, "--n-epochs", 1000, stdout=output, stderr=output)
        wait_for(functools.partial(gone_on, folder, len(known)))
        if kill % 2:
            process.join(draw.uniform(0, 0.1))
        else:
            wait_for(saving)
        before = saved(folder)[-1]
        os.kill(process.pid, signal.SIGKILL)
        assert finish(process) == -signal.SIGKILL
        found = losses(folder)
        assert before <= len(found) - 1 == saved(folder)[-1]
        assert found[: len(known)] == known
        known = found
    assert "error" not in output.read_text()
    printed(*flags, "--n-epochs", len(known) + 1)
    found = losses(folder)
    assert len(found) == len(known) + 1
    assert found[:-1] == known


def test_all_that_a_run_writes_may_go_to_one_folder(small, tmp_path):
    flags = small("--n-epochs", 2, "--figures-dir", tmp_path, "--log-dir", tmp_path / "log")
    printed(*flags)
    for _ in range(2):
        printed(*flags, "--checkpoint-dir", tmp_path)
    assert saved(tmp_path) == [0, 1]


# Interrupted

# Long steps: TensorFlow itself may crash at an interrupt in the short time between two of them.
ENDLESS = ["--n-neurons", 500, "--batch-size", 600, "--n-epochs", 100000]


def test_ctrl_c_ends_in_one_line_that_says_which_epoch_is_saved(small, tmp_path):
    folder, stderr = tmp_path / "saved", tmp_path / "stderr"
    flags = small(*ENDLESS, "--figures-dir", tmp_path / "figures", "--checkpoint-dir", folder)
    process = start(*flags, stdout=tmp_path / "stdout", stderr=stderr)
    wait_for(lambda: 1 in saved(folder))
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == 130
    (line,) = stderr.read_text().splitlines()
    assert "interrupted" in line
    assert re.findall(r"\d+", line) == [str(saved(folder)[-1])]


def test_ctrl_c_without_checkpoints_says_how_to_have_them(small, tmp_path):
    stdout, stderr = tmp_path / "stdout", tmp_path / "stderr"
    flags = small(*ENDLESS, "--figures-dir", tmp_path / "figures")
    process = start(*flags, stdout=stdout, stderr=stderr)
    wait_for(lambda: stdout.exists() and stdout.read_text())
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == 130
    (line,) = stderr.read_text().splitlines()
    assert re.search("interrupted.*none.*--checkpoint-dir", line)


def test_a_line_goes_through_a_pipe_at_once_and_a_closed_pipe_ends_it_in_silence(small, tmp_path):
    pipe, stderr = tmp_path / "pipe", tmp_path / "stderr"
    os.mkfifo(str(pipe))
    end = os.open(str(pipe), os.O_RDONLY | os.O_NONBLOCK)
    flags = small("--n-epochs", 100000, "--figures-dir", tmp_path / "figures")
    process = start(*flags, stdout=pipe, stderr=stderr)
    try:
        wait_for(lambda: select.select([end], [], [], 0)[0], 60)
        assert re.fullmatch(r"epoch: 0000   loss = \d+\.\d+\n", os.read(end, 4096).decode())
        assert process.is_alive()
    finally:
        os.close(end)
    assert finish(process) in (-signal.SIGPIPE, 128 + signal.SIGPIPE)
    assert stderr.read_text() == ""


# Logged


@pytest.fixture(scope="module")
def logged(small, tmp_path_factory):
    """A run of four epochs of twelve steps without and with log and checkpoints."""
    tmp = tmp_path_factory.mktemp("logged")
    flags = small("--batch-size", 50, "--n-epochs", 4, "--figures-dir", tmp / "figures")
    plain = printed(*flags)
    stdout = printed(*flags, "--log-dir", tmp / "log", "--checkpoint-dir", tmp / "saved")
    (path,) = (tmp / "log").iterdir()
    return SimpleNamespace(
        plain=plain,
        stdout=stdout,
        losses=losses(tmp / "saved"),
        events=list(tf.train.summary_iterator(str(path))),
    )


def scalars(events, tag):
    """The values under tag by their step."""
    values = [(e.step, v) for e in events for v in e.summary.value if v.tag == tag]
    return {step: value.simple_value for step, value in values}


def test_log_and_checkpoints_change_no_number(logged):
    assert logged.stdout == logged.plain


def test_the_log_holds_the_graph_in_scopes(logged):
    (graph,) = [event.graph_def for event in logged.events if event.graph_def]
    names = {node.name.split("/")[0] for node in tf.GraphDef.FromString(graph).node}
    assert {"x", "y", "encoder", "reparameterization", "decoder", "losses", "optimizer"} <= names


@pytest.mark.parametrize("tag", ["loss", "rec_loss", "reg_loss"])
def test_the_log_holds_each_loss_of_each_step(logged, tag):
    assert list(scalars(logged.events, tag)) == list(range(1, 49))


def test_a_logged_loss_is_the_sum_of_its_parts_and_makes_the_epochs_mean(logged):
    loss, rec, reg = [scalars(logged.events, tag) for tag in ("loss", "rec_loss", "reg_loss")]
    for step in loss:
        assert loss[step] == pytest.approx(rec[step] + reg[step], rel=1e-5)
    for epoch, (mean, _) in enumerate(logged.losses):
        steps = [loss[12 * epoch + step] for step in range(1, 13)]
        assert mean == pytest.approx(sum(steps) / 12, rel=1e-5)


def test_the_log_holds_reconstructions_after_each_epoch(logged):
    values = [(e.step, v) for e in logged.events for v in e.summary.value]
    images = [(step, v.image) for step, v in values if v.HasField("image")]
    assert [step for step, _ in images] == [12 * (1 + i // 4) for i in range(16)]
    for _, image in images[::5]:
        assert (image.height, image.width) == (28, 28)
        pixels = matplotlib.image.imread(io.BytesIO(image.encoded_image_string))
        assert pixels.max() > pixels.min()


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
def test_a_full_disk_is_refused_before_training(flag, small, disk, tmp_path, capsys):
    folder = disk(8)
    (folder / "checkpoint").write_bytes(bytes(8192))
    before = files_in(folder)
    message = call(*small("--figures-dir", tmp_path / "figures", flag, folder))
    assert_no_space(message, folder)
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


def test_a_disk_that_fills_up_leaves_checkpoints_to_go_on_from(small, disk, tmp_path):
    folder = disk(600)
    flags = small("--figures-dir", tmp_path / "figures", "--checkpoint-dir", folder / "saved")
    printed(*flags, "--n-epochs", 1)
    before = files_in(folder)
    assert_no_space(call(*flags, "--n-epochs", 3), folder / "saved" / "vae-1.")
    assert files_in(folder) == before
    first = losses(folder / "saved")
    disk(2000)
    printed(*flags, "--n-epochs", 3)
    found = losses(folder / "saved")
    assert len(found) == 3
    assert found[:1] == first


def test_a_disk_that_fills_up_with_the_log_ends_in_one_line(small, disk, tmp_path):
    folder, stderr = disk(64), tmp_path / "stderr"
    (folder / "other").write_bytes(b"whole")
    flags = small("--n-epochs", 3, "--figures-dir", tmp_path / "figures", "--log-dir", folder)
    assert finish(start(*flags, stdout=tmp_path / "stdout", stderr=stderr)) == 1
    assert_no_space(stderr.read_text(), folder)
    assert (folder / "other").read_bytes() == b"whole"
