"""The training, what its hooks are told, and what a model is worth afterwards.

Most graphs here are stand-ins, whose values anyone can work out; test_model.py sees to the real
one.
"""

from functools import partial
from itertools import chain, repeat
from types import SimpleNamespace
from unittest.mock import ANY, Mock, call, create_autospec

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from reference import is_standard_normal

import vae_mnist
from data import DataSet, add_noise
from harness.finite import StopAtNan
from harness.hooks import Hook, Hooks


def random_images(n, seed=12):
    return np.random.default_rng(seed).random((n, 4), dtype=np.float32)


FOUR = random_images(4), random_images(4, seed=13), np.array([7, 2, 1, 0])  # clean, noisy, labels

ADVICE = "try a lower --learning-rate, or --max-log-var 2"


@pytest.fixture(autouse=True)
def default_graph():
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        yield


@pytest.fixture
def told(monkeypatch):
    """A Hook whose mock_calls are all it is told, and the pictures drawn meanwhile."""
    told = create_autospec(Hook, instance=True)
    for name in ("display_images", "display_losses", "display_latent", "display_manifold"):
        told.attach_mock(Mock(), name)
        monkeypatch.setattr(vae_mnist, name, getattr(told, name))
    return told


def stand_in(losses=repeat(3.0), n_pixels=4):  # noqa: B008, repeat() has no state
    """A graph whose training steps have the given losses, and leave x and y in feeds."""
    losses, feeds = iter(losses), []

    def next_loss(x, y):
        feeds.append((x, y))
        return np.float32(next(losses))

    x, y = (tf.placeholder(tf.float32, [None, n_pixels]) for _ in range(2))
    z = tf.identity(x)
    return SimpleNamespace(
        x=x,
        y=y,
        z_mean=2 * x,
        z=z,
        model=1 - z,
        rec_loss=tf.reduce_sum(tf.square(x - 3 * y), 1),
        reg_loss=tf.reduce_sum(tf.square(x), 1),
        loss=tf.py_func(next_loss, [x, y], tf.float32),
        optimizer=tf.assign_add(tf.train.get_or_create_global_step(), 1),
        feeds=feeds,
    )


def train(graph, hooks, images, epochs=range(1), batch_size=10, **how):
    """Train on images, then reconstruct FOUR."""
    mnist = SimpleNamespace(train=DataSet(images, np.zeros(len(images), int), seed=3))
    how.update(figures_dir="here", hooks=hooks)
    return vae_mnist.train_and_reconstruct(graph, mnist, FOUR, epochs, batch_size, **how)


def averages(told):
    """The average loss of each epoch that told was told of."""
    return [args[1] for args, _ in told.after_epoch.call_args_list]


# train_and_reconstruct()


def test_hooks_are_told_of_each_step_and_epoch_as_it_ends(told):
    train(stand_in([3, 1, 6, 4]), Hooks(told), random_images(20), epochs=range(5, 7))
    assert told.mock_calls == [
        call.begin(ANY),
        call.after_step(5, 0, 3),
        call.after_step(5, 1, 1),
        call.after_epoch(ANY, 2),
        call.after_step(6, 0, 6),
        call.after_step(6, 1, 4),
        call.after_epoch(ANY, 5),
        call.after_training(ANY),
        *[call.display_images(ANY, ANY, ANY)] * 4,
        call.end(ANY),
    ]


def test_the_average_loss_is_exact_where_float32_would_forget_the_small_ones(told):
    train(stand_in([2**24, 1, 1, 1]), told, random_images(40))
    assert averages(told) == [(2**24 + 3) / 4]


def test_there_is_one_step_for_each_whole_batch_and_the_session_is_open_from_begin_to_end(told):
    steps = []
    for event in (told.begin, told.after_epoch, told.after_training, told.end):
        event.side_effect = lambda tfs, *_: steps.append(tfs.run(tf.train.get_global_step()))
    graph = stand_in()
    train(graph, told, random_images(29), epochs=range(3))
    assert steps == [0, 2, 4, 6, 6, 6]
    assert [x.shape for x, _ in graph.feeds] == [(10, 4)] * 6


def test_every_image_is_fed_once_an_epoch_as_x_and_as_y(told):
    graph = stand_in()
    train(graph, told, random_images(40), epochs=range(2))
    for epoch in (graph.feeds[:4], graph.feeds[4:]):
        xs, ys = map(np.concatenate, zip(*epoch))
        assert np.array_equal(xs, ys)
        assert sorted(ys.tolist()) == sorted(random_images(40).tolist())


def test_with_noise_x_is_y_plus_new_normal_numbers_of_standard_deviation_one_half(told):
    graph = stand_in()
    corrupt = partial(add_noise, rng=np.random.default_rng(13))
    train(graph, told, random_images(2000), epochs=range(2), batch_size=2000, corrupt=corrupt)
    for _, y in graph.feeds:
        assert sorted(y.tolist()) == sorted(random_images(2000).tolist())
    first, second = (np.ravel(x - y) / 0.5 for x, y in graph.feeds)
    assert is_standard_normal(np.stack([first, second], axis=1))
    assert is_standard_normal((first - second) / np.sqrt(2))


def test_training_lowers_the_loss(told):
    graph = vae_mnist.build_graph(0.01, n_inputs=4, n_outputs=4, n_neurons=[5], n_neurons_z=3)
    images = np.repeat(np.arange(400) % 2, 4).reshape(400, 4)  # each is black or white
    train(graph, told, images, epochs=range(10))
    assert averages(told)[-1] < 0.75 * averages(told)[0]


def test_it_prints_the_chapters_line_for_epochs_0_9_19_and_no_other(told, capsys):
    losses = [[180.015625] * 2, [150] * 16, [106, 107.03125], [105] * 18, [102.578125] * 22]
    train(stand_in(chain(*losses)), told, random_images(20), epochs=range(29))
    assert capsys.readouterr().out.splitlines() == [
        "epoch: 0000   loss = 180.015625",
        "epoch: 0009   loss = 106.515625",
        "epoch: 0019   loss = 102.578125",
    ]


def test_it_prints_by_the_number_of_the_epoch_where_it_does_not_begin_at_0(told, capsys):
    train(stand_in(repeat(2)), told, random_images(10), epochs=range(5, 29))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["epoch: 0009   loss = 2.000000", "epoch: 0019   loss = 2.000000"]


def test_the_test_images_are_drawn_clean_and_noisy_each_before_its_reconstruction(told):
    predictions = train(stand_in(), told, random_images(10))
    images, noisy, labels = FOUR
    expected = {
        "here/test_images.png": images,
        "here/Y_test_pred1.png": 1 - images,
        "here/test_images_noisy.png": noisy,
        "here/Y_test_pred2.png": 1 - noisy,
    }
    drawn = [args for args, _ in told.display_images.call_args_list]
    assert [path for _, _, path in drawn] == list(expected)
    for picture, titles, path in drawn:
        assert np.array_equal(picture, expected[path])
        assert titles is labels
    assert np.array_equal(predictions, [1 - images, 1 - noisy])


def test_unless_told_otherwise_it_is_the_chapters_20_epochs_of_batches_of_100(told):
    graph = stand_in()
    mnist = SimpleNamespace(train=DataSet(random_images(200), np.zeros(200, int)))
    vae_mnist.train_and_reconstruct(graph, mnist, FOUR)
    assert [(x.shape, (x == y).all()) for x, y in graph.feeds] == [((100, 4), True)] * 40
    assert told.display_images.call_args[0][2] == "figures/Y_test_pred2.png"


# The hooks.


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_stop_at_nan_ends_the_training_at_a_loss_that_is_not_finite(told, loss):
    hooks = Hooks(StopAtNan(), told)
    where = rf"^loss is {loss} in epoch 8, batch 2: {ADVICE}$"
    with pytest.raises(FloatingPointError, match=where):
        train(stand_in(chain([3] * 6, [loss])), hooks, random_images(40), epochs=range(7, 99))
    assert averages(told) == [3]
    assert not told.display_images.called


def test_stop_at_nan_ends_the_training_at_an_image_that_is_not_a_number():
    graph = vae_mnist.build_graph(n_inputs=4, n_outputs=4, n_neurons=[5], n_neurons_z=3)
    images = random_images(40)
    images[:, 1] = np.nan
    with pytest.raises(FloatingPointError, match=r"\bepoch 0, batch 0\b"):
        train(graph, StopAtNan(), images)


def test_several_hooks_are_told_the_same_each_in_turn(told):
    both = Mock()
    train(stand_in(), Hooks(both.first, None, both.second), random_images(10))
    events = ["begin", "after_step", "after_epoch", "after_training", "end"]
    turns = [f"{hook}.{event}" for event in events for hook in ("first", "second")]
    assert [name for name, _, _ in both.mock_calls] == turns
    assert both.first.mock_calls == both.second.mock_calls


# evaluate()


def expected_evaluation(x, y):
    rec_loss, reg_loss = np.square(x - 3 * y).sum(axis=1), np.square(x).sum(axis=1)
    return [rec_loss.mean(), reg_loss.mean(), np.square(1 - x - y).mean()]


@pytest.mark.parametrize("n", [1, 999, 1000, 1500, 2001])
def test_an_evaluation_is_the_mean_over_all_images(n):
    images = random_images(n) * np.linspace(0, 1, n, dtype=np.float32)[:, None]
    with tf.Session() as tfs:
        found = vae_mnist.evaluate(tfs, stand_in(), images)
    assert np.allclose(found, expected_evaluation(images, images), rtol=1e-5)
    assert (found.rec_loss, found.reg_loss, found.mse) == found
    assert found.loss == found.rec_loss + found.reg_loss


def test_an_evaluation_with_noise_compares_noisy_images_with_clean_ones():
    images, graph = random_images(2500), stand_in()
    with tf.Session() as session:
        tfs = Mock(wraps=session)
        found = vae_mnist.evaluate(
            tfs, graph, images, partial(add_noise, rng=np.random.default_rng(14))
        )
    parts = [how["feed_dict"][graph.x] for _, how in tfs.run.call_args_list]
    assert max(map(len, parts)) == 1000  # so that memory stays small
    x = np.concatenate(parts)
    assert np.allclose(found, expected_evaluation(x, images), rtol=1e-5)
    assert is_standard_normal(np.ravel(x - images) / 0.5)


def test_an_evaluation_changes_no_variable():
    graph = vae_mnist.build_graph(n_inputs=4, n_outputs=4, n_neurons=[5], n_neurons_z=3)
    with tf.Session() as tfs:
        tf.global_variables_initializer().run()
        before = tfs.run(tf.global_variables())
        vae_mnist.evaluate(tfs, graph, random_images(1500))
        after = tfs.run(tf.global_variables())
    assert all(np.array_equal(value, same) for value, same in zip(before, after))


# BeyondTheChapter. Images are 0.25 throughout, and noisy ones 1.


CLEAN = "loss = 1.250000   rec = 1.000000   reg = 0.250000"
NOISY = "loss = 4.250000   rec = 0.250000   reg = 4.000000"
QUARTERS = DataSet(np.full((20, 4), 0.25, np.float32), np.zeros(20, int))


def whiten(images):
    return images + 0.75


def beyond(n_pixels=4, rng=None, corrupt=np.asarray, **sets):
    graph = stand_in(n_pixels=n_pixels)
    return vae_mnist.BeyondTheChapter(graph, SimpleNamespace(**sets), rng, corrupt, "here")


@pytest.mark.parametrize("corrupt, loss", [(np.asarray, 1.25), (whiten, 4.25)])
def test_the_losses_of_an_epoch_are_of_training_and_validation(corrupt, loss):
    hook = beyond(corrupt=corrupt, validation=QUARTERS)
    with tf.Session() as tfs:
        hook.after_epoch(tfs, 7.0)
        hook.after_epoch(tfs, 6.0)
    assert hook.losses == [(7, loss), (6, loss)]


def test_a_validation_loss_that_is_not_finite_ends_the_training():
    hook = beyond(validation=DataSet(np.full((1, 4), np.nan), np.zeros(1)))
    hook.losses.append((1.0, 1.0))
    where = f"^loss is nan in epoch 1, validation: {ADVICE}$"
    with tf.Session() as tfs, pytest.raises(FloatingPointError, match=where):
        hook.after_epoch(tfs, 1.0)


@pytest.fixture
def tested(capsys, monkeypatch):
    """A function that tests QUARTERS, with white for noise: the hook, and the lines printed."""

    def test(corrupt, white=0.75):
        monkeypatch.setattr(vae_mnist, "add_noise", lambda images, rng: images + white)
        hook = beyond(corrupt=corrupt, test=QUARTERS)
        with tf.Session() as tfs:
            hook.after_training(tfs)
        return hook, capsys.readouterr().out.splitlines()

    return test


@pytest.mark.parametrize("corrupt, learned", [(np.asarray, CLEAN), (whiten, NOISY)])
def test_the_test_loss_is_of_what_was_learned(tested, corrupt, learned):
    hook, lines = tested(corrupt)
    assert lines == [f"test {learned}", "test mse  = 0.250000 clean   0.062500 noisy"]
    assert hook.results == {
        "test mse of clean images": 0.25,
        "test mse of noisy images": 0.0625,
        "test loss": float(learned.split()[2]),
    }


@pytest.mark.parametrize("corrupt, loss", [(np.asarray, [f"test {CLEAN}"]), (whiten, [])])
def test_a_test_number_that_is_not_finite_is_left_out(tested, corrupt, loss):
    hook, lines = tested(corrupt, white=np.nan)
    assert lines == [*loss, "test mse  = 0.250000 clean"]
    assert hook.results["test mse of clean images"] == 0.25
    assert np.isnan(hook.results["test mse of noisy images"])


def test_an_infinite_test_loss_is_left_out_even_where_each_mse_is_finite(capsys):
    hook = beyond(rng=np.random.default_rng(17), test=QUARTERS)
    hook.graph.reg_loss = tf.fill([20], np.inf)
    with tf.Session() as tfs:
        hook.after_training(tfs)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("test mse  = 0.250000 clean")
    assert hook.results["test loss"] == np.inf


def test_the_last_pictures_are_a_hundred_new_images_and_the_losses(told):
    hook = beyond(rng=np.random.default_rng(15))
    with tf.Session() as tfs:
        hook.end(tfs)
    assert [name for name, _, _ in told.mock_calls] == ["display_images", "display_losses"]
    told.display_losses.assert_called_once_with(hook.losses, "here/loss.png")
    samples, *how = told.display_images.call_args[0]
    assert how == [None, "here/samples.png", "Decoded from z ~ N(0, I)"]
    assert samples.shape == (100, 4)
    assert is_standard_normal(1 - samples)


def test_a_flat_latent_space_is_drawn_too(told):
    test = DataSet(random_images(20)[:, :2], np.arange(20))
    hook = beyond(n_pixels=2, rng=np.random.default_rng(16), test=test)
    with tf.Session() as tfs:
        hook.end(tfs)
        z_mean, *how = told.display_latent.call_args[0]
        assert np.array_equal(z_mean, 2 * test.images)
        assert how[0] is test.labels and how[1] == "here/latent.png"
        decode, path = told.display_manifold.call_args[0]
        assert (decode([[0, 0.25]]).tolist(), path) == ([[1, 0.75]], "here/manifold.png")
