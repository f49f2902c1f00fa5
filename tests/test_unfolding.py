"""harness/unfolding.py: what the animation shows, and that it changes no number."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from harness import unfolding
from program import printed, small_net


@pytest.fixture
def saved(monkeypatch):
    """What save_unfolding() was given, instead of saving it."""
    saved = []
    monkeypatch.setattr(unfolding, "save_unfolding", lambda *args: saved.append(args))
    return saved


def unfold(n_epochs):
    """A session with an Unfolding from epoch 5 on, whose training makes all images white."""
    with tf.Graph().as_default(), tf.Session() as tfs:
        graph = vae_mnist.build_graph(n_inputs=4, n_outputs=4, n_neurons=[3], n_neurons_z=2)
        tf.global_variables_initializer().run()
        hook = unfolding.Unfolding(graph, 5, "manifold.gif")
        hook.begin(tfs)
        graph.params["b_d_z_mean"].load(np.full(4, 100.0), tfs)  # white, whatever z is
        for _ in range(n_epochs):
            hook.after_epoch(tfs, 1.0)
        hook.end(tfs)


def test_there_is_a_frame_for_what_it_begins_with_and_for_each_epoch(saved):
    unfold(n_epochs=2)
    ((frames, path),) = saved
    assert path == "manifold.gif"
    titles, images = zip(*frames)
    assert titles == ("before epoch 0005", "after epoch 0005", "after epoch 0006")
    assert {image.shape for image in images} == {(225, 4)}
    assert [(image > 0.99).all() for image in images] == [False, True, True]


def test_a_session_without_an_epoch_leaves_the_animation_as_it_was(saved):
    unfold(n_epochs=0)
    assert saved == []


def test_an_animation_changes_no_number_and_is_drawn_once(small_data, tmp_path, saved):
    flags = small_net(small_data, "--n-epochs", 2, "--figures-dir", tmp_path)
    assert printed(*flags, "--manifold-gif") == printed(*flags)
    ((frames, path),) = saved
    assert len(frames) == 3
    assert path == f"{tmp_path}/manifold.gif"
