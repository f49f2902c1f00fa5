"""train(), reconstruct(), and what a model is worth afterwards.

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
from extras.evaluation import Metrics, check_finite, decode_between, evaluate
from extras.evaluation import kl_by_dimension, print_test


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
    z = tf.identity(x)
    return SimpleNamespace(
        x=x,
        y=y,
        z_mean=2 * x,
        z_log_var=tf.log(1 + x),
        z=z,
        model=1 - z,
        rec_loss=tf.reduce_sum(tf.square(x - 3 * y), 1),
        reg_loss=tf.reduce_sum(tf.square(x), 1),
        loss=tf.py_func(next_loss, [x, y], tf.float32),
        optimizer=tf.assign_add(tf.train.get_or_create_global_step(), 1),
        feeds=feeds,
    )


def train(vae, images, epochs=range(1), batch_size=10, **kwargs):
    """The average loss of each epoch."""
    mnist = SimpleNamespace(train=DataSet(images, np.zeros(len(images), int), seed=3))
    with tf.Session() as tfs:
        tf.global_variables_initializer().run()
        return list(vae_mnist.train(tfs, vae, mnist, epochs, batch_size, **kwargs))


# train()


def test_it_yields_the_average_loss_of_each_epoch():
    assert train(stand_in([3, 1, 6, 4]), random_images(20), range(5, 7)) == [2, 5]


def test_the_average_is_exact_where_float32_would_forget_the_small_losses():
    assert train(stand_in([2**24, 1, 1, 1]), random_images(40)) == [(2**24 + 3) / 4]


def test_between_two_epochs_others_may_use_the_session():
    mnist = SimpleNamespace(train=DataSet(random_images(29), np.zeros(29, int)))
    with tf.Session() as tfs:
        vae = stand_in()
        tf.global_variables_initializer().run()
        epochs = vae_mnist.train(tfs, vae, mnist, range(3), 10)
        assert [tfs.run(tf.train.get_global_step()) for _ in epochs] == [2, 4, 6]


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


def test_training_lowers_the_loss():
    vae = vae_mnist.VAE(0.01, n_inputs=4, n_outputs=4, n_neurons=[5], n_neurons_z=3)
    images = np.repeat(np.arange(400.0) % 2, 4).reshape(400, 4)  # each is black or white
    averages = train(vae, images, range(10))
    assert averages[-1] < 0.75 * averages[0]


def test_it_prints_the_chapters_line_for_epochs_0_9_19_and_no_other(capsys):
    losses = [[180.015625] * 2, [150] * 16, [106, 107.03125], [105] * 18, [102.578125] * 22]
    train(stand_in(chain(*losses)), random_images(20), range(29))
    assert capsys.readouterr().out.splitlines() == [
        "epoch: 0000   loss = 180.015625",
        "epoch: 0009   loss = 106.515625",
        "epoch: 0019   loss = 102.578125",
    ]


def test_it_prints_by_the_number_of_the_epoch_where_it_does_not_begin_at_0(capsys):
    train(stand_in(repeat(2)), random_images(10), range(5, 29))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["epoch: 0009   loss = 2.000000", "epoch: 0019   loss = 2.000000"]


def test_unless_told_otherwise_it_is_the_chapters_20_epochs_of_batches_of_100():
    vae = stand_in()
    mnist = SimpleNamespace(train=DataSet(random_images(200), np.zeros(200, int)))
    with tf.Session() as tfs:
        tf.global_variables_initializer().run()
        list(vae_mnist.train(tfs, vae, mnist))
    assert [(x.shape, (x == y).all()) for x, y in vae.feeds] == [((100, 4), True)] * 40


# reconstruct()


def test_the_test_images_are_drawn_clean_and_noisy_each_before_its_reconstruction(monkeypatch):
    drawn = []
    monkeypatch.setattr(vae_mnist, "display_images", lambda *args: drawn.append(args))
    images, noisy, labels = random_images(4), random_images(4, seed=13), np.array([7, 2, 1, 0])
    with tf.Session() as tfs:
        predictions = vae_mnist.reconstruct(tfs, stand_in(), images, noisy, labels, "here")
    expected = {
        "here/test_images.png": images,
        "here/Y_test_pred1.png": 1 - images,
        "here/test_images_noisy.png": noisy,
        "here/Y_test_pred2.png": 1 - noisy,
    }
    assert [path for _, _, path in drawn] == list(expected)
    for picture, titles, path in drawn:
        assert np.array_equal(picture, expected[path])
        assert titles is labels
    assert np.array_equal(predictions, [1 - images, 1 - noisy])


# evaluate()


def expected_metrics(x, y):
    rec_loss, reg_loss = np.square(x - 3 * y).sum(axis=1), np.square(x).sum(axis=1)
    return [rec_loss.mean(), reg_loss.mean(), np.square(1 - x - y).mean()]


@pytest.mark.parametrize("n", [1, 1000, 2001])
def test_metrics_are_means_over_all_images(n):
    images = random_images(n) * np.linspace(0, 1, n, dtype=np.float32)[:, None]
    with tf.Session() as tfs:
        found = evaluate(tfs, stand_in(), images)
    assert np.allclose(found, expected_metrics(images, images), rtol=1e-5)
    assert found.loss == found.rec_loss + found.reg_loss


def test_metrics_with_noise_compare_noisy_images_with_clean_ones():
    images, x = random_images(2500), []

    def noise(part):
        x.append(part + 0.25)
        return x[-1]

    with tf.Session() as tfs:
        found = evaluate(tfs, stand_in(), images, noise)
    assert max(map(len, x)) == 1000  # so that memory stays small
    assert np.allclose(found, expected_metrics(np.concatenate(x), images), rtol=1e-5)


# The test's lines


def test_the_tests_lines_tell_what_was_learned_and_both_squared_errors(capsys):
    print_test(Metrics(1.0, 0.25, 0.25), 0.25, 0.0625)
    assert capsys.readouterr().out.splitlines() == [
        "test loss = 1.250000   rec = 1.000000   reg = 0.250000",
        "test mse  = 0.250000 clean   0.062500 noisy",
    ]


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_told_with_its_place(loss):
    check_finite(3e38, "epoch 8")
    advice = "try a lower --learning-rate, or --max-log-var 2"
    with pytest.raises(FloatingPointError, match=f"^loss is {loss} in epoch 8: {advice}$"):
        check_finite(loss, "epoch 8")


# The latent space


def test_kl_by_dimension_is_the_mean_of_the_formula_and_sums_up_to_reg_loss():
    images = random_images(50)
    mean, var = 2 * images, 1 + images
    expected = ((mean**2 + var - np.log(var) - 1) / 2).mean(axis=0)
    with tf.Session() as tfs:
        assert np.allclose(kl_by_dimension(tfs, stand_in(), images), expected, rtol=1e-4)
        vae = vae_mnist.VAE(n_inputs=4, n_outputs=4, n_neurons=[5], n_neurons_z=3)
        tf.global_variables_initializer().run()
        total = kl_by_dimension(tfs, vae, images).sum()
        assert total == pytest.approx(evaluate(tfs, vae, images).reg_loss, rel=1e-4)


def test_between_two_images_z_goes_from_one_mean_to_the_other_in_even_steps():
    images = random_images(3)
    with tf.Session() as tfs:
        found, places = decode_between(tfs, stand_in(), images)
    expected = [1 - 2 * ((8 - i) * images[0] + i * images[2]) / 8 for i in range(9)]
    assert np.allclose(found, expected, atol=1e-6)
    assert (len(places), places[0], places[4], places[-1]) == (9, "0.00", "0.50", "1.00")
