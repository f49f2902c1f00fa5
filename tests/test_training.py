"""train_epoch(), reconstruct(), and what a model is worth afterwards.

Most VAEs here are stand-ins, whose values anyone can work out; test_model.py sees to the real one.
"""

from functools import partial
from itertools import chain, repeat
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from reference import is_standard_normal

import vae_mnist
from data import DataSet, add_noise
from extras import pictures
from extras.evaluation import Metrics, check_finite, evaluate, print_test


def random_images(n, seed=12):
    return np.random.default_rng(seed).random((n, 4), dtype=np.float32)


@pytest.fixture(autouse=True)
def default_graph():
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        yield


def stand_in(losses=repeat(3.0)):  # noqa: B008, repeat() has no state
    """A VAE whose training steps have the given losses, and leave x and y in feeds."""
    losses, feeds = iter(losses), []

    def next_loss(x, y):
        feeds.append((x, y))
        return np.float32(next(losses))

    x, y = (tf.placeholder(tf.float32, [None, 4]) for _ in range(2))
    z, epsilon = tf.identity(x), tf.random_normal(tf.shape(x))
    return SimpleNamespace(
        x=x,
        y=y,
        z_mean=2 * x,
        epsilon=epsilon,
        z=z,
        model=1 - z,
        rec_loss=tf.reduce_sum(tf.square(x - 3 * y), 1),
        reg_loss=tf.reduce_sum(tf.square(x), 1),
        loss=tf.py_func(next_loss, [x, y], tf.float32),
        optimizer=tf.assign_add(tf.train.get_or_create_global_step(), 1),
        feeds=feeds,
    )


def mnist_of(images):
    # uint8: the images stay as they are.
    return SimpleNamespace(train=DataSet(images, np.zeros(len(images)), dtype=np.uint8, seed=3))


def train(vae, images, epochs=range(1), batch_size=10, **kwargs):
    """The average loss of each epoch."""
    mnist = mnist_of(images)
    with tf.Session() as tfs:
        tf.global_variables_initializer().run()
        return [
            vae_mnist.train_epoch(tfs, vae, mnist, epoch, batch_size, **kwargs) for epoch in epochs
        ]


# train_epoch()


def test_it_returns_the_average_loss_of_the_epoch():
    assert train(stand_in([3, 1, 6, 4]), random_images(20), range(5, 7)) == [2, 5]


def test_the_average_is_exact_where_float32_would_forget_the_small_losses():
    assert train(stand_in([2**24, 1, 1, 1]), random_images(40)) == [(2**24 + 3) / 4]


def test_every_image_is_fed_once_an_epoch_as_x_and_as_y():
    vae = stand_in()
    train(vae, random_images(40), range(2))
    for epoch in (vae.feeds[:4], vae.feeds[4:]):
        xs, ys = map(np.concatenate, zip(*epoch))
        assert np.array_equal(xs, ys)
        assert sorted(ys.tolist()) == sorted(random_images(40).tolist())


def test_with_noise_x_is_y_plus_new_normal_numbers_of_standard_deviation_one_half():
    vae = stand_in()
    noise = partial(add_noise, rng=np.random.default_rng(13))
    train(vae, random_images(2000), range(2), 2000, noise=noise)
    first, second = (np.ravel(x - y) / 0.5 for x, y in vae.feeds)
    assert is_standard_normal(np.stack([first, second], axis=1))
    assert is_standard_normal((first - second) / np.sqrt(2))


def test_it_prints_the_books_line_for_epochs_0_9_19_and_no_other(capsys):
    losses = [[180.015625] * 2, [150] * 16, [106, 107.03125], [105] * 18, [102.578125] * 22]
    train(stand_in(chain(*losses)), random_images(20), range(29))
    assert capsys.readouterr().out.splitlines() == [
        "epoch: 0000   loss = 180.015625",
        "epoch: 0009   loss = 106.515625",
        "epoch: 0019   loss = 102.578125",
    ]


# reconstruct()


def test_the_test_images_are_drawn_clean_and_noisy_each_before_its_reconstruction(monkeypatch):
    drawn = []
    monkeypatch.setattr(vae_mnist, "display_images", lambda *args: drawn.append(args))
    images, noisy, labels = random_images(4), random_images(4, seed=13), np.array([7, 2, 1, 0])
    with tf.Session() as tfs:
        rows = vae_mnist.reconstruct(tfs, stand_in(), images, noisy, labels, "here")
    expected = {
        "test_images": images,
        "Y_test_pred1": 1 - images,
        "test_images_noisy": noisy,
        "Y_test_pred2": 1 - noisy,
    }
    assert [path for _, _, path in drawn] == [f"here/{name}.png" for name in expected]
    for (picture, titles, _), (name, images) in zip(drawn, expected.items()):
        assert np.array_equal(picture, images)
        assert np.array_equal(rows[name], images)
        assert titles is labels


# evaluate()


@pytest.mark.parametrize("n", [1, 1000, 2001])
def test_metrics_are_means_over_all_images_which_the_encoder_sees_as_x(n):
    y = random_images(n) * np.linspace(0, 1, n, dtype=np.float32)[:, None]
    x = y + 0.25
    with tf.Session() as tfs:
        found = evaluate(tfs, stand_in(), x, y)
    rec_loss, reg_loss = np.square(x - 3 * y).sum(axis=1), np.square(x).sum(axis=1)
    expected = [rec_loss.mean(), reg_loss.mean(), np.square(1 - x - y).mean()]
    assert np.allclose(found, expected, rtol=1e-5)
    assert found.loss == found.rec_loss + found.reg_loss


def test_metrics_are_exact_where_float32_would_forget_the_small_losses():
    x = np.zeros((100, 4), np.float32)
    x[:, 0], x[0, 0] = 1, 2**13
    with tf.Session() as tfs:
        assert evaluate(tfs, stand_in(), x, 0 * x).reg_loss == (2**26 + 99) / 100


def test_every_look_feeds_the_same_standard_normal_numbers_as_epsilon():
    vae = stand_in()
    vae.rec_loss = tf.reduce_sum(vae.epsilon, 1)
    vae.reg_loss = tf.reduce_sum(tf.square(vae.epsilon), 1)
    images = np.zeros((5000, 4), np.float32)
    with tf.Session() as tfs:
        first, second = (evaluate(tfs, vae, images, images) for _ in range(2))
    assert first == second
    assert 0 < abs(first.rec_loss) < 4.5 * np.sqrt(4 / 5000)
    assert 0 < abs(first.reg_loss - 4) < 4.5 * np.sqrt(8 / 5000)


# The test's lines


def test_the_tests_lines_tell_what_was_learned_and_both_squared_errors(capsys):
    print_test(Metrics(1.0, 0.25, 0.25), 0.25, 0.0625)
    assert capsys.readouterr().out.splitlines() == [
        "test loss = 1.250000   rec = 1.000000   reg = 0.250000",
        "test mse  = 0.250000 clean   0.062500 noisy",
    ]


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_reported_with_its_place(loss):
    check_finite(3e38, "epoch 8")
    advice = "try a lower --learning-rate, or --max-log-var 2"
    with pytest.raises(FloatingPointError, match=f"^loss is {loss} in epoch 8: {advice}$"):
        check_finite(loss, "epoch 8")


# The latent space


def test_the_kl_of_each_dimension_is_the_mean_of_the_formula_over_the_images(monkeypatch):
    drawn, vae = [], stand_in()
    monkeypatch.setattr(pictures, "display_kl", lambda *args: drawn.extend(args))
    # A mean of 1 and a standard deviation of 0.5 cost (1 + 0.25 - ln 0.25 - 1) / 2.
    vae.z_mean = tf.constant([[1.0, 0, 0], [0, 0, 0]])
    vae.z_log_var = tf.log([[0.25, 1, 1], [1.0, 1, 1]])
    with tf.Session() as tfs:
        pictures.draw_latent_space(tfs, vae, mnist_of(random_images(2)).train, "here")
    assert np.allclose(drawn[0], [0.818147 / 2, 0, 0], atol=1e-6)
    assert drawn[1] == "here/kl.png"


def test_between_two_images_z_goes_from_one_mean_to_the_other_in_even_steps(monkeypatch):
    images, drawn = random_images(3), []
    monkeypatch.setattr(pictures, "display_images", lambda *args: drawn.extend(args))
    with tf.Session() as tfs:
        pictures.draw_between(tfs, stand_in(), images, "here")
    found, places, path, _ = drawn
    expected = [1 - 2 * ((8 - i) * images[0] + i * images[2]) / 8 for i in range(9)]
    assert np.allclose(found, expected, atol=1e-6)
    assert (len(places), places[0], places[4], places[-1]) == (9, "0.00", "0.50", "1.00")
    assert path == "here/between.png"
