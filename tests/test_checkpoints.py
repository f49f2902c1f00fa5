"""Saving a run after each epoch, and going on: what a kill costs, and what may be in the folder."""

import errno
import os
import random
import re
import shutil
import signal
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from data import DataSet
from extras.errors import RunError
from extras.checkpoints import Checkpoints, saved_epochs
from program import WINDOWS, files_in, finish, losses, our_lines, printed, saved, small_net
from program import start, wait_for


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    assert finish(process) == -signal.SIGKILL


def first_words(stdout):
    return [line.split()[0] for line in stdout.splitlines()]


# What is saved in a folder


@pytest.mark.parametrize(
    "names, epochs",
    [
        pytest.param("", [], id="nothing"),
        pytest.param("vae-2.index vae-10.index vae-0.index", [0, 2, 10], id="by their numbers"),
        pytest.param("vae-0.data-00000-of-00001", [], id="data without an index"),
        pytest.param("vae-1.index vae-3.index.tempstate123", [1], id="an index half written"),
        pytest.param(".DS_Store .gitkeep notes.txt loss.png", [], id="other files"),
        pytest.param("letter.txt vae-4.index", [4], id="a stranger beside a checkpoint"),
    ],
)
def test_an_epoch_is_saved_when_its_index_stands_whatever_else_is_there(names, epochs, tmp_path):
    for name in ["checkpoint", *names.split()]:
        (tmp_path / name).touch()
    (tmp_path / "figures").mkdir()
    assert saved_epochs(str(tmp_path)) == epochs


# What a session goes on with


NET = {"n_inputs": 4, "n_outputs": 4, "n_neurons": [5], "n_neurons_z": 3}
IMAGES = np.eye(4, dtype=np.float32)
LOSSES = [3.0, 4.0, 3.5, 0.5]  # of an epoch


def checkpoints_in(folder, first_epoch=0, **changes):
    flags = {"learning_rate": 0.01, "n_epochs": 2, "cosine_decay": False, "activation": tf.nn.tanh}
    args = SimpleNamespace(checkpoint_dir=folder, **{**flags, **changes})
    data_set = DataSet(IMAGES, np.arange(4), dtype=np.uint8)
    return Checkpoints(args, first_epoch, data_set)


@contextmanager
def session(folder, first_epoch=0, **changes):
    """A session with a small VAE, and the checkpoints of it in folder, a path or its text."""
    with tf.Graph().as_default(), tf.Session() as tfs:
        vae = vae_mnist.VAE(0.01, **NET)
        checkpoints = checkpoints_in(str(folder), first_epoch, **changes)
        tf.global_variables_initializer().run()
        yield tfs, vae, checkpoints


def test_a_later_session_takes_the_very_next_step(tmp_path):
    def step(tfs, vae):
        tfs.run(vae.optimizer, {vae.x: IMAGES, vae.y: IMAGES, vae.epsilon: np.ones((4, 3))})
        return tfs.run([v for v in tf.global_variables() if v.op.name != "record"])

    with session(tmp_path) as (tfs, vae, checkpoints):
        assert checkpoints.restore(tfs) == []
        for _ in range(20):
            step(tfs, vae)
        checkpoints.save(tfs, [LOSSES])
        expected = step(tfs, vae)
    with session(tmp_path, 1) as (tfs, vae, checkpoints):
        assert checkpoints.restore(tfs) == [LOSSES]
        found = step(tfs, vae)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected))


def test_a_checkpoint_with_two_losses_an_epoch_is_gone_on_from(tmp_path):
    with session(tmp_path) as (tfs, _, checkpoints):
        checkpoints.restore(tfs)
        checkpoints.save(tfs, [[3.0, 4.0]])
    for epoch in (1, 2):
        with session(tmp_path, epoch) as (tfs, _, checkpoints):
            losses = checkpoints.restore(tfs)
            checkpoints.save(tfs, [*losses, LOSSES])
        np.testing.assert_array_equal(losses, [[3.0, 4.0, np.nan, np.nan], LOSSES][:epoch])


@pytest.mark.parametrize(
    "name, value, was",
    [("learning_rate", 0.02, 0.01), ("cosine_decay", True, False), ("n_epochs", 0, 2)],
)
def test_a_session_with_other_flags_is_refused(name, value, was, tmp_path):
    with session(tmp_path) as (tfs, _, checkpoints):
        checkpoints.restore(tfs)
        checkpoints.save(tfs, [LOSSES])
    refused = pytest.raises(RunError, match=f"vae-0: has {name} = {was}, this run {value}: ")
    with session(tmp_path, 1, **{name: value}) as (tfs, _, checkpoints), refused:
        checkpoints.restore(tfs)


def test_hyperparameters_are_the_same_however_they_are_written(tmp_path):
    with session(tmp_path, n_neurons=[512, 256], size=3) as (tfs, _, checkpoints):
        checkpoints.restore(tfs)
        checkpoints.save(tfs, [LOSSES])
    numbers = {"n_neurons": (np.int64(512), 256), "size": np.array(3)}
    with session(tmp_path, 1, **numbers) as (tfs, _, checkpoints):
        assert checkpoints.restore(tfs) == [LOSSES]
        checkpoints.save(tfs, [LOSSES, LOSSES])


# Another run in the same folder

ANOTHER = "vae-0: saved by another run meanwhile: "


def test_an_epoch_that_another_run_saved_is_not_overwritten(tmp_path):
    with session(tmp_path) as (tfs, _, checkpoints):
        assert checkpoints.restore(tfs) == []
        with session(tmp_path) as (other_tfs, _, others):
            assert others.restore(other_tfs) == []
            others.save(other_tfs, [LOSSES])
        before = files_in(tmp_path)
        with pytest.raises(RunError, match=ANOTHER):
            checkpoints.save(tfs, [(1.0, 2.0)])
    assert files_in(tmp_path) == before


def test_an_epoch_that_came_since_the_run_began_is_not_gone_on_from(tmp_path):
    with session(tmp_path) as (tfs, _, checkpoints):
        checkpoints.restore(tfs)
        checkpoints.save(tfs, [LOSSES])
    refused = pytest.raises(RunError, match=ANOTHER)
    with session(tmp_path, first_epoch=0) as (tfs, _, checkpoints), refused:
        checkpoints.restore(tfs)


def test_files_that_a_user_takes_away_do_not_end_a_run(tmp_path):
    folder = tmp_path / "runs" / "saved"
    with session(folder) as (tfs, _, checkpoints):
        checkpoints.restore(tfs)
        checkpoints.save(tfs, [LOSSES])
        shutil.rmtree(str(tmp_path / "runs"))
        checkpoints.save(tfs, [LOSSES, LOSSES])
    assert saved_epochs(str(folder)) == [1]


# What is on the disk


def save_epochs(folder, *epochs):
    """Save these epochs, one after the other, in a session that goes on from what is there."""
    with session(folder, epochs[0]) as (tfs, _, checkpoints):
        checkpoints.restore(tfs)
        for epoch in epochs:
            checkpoints.save(tfs, [LOSSES] * (epoch + 1))


def names_of(*epochs):
    endings = (".data-00000-of-00001", ".index")
    return ["checkpoint"] + [f"vae-{epoch}{ending}" for epoch in epochs for ending in endings]


@pytest.mark.skipif(WINDOWS, reason="no folder can be synced there")
def test_an_epoch_is_on_the_disk_before_an_older_one_is_removed(tmp_path, monkeypatch):
    done = []

    def name(path):
        return re.sub(r"checkpoint.*|\.part", "", os.path.basename(str(path))) or "checkpoint"

    def sync(number):
        here = [*tmp_path.iterdir(), tmp_path]
        (path,) = [p for p in here if os.path.samestat(os.fstat(number), os.stat(str(p)))]
        done.append(("sync", "the folder" if path == tmp_path else name(path)))

    save_epochs(tmp_path, 0, 1)
    monkeypatch.setattr(os, "fsync", sync)
    for call in ("replace", "remove"):
        real = getattr(os, call)

        def record(path, *rest, call=call, real=real):
            real(path, *rest)
            done.append((call, name(path)))

        monkeypatch.setattr(os, call, record)
    save_epochs(tmp_path, 2)
    told = [("sync", "checkpoint"), ("replace", "checkpoint"), ("sync", "the folder")]
    assert done == [
        *told,  # as the session begins
        ("sync", "vae-2.data-00000-of-00001"),
        ("replace", "vae-2.data-00000-of-00001"),
        ("sync", "vae-2.index"),
        ("replace", "vae-2.index"),
        *told,
        ("remove", "vae-0.index"),
        ("remove", "vae-0.data-00000-of-00001"),
    ]
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "vae-2")


def test_a_file_that_cannot_be_synced_is_named(tmp_path, monkeypatch):
    def fail(number):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError) as error:
        save_epochs(tmp_path, 0)
    assert error.value.filename == f"{tmp_path}/vae-0.data-00000-of-00001"


def test_what_could_not_be_removed_is_removed_later(tmp_path, monkeypatch):
    def fail(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "remove", fail)
        save_epochs(tmp_path, 0, 1, 2, 3)
    assert saved_epochs(str(tmp_path)) == [0, 1, 2, 3]
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "vae-2"\n')
    # A run that is finished saves no more, but settles what an earlier one could not.
    with session(tmp_path, 4) as (tfs, _, checkpoints):
        checkpoints.restore(tfs)
    assert sorted(os.listdir(str(tmp_path))) == names_of(2, 3)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "vae-3")


def test_a_checkpoint_that_cannot_be_named_is_told_by_its_name_and_leaves_no_part(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(OSError) as error:
        save_epochs(tmp_path, 0)
    assert error.value.filename == f"{tmp_path}/checkpoint"
    assert [name for name in os.listdir(str(tmp_path)) if "part" in name] == []


def test_a_folder_is_the_same_however_its_name_ends(tmp_path):
    save_epochs(f"{tmp_path}/", 0, 1)
    save_epochs(f"{tmp_path}", 2, 3)
    assert sorted(os.listdir(str(tmp_path))) == names_of(2, 3)


def test_too_little_memory_is_not_taken_for_damage(tmp_path, monkeypatch):
    def fail(*args):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    save_epochs(tmp_path, 0)
    with session(tmp_path, 1) as (tfs, _, checkpoints):
        monkeypatch.setattr(tf.train.Saver, "restore", fail)
        with pytest.raises(tf.errors.ResourceExhaustedError):
            checkpoints.restore(tfs)


# A run that is killed


@pytest.fixture(scope="module")
def whole(small_data, tmp_path_factory):
    """Three epochs of 300 steps, uninterrupted."""
    tmp = tmp_path_factory.mktemp("whole")
    flags = ["--batch-size", 2, "--n-epochs", 3, "--figures-dir", tmp / "figures"]
    flags = small_net(small_data, *flags)
    stdout = printed(*flags, "--checkpoint-dir", tmp / "saved")
    return SimpleNamespace(flags=flags, stdout=stdout, losses=losses(tmp / "saved"))


@pytest.fixture(scope="module")
def killed(whole, tmp_path_factory):
    """The same, killed in epoch 1, with files as if while saving, and started again."""
    tmp = tmp_path_factory.mktemp("killed")
    folder = tmp / "saved"
    flags = [*whole.flags, "--checkpoint-dir", folder]
    process = start(*flags, stdout=tmp / "before", stderr=tmp / "before")
    wait_for(lambda: saved(folder))
    kill(process)
    left = SimpleNamespace(saved=saved(folder), losses=losses(folder))
    half = (folder / "vae-0.data-00000-of-00001").read_bytes()[:5000]
    for name in ("vae-1.data-00000-of-00001", "vae-1.data-00000-of-00001.tempstate1"):
        (folder / name).write_bytes(half)
    assert finish(start(*flags, stdout=tmp / "stdout", stderr=tmp / "stderr")) == 0
    stdout, stderr = (tmp / "stdout").read_text(), (tmp / "stderr").read_text()
    return SimpleNamespace(flags=flags, folder=folder, left=left, stdout=stdout, stderr=stderr)


def test_a_kill_costs_only_the_epoch_in_progress(killed, whole):
    assert killed.left.saved == [0]
    assert killed.left.losses == whole.losses[:1] == losses(killed.folder)[:1]
    assert len(losses(killed.folder)) == 3


def test_a_killed_run_goes_on_after_its_last_saved_epoch(killed):
    # With epoch 0 repeated, the first word would be "epoch:".
    assert first_words(killed.stdout) == ["test", "test", "pictures"]
    assert our_lines(killed.stderr) == []


def test_the_newest_two_checkpoints_are_kept(killed):
    # TensorFlow's temporary files are what a kill may leave: harmless, and not always there.
    names = {n for n in os.listdir(str(killed.folder)) if not re.search(r"tempstate|\.part", n)}
    data = {f"vae-{epoch}.data-00000-of-00001" for epoch in (1, 2)}
    assert names == {"checkpoint", "vae-1.index", "vae-2.index"} | data


def test_whenever_it_is_killed_the_next_start_goes_on(small_data, tmp_path):
    folder, output, draw = tmp_path / "saved", tmp_path / "output", random.Random(1)
    flags = ["--n-neurons", 300, "--batch-size", 300, "--figures-dir", tmp_path / "figures"]
    flags = small_net(small_data, *flags, "--checkpoint-dir", folder)

    def saving():
        return any(".part" in name for name in os.listdir(str(folder)))

    known = []
    for kill_while_saving in (True, False, True, False):
        n_known = len(known)
        process = start(*flags, "--n-epochs", 1000, stdout=output, stderr=output)
        wait_for(lambda: saved(folder)[-1:] >= [n_known])  # noqa: B023, called at once
        if kill_while_saving:
            wait_for(saving)
        else:
            process.join(draw.uniform(0, 0.1))
        seen = saved(folder)[-1]
        kill(process)
        found = losses(folder)
        assert seen <= len(found) - 1 == saved(folder)[-1]
        assert found[:n_known] == known
        known = found
    assert "error" not in output.read_text()
    printed(*flags, "--n-epochs", len(known) + 1)
    assert losses(folder)[:-1] == known


# A run that is finished


def test_a_finished_run_draws_its_results_again_without_training(killed, tmp_path):
    before = files_in(killed.folder)
    flags = [*killed.flags, "--figures-dir", tmp_path]
    stdout = printed(*flags, pictures=["display_losses", "display_latent"])
    assert first_words(stdout) == ["test", "test", "pictures"]
    assert stdout.splitlines()[:2] == killed.stdout.splitlines()[:2]
    assert sorted(files_in(tmp_path)) == ["latent.png", "loss.png"]
    assert files_in(killed.folder) == before


def test_a_folder_that_was_moved_is_gone_on_from(small_data, tmp_path):
    flags = small_net(small_data, "--figures-dir", tmp_path / "figures", "--n-epochs")
    printed(*flags, 2, "--checkpoint-dir", tmp_path / "saved")
    before = losses(tmp_path / "saved")
    (tmp_path / "saved").rename(tmp_path / "moved")
    printed(*flags, 3, "--checkpoint-dir", tmp_path / "moved")
    assert losses(tmp_path / "moved")[:2] == before
    assert saved(tmp_path / "moved") == [1, 2]
    assert not (tmp_path / "saved").exists()
    assert tf.train.latest_checkpoint(str(tmp_path / "moved")).startswith(str(tmp_path / "moved"))
