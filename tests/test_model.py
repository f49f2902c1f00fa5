"""The graph, against the book's names and sizes and the formulas written out anew in NumPy."""

from contextlib import contextmanager
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from reference import ACTIVATIONS, adam, decode, forward, gradients, is_close, is_standard_normal

import vae_mnist

SIZES = {"n_inputs": 6, "n_outputs": 6, "n_neurons": [5], "n_neurons_z": 3}
UNUSED = {"w_d_z_log_var", "b_d_z_log_var"}
GRAPHS = {}  # Building takes longer than all the rest.


@contextmanager
def built(**changes):
    """A new session with first values, and a VAE of SIZES, but for the changes."""
    key = repr(sorted(changes.items()))
    if key not in GRAPHS:
        with tf.Graph().as_default() as tf_graph:
            tf.set_random_seed(1)
            vae = vae_mnist.VAE(**dict(SIZES, **changes))
            GRAPHS[key] = tf_graph, vae, tf.global_variables_initializer()
    tf_graph, vae, initializer = GRAPHS[key]
    with tf_graph.as_default(), tf.Session() as tfs:
        initializer.run()
        yield tfs, vae


def load(tfs, vae, p):
    """Set the parameters in p, as Variable.load() does, but all in one run."""
    initializers = {vae.params[key].initializer: p[key] for key in p}
    tfs.run(list(initializers), {op.inputs[1]: value for op, value in initializers.items()})


def load_random(tfs, vae):
    """Give every parameter random values, biases too. Returns them in float64."""
    rng = np.random.default_rng(4)
    shapes = {key: value.shape.as_list() for key, value in sorted(vae.params.items())}
    p = {key: rng.normal(0, 0.4, shape).astype(np.float32) for key, shape in shapes.items()}
    load(tfs, vae, p)
    return {key: value.astype(np.float64) for key, value in p.items()}


def random_batch(n_inputs, n_outputs, n_neurons_z, **_):
    """x, y and epsilon of 7 images, exact in float32; x is not y.

    The first pixel is so faint that Adam's own epsilon decides on its weights.
    """
    rng = np.random.default_rng(5)
    x = rng.random((7, n_inputs)) * ([1e-7] + [1] * (n_inputs - 1))
    y = np.clip(rng.normal(0.5, 0.5, (7, n_outputs)), 0, 1)  # some are just 0 or 1
    epsilon = rng.standard_normal((7, n_neurons_z))
    return [array.astype(np.float32).astype(np.float64) for array in (x, y, epsilon)]


BATCH = random_batch(**SIZES)


def fed(vae, batch):
    return dict(zip([vae.x, vae.y, vae.epsilon], batch))


def train_steps(tfs, vae, batch, n_steps):
    """The parameters before and after each of n_steps steps on the same batch."""
    history = [tfs.run(vae.params)]
    for _ in range(n_steps):
        tfs.run(vae.optimizer, fed(vae, batch))
        history.append(tfs.run(vae.params))
    return history


def check_steps(found, expected):
    """Compare how each step moved each parameter, in two histories from the same start."""
    assert len(found) == len(expected)
    for step in range(1, len(expected)):
        for key in expected[0]:
            move = found[step][key].astype(np.float64) - found[step - 1][key]
            expected_move = expected[step][key] - expected[step - 1][key]
            assert is_close(move, expected_move, 1e-3), (key, step)
            if key == "w_e_0000":
                assert is_close(move[0], expected_move[0], 1e-3), "the faint pixel"


# The graph's names, shapes and first values.


@pytest.mark.parametrize(
    "changes, weights",
    [
        (
            {},
            "e_0000 784x512, e_0001 512x256, e_z_mean 256x128, e_z_log_var 256x128, "
            "d_0001 128x256, d_0000 256x512, d_z_mean 512x784, d_z_log_var 512x784",
        ),
        (
            {"n_neurons": [9, 8, 7], "n_neurons_z": 2, "n_inputs": 6, "n_outputs": 5},
            "e_0000 6x9, e_0001 9x8, e_0002 8x7, e_z_mean 7x2, e_z_log_var 7x2, "
            "d_0002 2x7, d_0001 7x8, d_0000 8x9, d_z_mean 9x5, d_z_log_var 9x5",
        ),
        (
            {"n_neurons": [], "n_neurons_z": 2, "n_inputs": 6, "n_outputs": 5},
            "e_z_mean 6x2, e_z_log_var 6x2, d_z_mean 2x5, d_z_log_var 2x5",
        ),
    ],
    ids=["book", "deeper", "linear but for the sigmoid"],
)
def test_the_parameters_have_the_books_names_and_shapes(changes, weights):
    shapes = {}
    for name, shape in (weight.split() for weight in weights.split(", ")):
        shapes["w_" + name] = [int(size) for size in shape.split("x")]
        shapes["b_" + name] = shapes["w_" + name][1:]
    with tf.Graph().as_default():
        params = vae_mnist.VAE(**changes).params
        assert {key: value.shape.as_list() for key, value in params.items()} == shapes
        assert {value.op.name: key for key, value in params.items()} == {key: key for key in params}
        assert {value.op.name for value in tf.trainable_variables()} == set(params)


def test_the_placeholders_have_the_books_names_and_shapes():
    with tf.Graph().as_default():
        vae = vae_mnist.VAE()
    for placeholder, name in ((vae.x, "x"), (vae.y, "y")):
        assert (placeholder.op.name, placeholder.op.type) == (name, "Placeholder")
        assert (placeholder.dtype, placeholder.shape.as_list()) == (tf.float32, [None, 784])


def test_the_hyperparameters_are_the_books():
    assert vae_mnist.learning_rate == 0.001
    assert vae_mnist.n_epochs == 20
    assert vae_mnist.batch_size == 100
    assert vae_mnist.n_inputs == vae_mnist.n_outputs == 784
    assert vae_mnist.n_neurons == [512, 256]
    assert vae_mnist.n_neurons_z == 128
    assert vae_mnist.activation is tf.nn.tanh


def test_weights_begin_uniform_in_glorots_limits_and_biases_at_zero():
    with built(n_inputs=60, n_outputs=60, n_neurons=[50, 40], n_neurons_z=30) as (tfs, vae):
        for key, value in tfs.run(vae.params).items():
            if key.startswith("b_"):
                assert not value.any()
            else:
                limit = np.sqrt(6 / sum(value.shape))
                assert 0.98 * limit < np.abs(value).max() <= limit * (1 + 1e-6)
                assert abs(value.std() / (limit / np.sqrt(3)) - 1) < 0.05


# Values, gradients and steps, in nets of one to three hidden layers.


NETS = [
    {"n_inputs": 8, "n_outputs": 5, "n_neurons": [7, 4], "n_neurons_z": 2},
    {"n_inputs": 5, "n_outputs": 5, "n_neurons": [6], "n_neurons_z": 3},
    {"n_inputs": 7, "n_outputs": 9, "n_neurons": [6, 5, 8], "n_neurons_z": 10},
]


@pytest.fixture(
    scope="module",
    params=[*product(NETS[:1], ACTIVATIONS), *product(NETS[1:], ["tanh", "relu"])],
    ids=lambda net: "-".join([net[1], *map(str, net[0]["n_neurons"])]),
)
def net(request):
    """A net with random parameters p, and what TensorFlow makes of it and a batch."""
    sizes, activation = request.param
    batch = random_batch(**sizes)
    with built(**sizes, activation=getattr(tf.nn, activation), learning_rate=0.01) as (tfs, vae):
        p = load_random(tfs, vae)
        values = {key: getattr(vae, key) for key in forward(p, batch)}
        slopes = tf.gradients(vae.loss, list(vae.params.values()))
        slopes = {key: slope for key, slope in zip(vae.params, slopes) if slope is not None}
        values, slopes = tfs.run([values, slopes], fed(vae, batch))
        history = train_steps(tfs, vae, batch, 2)
    return SimpleNamespace(
        p=p, batch=batch, activation=activation, values=values, slopes=slopes, history=history
    )


def test_the_graph_computes_the_formulas(net):
    for key, expected in forward(net.p, net.batch, net.activation).items():
        assert is_close(net.values[key], expected, 1e-5), key


def test_the_gradients_are_the_slopes_of_the_loss(net):
    expected = gradients(net.p, net.batch, net.activation)
    for key in net.slopes:
        assert is_close(net.slopes[key], expected[key], 1e-4), key


def test_all_but_the_unused_parameters_have_a_gradient_and_are_changed_by_a_step(net):
    before, after, _ = net.history
    assert set(net.slopes) == set(net.p) - UNUSED
    assert {key for key in net.p if (before[key] != after[key]).any()} == set(net.p) - UNUSED


def test_the_first_two_training_steps_are_adams(net):
    check_steps(net.history, adam(net.p, net.batch, net.activation, [0.01, 0.01]))


def test_the_learning_rate_is_the_books_or_a_tensors_value_at_each_step():
    with built() as (tfs, vae):
        p = load_random(tfs, vae)
        history = train_steps(tfs, vae, BATCH, 6)
    check_steps(history, adam(p, BATCH, "tanh", [0.001] * 6))
    with tf.Graph().as_default(), tf.Session() as tfs:
        rate = tf.train.exponential_decay(0.02, tf.train.get_or_create_global_step(), 1, 0.5)
        vae = vae_mnist.VAE(rate, **SIZES)
        tf.global_variables_initializer().run()
        p = load_random(tfs, vae)
        history = train_steps(tfs, vae, BATCH, 3)
    check_steps(history, adam(p, BATCH, "tanh", [0.02, 0.01, 0.005]))


# The losses by themselves.


def test_reg_loss_is_the_mean_of_log_q_minus_log_p_over_samples_of_q():
    rng = np.random.default_rng(8)
    z_mean, z_log_var = rng.normal(0, 1, (2, 4, 3)).astype(np.float32)
    with built() as (tfs, vae):
        reg_loss = tfs.run(vae.reg_loss, {vae.z_mean: z_mean, vae.z_log_var: z_log_var})
    std = np.exp(z_log_var / 2)
    z = rng.normal(z_mean, std, (100000, 4, 3))
    log_q = -((z - z_mean) ** 2) / (2 * std**2) - np.log(std * np.sqrt(2 * np.pi))
    log_p = -(z**2) / 2 - np.log(np.sqrt(2 * np.pi))
    samples = np.sum(log_q - log_p, axis=2)
    standard_error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (standard_error < 0.02).all()
    assert (np.abs(reg_loss - samples.mean(axis=0)) < 4.5 * standard_error).all()


GUARD = -np.log(1e-10)  # the cost of a pixel whose probability is 0
PIXELS = [  # the model's probability of white, the pixel, what that costs in nats
    (0.5, 1, np.log(2)),
    (0.5, 0, np.log(2)),
    (0.9, 1, -np.log(0.9)),
    (2.0**-20, 1, 20 * np.log(2)),
    (1 - 2.0**-20, 0, 20 * np.log(2)),
    (1 - 2.0**-24, 0, 24 * np.log(2)),  # the last number below 1
    (0, 0, 0),
    (0, 1, GUARD),
    (1, 0, GUARD),
    (1, 1, 0),
]


def test_rec_loss_is_exact_up_to_the_last_number_below_1_and_guarded_there():
    model, y, expected = np.transpose(PIXELS)  # each makes an image of six such pixels
    with built() as (tfs, vae):
        images = {vae.model: np.tile(model, (6, 1)).T, vae.y: np.tile(y, (6, 1)).T}
        rec_loss = tfs.run(vae.rec_loss, images)
    assert np.allclose(rec_loss, 6 * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("white", [0, 1])
def test_a_saturated_sigmoid_costs_the_guard_and_leaves_gradients_and_a_step_finite(white):
    # Images with none, two and all pixels unlike a model that is white, or black, throughout.
    y = np.full((3, 6), white, np.float32)
    y[1, 2:4] = y[2] = 1 - white
    with built() as (tfs, vae):
        load(tfs, vae, {"b_d_z_mean": np.full(6, 2000 * white - 1000)})
        variables = [value for key, value in vae.params.items() if key not in UNUSED]
        feed_dict = {vae.x: y, vae.y: y}
        slopes = tfs.run(tf.gradients(vae.loss, variables), feed_dict)
        fetches = [vae.model, vae.rec_loss, vae.reg_loss, vae.loss, vae.optimizer]
        model, rec_loss, reg_loss, loss, _ = tfs.run(fetches, feed_dict)
        after = tfs.run(tf.global_variables())
    assert (model == white).all()
    assert np.allclose(rec_loss, GUARD * np.array([0, 2, 6]), rtol=1e-4, atol=1e-5)
    assert np.isclose(loss, (rec_loss + reg_loss).mean(), rtol=1e-4)
    assert all(np.isfinite(value).all() for value in [*slopes, *after])


# Chance.


def test_epsilon_is_standard_normal_and_independent_in_each_dimension_and_image():
    with built() as (tfs, vae):
        epsilon = tfs.run(vae.epsilon, {vae.x: np.zeros((50000, 6))})
    assert epsilon.shape == (50000, 3)
    assert is_standard_normal(epsilon)
    correlations = np.corrcoef(np.concatenate([epsilon[1:], epsilon[:-1]], axis=1).T)
    assert (np.abs(correlations - np.eye(6)) < 4.5 * np.sqrt(1 / 50000)).all()


def test_the_seed_decides_the_first_weights_and_epsilon_which_is_new_in_each_run():
    def draws(seed):
        with tf.Graph().as_default(), tf.Session() as tfs:
            tf.set_random_seed(seed)
            vae = vae_mnist.VAE(**SIZES)
            tf.global_variables_initializer().run()
            feed_dict = {vae.x: np.zeros((4, 6))}
            first, second = (tfs.run(vae.epsilon, feed_dict) for _ in range(2))
            assert not np.isclose(first, second).any()
            return tfs.run(vae.params["w_e_0000"]), first, second

    for value, same, different in zip(draws(1), draws(1), draws(2)):
        assert np.array_equal(value, same)
        assert not np.isclose(value, different).any()


# A bound.


def test_max_log_var_bounds_z_log_var_and_nothing_else():
    batch = random_batch(6, 6, 3)
    epsilon = batch[2]
    with built() as (tfs, vae):
        p = load_random(tfs, vae)
        free = tfs.run([vae.z_mean, vae.z_log_var], fed(vae, batch))
    with built(max_log_var=0.1) as (tfs, vae):
        load(tfs, vae, p)
        fetches = [vae.z_mean, vae.z_log_var, vae.z]
        z_mean, z_log_var, z = tfs.run(fetches, fed(vae, batch))
    assert (free[1] > 0.1).any() and (free[1] < 0.1).any()
    assert is_close(z_mean, free[0], 1e-6)
    assert is_close(z_log_var, np.clip(free[1], None, 0.1), 1e-6)
    assert is_close(z, free[0] + np.exp(np.clip(free[1], None, 0.1) / 2) * epsilon, 1e-5)


# Generating.


def test_a_fed_z_is_decoded_without_an_image():
    z = np.random.default_rng(10).standard_normal((9, 3))
    with built() as (tfs, vae):
        p = load_random(tfs, vae)
        model = tfs.run(vae.model, {vae.z: z})
    assert is_close(model, decode(p, z), 1e-5)
