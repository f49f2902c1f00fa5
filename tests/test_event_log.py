"""The log for TensorBoard; and that nothing which only looks changes the training."""

import io
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from data import read_data_sets
from extras.evaluation import Metrics
from extras.event_log import EventLog
from program import losses, printed, small_net


@pytest.fixture(scope="module")
def logged(small_data, tmp_path_factory):
    """A run of four epochs that looks at itself in all ways: the animation needs a z of two."""
    tmp = tmp_path_factory.mktemp("logged")
    flags = ["--batch-size", 50, "--n-epochs", 4, "--figures-dir", tmp / "figures"]
    flags += ["--log-dir", tmp / "log", "--checkpoint-dir", tmp / "saved"]
    printed(*small_net(small_data, *flags))
    (path,) = (tmp / "log").iterdir()
    events = list(tf.train.summary_iterator(str(path)))
    return SimpleNamespace(losses=losses(tmp / "saved"), events=events)


def values(logged, tag):
    """The pairs of an epoch and its value with that tag."""
    return [
        (event.step, value)
        for event in logged.events
        for value in event.summary.value
        if value.tag.startswith(tag)
    ]


def test_a_run_with_all_its_looks_trains_as_the_bare_loop_does(logged, small_data):
    mnist = read_data_sets(str(small_data), validation_size=None, seed=123)
    with tf.Graph().as_default(), tf.Session() as tfs:
        tf.set_random_seed(123)
        vae = vae_mnist.VAE(n_neurons=[16], n_neurons_z=2)
        tf.global_variables_initializer().run()
        bare = [vae_mnist.train_epoch(tfs, vae, mnist, epoch, 50) for epoch in range(4)]
    assert [epoch[0] for epoch in logged.losses] == bare


def test_the_log_holds_the_graph_in_scopes(logged):
    (graph,) = [event.graph_def for event in logged.events if event.graph_def]
    names = {node.name.split("/")[0] for node in tf.GraphDef.FromString(graph).node}
    assert {"x", "y", "encoder", "reparameterization", "decoder", "losses", "optimizer"} <= names


def test_the_log_holds_the_losses_of_each_epoch(logged):
    tags = ["training/loss", "validation/loss", "validation/rec_loss", "validation/reg_loss"]
    found = [values(logged, tag) for tag in tags]
    assert all([epoch for epoch, _ in pairs] == [0, 1, 2, 3] for pairs in found)
    found = np.array([[value.simple_value for _, value in pairs] for pairs in found])
    np.testing.assert_allclose(found.T, logged.losses, rtol=1e-5)
    np.testing.assert_allclose(found[1], found[2] + found[3], rtol=1e-5)


def test_the_log_holds_four_reconstructions_after_each_epoch(logged):
    images = values(logged, "reconstructions")
    assert [epoch for epoch, _ in images] == 4 * [0] + 4 * [1] + 4 * [2] + 4 * [3]
    for _, value in images:
        pixels = matplotlib.image.imread(io.BytesIO(value.image.encoded_image_string))
        assert pixels.shape[:2] == (28, 28)
        assert np.ptp(pixels) > 0


@pytest.mark.parametrize("n_pixels, shapes", [(196, [(14, 14)]), (200, [])])
def test_images_of_another_size_are_shown_as_squares_or_left_out(n_pixels, shapes, tmp_path):
    with tf.Graph().as_default(), tf.Session() as tfs:
        vae = vae_mnist.VAE(n_inputs=n_pixels, n_outputs=n_pixels, n_neurons=[8], n_neurons_z=2)
        tf.global_variables_initializer().run()
        log = EventLog(str(tmp_path), tfs, vae, np.zeros((1, n_pixels)))
        log.write(tfs, 0, 2.0, Metrics(1.0, 0.5, 0.1))
    (path,) = tmp_path.iterdir()
    values = [
        value for event in tf.train.summary_iterator(str(path)) for value in event.summary.value
    ]
    images = [value.image for value in values if value.HasField("image")]
    assert [(image.height, image.width) for image in images] == shapes


def test_a_log_whose_folder_became_a_file_is_refused_with_its_name(tmp_path):
    (tmp_path / "log").write_text("not a folder")
    with tf.Graph().as_default(), tf.Session() as tfs:
        vae = vae_mnist.VAE(n_neurons=[16], n_neurons_z=2)
        with pytest.raises(NotADirectoryError) as error:
            EventLog(str(tmp_path / "log"), tfs, vae, np.zeros((4, 784)))
    assert error.value.filename == str(tmp_path / "log")
