"""The log for TensorBoard: what is in it, and that it changes nothing in the run."""

import io
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from program import losses, printed, small_net


@pytest.fixture(scope="module")
def logged(small_data, tmp_path_factory):
    """A run of four epochs of twelve steps, without and with a log and checkpoints."""
    tmp = tmp_path_factory.mktemp("logged")
    flags = ["--batch-size", 50, "--n-epochs", 4, "--figures-dir", tmp / "figures"]
    flags = small_net(small_data, *flags)
    plain = printed(*flags)
    stdout = printed(*flags, "--log-dir", tmp / "log", "--checkpoint-dir", tmp / "saved")
    (path,) = (tmp / "log").iterdir()
    events = list(tf.train.summary_iterator(str(path)))
    return SimpleNamespace(plain=plain, stdout=stdout, losses=losses(tmp / "saved"), events=events)


@pytest.fixture(scope="module")
def scalars(logged):
    """For each of the three losses, its values by their step."""
    found = {"loss": {}, "rec_loss": {}, "reg_loss": {}}
    for event in logged.events:
        for value in event.summary.value:
            if value.tag in found:
                found[value.tag][event.step] = value.simple_value
    return found


def test_log_and_checkpoints_change_no_number(logged):
    assert logged.stdout == logged.plain


def test_the_log_holds_the_graph_in_scopes(logged):
    (graph,) = [event.graph_def for event in logged.events if event.graph_def]
    names = {node.name.split("/")[0] for node in tf.GraphDef.FromString(graph).node}
    assert {"x", "y", "encoder", "reparameterization", "decoder", "losses", "optimizer"} <= names


def test_the_log_holds_each_loss_of_each_step(scalars):
    for by_step in scalars.values():
        assert list(by_step) == list(range(1, 4 * 12 + 1))


def test_a_logged_loss_is_the_sum_of_its_parts(scalars):
    loss, rec, reg = [np.array(list(by_step.values())) for by_step in scalars.values()]
    np.testing.assert_allclose(loss, rec + reg, rtol=1e-5)


def test_the_logged_losses_of_an_epoch_have_the_mean_that_is_saved(logged, scalars):
    means = np.reshape(list(scalars["loss"].values()), (4, 12)).mean(axis=1)
    np.testing.assert_allclose([train for train, _ in logged.losses], means, rtol=1e-5)


def test_the_log_holds_four_reconstructions_after_each_epoch(logged):
    values = [(event.step, value) for event in logged.events for value in event.summary.value]
    images = [(step, value.image) for step, value in values if value.HasField("image")]
    assert [step for step, _ in images] == 4 * [12] + 4 * [24] + 4 * [36] + 4 * [48]
    for _, image in images:
        pixels = matplotlib.image.imread(io.BytesIO(image.encoded_image_string))
        assert pixels.shape[:2] == (28, 28)
        assert np.ptp(pixels) > 0
