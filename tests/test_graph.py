"""The model: its graph against formulas written out anew in NumPy, its training and evaluation.

Nothing here asks the code under test what to expect. Sizes, names and hyperparameters are the
chapter's; values and gradients come from Kingma and Welling 2014, in float64 and by hand.
"""

from contextlib import contextmanager
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from data import DataSet

SIZES = {"n_inputs": 6, "n_outputs": 6, "n_neurons": [5], "n_neurons_z": 3}
NAMES = ["z_mean", "z_log_var", "z", "model", "rec_loss", "reg_loss", "loss"]
UNUSED = ["w_d_z_log_var", "b_d_z_log_var"]
GRAPHS = {}  # Building takes longer than all the rest.


@contextmanager
def built(**how):
    """A new session with first values, and a graph of SIZES, but for what how says."""
    key = repr(sorted(how.items()))
    if key not in GRAPHS:
        with tf.Graph().as_default() as tf_graph:
            tf.set_random_seed(1)
            graph = vae_mnist.build_graph(**dict(SIZES, **how))
            GRAPHS[key] = tf_graph, graph, tf.global_variables_initializer()
    tf_graph, graph, initializer = GRAPHS[key]
    with tf_graph.as_default(), tf.Session() as tfs:
        initializer.run()
        yield tfs, graph


# The independent implementation. p: the parameters by name; float64 throughout.


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# Each with its derivative, both as functions of what goes in.
ACTIVATIONS = {
    "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "relu": (lambda a: a * (a > 0), lambda a: 1.0 * (a > 0)),
    "sigmoid": (sigmoid, lambda a: sigmoid(a) * sigmoid(-a)),
    "elu": (lambda a: np.where(a > 0, a, np.exp(a) - 1), lambda a: np.where(a > 0, 1, np.exp(a))),
    "softplus": (lambda a: np.log(1 + np.exp(a)), sigmoid),
}


def names_of_layers(p):
    """The hidden layers in the order they are applied: the encoder's, then the decoder's."""
    depth = sum(key.startswith("w_e_0") for key in p)
    return [f"e_000{i}" for i in range(depth)], [f"d_000{i}" for i in reversed(range(depth))]


def numpy_hidden(p, names, h, activation, tape):
    """h after the layers of these names; notes in tape what goes into each, and its sums."""
    for name in names:
        tape[name] = h, h @ p["w_" + name] + p["b_" + name]
        h = ACTIVATIONS[activation][0](tape[name][1])
    return h


def numpy_decode(p, z, activation, tape=None):
    """The probability of each pixel to be white; the last hidden layer goes into tape."""
    tape = {} if tape is None else tape
    tape["h_d"] = numpy_hidden(p, names_of_layers(p)[1], z, activation, tape)
    return sigmoid(tape["h_d"] @ p["w_d_z_mean"] + p["b_d_z_mean"])


def numpy_forward(p, batch, activation="tanh"):
    """Everything up to the loss, by the names of the graph, with a tape for the way back."""
    x, y, epsilon = batch
    tape = {}
    h = tape["h_e"] = numpy_hidden(p, names_of_layers(p)[0], x, activation, tape)
    z_mean = h @ p["w_e_z_mean"] + p["b_e_z_mean"]
    z_log_var = h @ p["w_e_z_log_var"] + p["b_e_z_log_var"]
    z = z_mean + np.exp(z_log_var / 2) * epsilon
    model = numpy_decode(p, z, activation, tape)
    rec_loss = -np.sum(y * np.log(model) + (1 - y) * np.log(1 - model), axis=1)
    reg_loss = np.sum((z_mean**2 + np.exp(z_log_var) - z_log_var - 1) / 2, axis=1)
    loss = np.mean(rec_loss + reg_loss)
    values = z_mean, z_log_var, z, model, rec_loss, reg_loss, loss
    return dict(zip(NAMES, values), tape=tape)


def numpy_gradients(p, batch, activation="tanh"):
    """The loss's derivative by each parameter that it depends on, by backpropagation."""
    _, y, epsilon = batch
    at = numpy_forward(p, batch, activation)
    tape, gradients, n = at["tape"], {}, len(y)

    def back(name, h, delta):
        gradients["w_" + name], gradients["b_" + name] = h.T @ delta, delta.sum(axis=0)
        return delta @ p["w_" + name].T

    def back_hidden(names, delta):
        for name in reversed(names):
            h, a = tape[name]
            delta = back(name, h, delta * ACTIVATIONS[activation][1](a))
        return delta

    encoder, decoder = names_of_layers(p)
    by_z = back_hidden(decoder, back("d_z_mean", tape["h_d"], (at["model"] - y) / n))
    by_mean = by_z + at["z_mean"] / n
    by_log_var = by_z * epsilon * np.exp(at["z_log_var"] / 2) / 2
    by_log_var += (np.exp(at["z_log_var"]) - 1) / (2 * n)
    by_h = back("e_z_mean", tape["h_e"], by_mean) + back("e_z_log_var", tape["h_e"], by_log_var)
    back_hidden(encoder, by_h)
    return gradients


def numpy_adam(p, batch, activation, rates):
    """The parameters before and after each step of Adam, one step for each learning rate.

    Kingma and Ba 2015, section 2: the form with epsilon hat, which is TensorFlow 1's.
    """
    m, v, history = dict.fromkeys(p, 0), dict.fromkeys(p, 0), [p]
    for t, rate in enumerate(rates, start=1):
        p = dict(p)
        for key, g in numpy_gradients(p, batch, activation).items():
            m[key] = 0.9 * m[key] + 0.1 * g
            v[key] = 0.999 * v[key] + 0.001 * g**2
            corrected = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            p[key] = p[key] - corrected * m[key] / (np.sqrt(v[key]) + 1e-8)
        history.append(p)
    return history


# What brings the two together.


def random_batch(sizes=SIZES, n=7, seed=5):
    """x, y and epsilon, float32 as the graph sees them, for n images; x is not y.

    The first pixel is so faint that Adam's own epsilon decides on its weights.
    """
    rng = np.random.default_rng(seed)
    x = rng.random((n, sizes["n_inputs"])) * ([1e-7] + [1] * (sizes["n_inputs"] - 1))
    y = np.clip(rng.normal(0.5, 0.5, (n, sizes["n_outputs"])), 0, 1)  # some are just 0 or 1
    epsilon = rng.standard_normal((n, sizes["n_neurons_z"]))
    return [array.astype(np.float32) for array in (x, y, epsilon)]


def as_float64(batch):
    return [array.astype(np.float64) for array in batch]


def fed(graph, batch):
    return dict(zip([graph.x, graph.y, graph.epsilon], batch))


def load(tfs, graph, p):
    """Set the parameters in p, as Variable.load() does, but all in one run."""
    initializers = {graph.params[key].initializer: p[key] for key in p}
    tfs.run(list(initializers), {op.inputs[1]: value for op, value in initializers.items()})


def load_random(tfs, graph, seed=4):
    """Give every parameter random values, biases too. Returns them in float64."""
    rng = np.random.default_rng(seed)
    shapes = {key: value.shape.as_list() for key, value in sorted(graph.params.items())}
    p = {key: rng.normal(0, 0.4, shape).astype(np.float32) for key, shape in shapes.items()}
    load(tfs, graph, p)
    return {key: value.astype(np.float64) for key, value in p.items()}


def distance(found, expected):
    """How far found is from expected, relative to the norm of that."""
    assert np.shape(found) == np.shape(expected)
    return np.linalg.norm(np.ravel(found - expected)) / np.linalg.norm(np.ravel(expected))


def check_updates(found, expected):
    """Compare how each step moved each parameter, in two histories from the same start."""
    for step in range(1, len(expected)):
        for key in expected[0]:
            move = found[step][key].astype(np.float64) - found[step - 1][key]
            expected_move = expected[step][key] - expected[step - 1][key]
            if key in UNUSED:
                assert not move.any()
                continue
            assert distance(move, expected_move) < 1e-3, (key, step)
            assert distance(found[step][key], expected[step][key]) < 1e-4, (key, step)
            if key == "w_e_0000":
                assert distance(move[0], expected_move[0]) < 1e-3, "the faint pixel"


def train_steps(tfs, graph, batch, n_steps):
    """The parameters before and after each of n_steps steps on the same batch."""
    history = [tfs.run(graph.params)]
    for _ in range(n_steps):
        tfs.run(graph.optimizer, fed(graph, batch))
        history.append(tfs.run(graph.params))
    return history


SHAPES = [
    {"n_inputs": 8, "n_outputs": 5, "n_neurons": [7, 4], "n_neurons_z": 2},
    {"n_inputs": 5, "n_outputs": 5, "n_neurons": [6], "n_neurons_z": 3},
    {"n_inputs": 7, "n_outputs": 9, "n_neurons": [6, 5, 8], "n_neurons_z": 10},
]


@pytest.fixture(
    scope="module",
    params=[*product(SHAPES[:1], ACTIVATIONS), *product(SHAPES[1:], ["tanh", "relu"])],
    ids=lambda case: "-".join([case[1], *map(str, case[0]["n_neurons"])]),
)
def case(request):
    """One net, the same in TensorFlow and in NumPy: what each makes of the same batch."""
    sizes, activation = request.param
    batch = random_batch(sizes)
    with built(**sizes, activation=getattr(tf.nn, activation), learning_rate=0.01) as (tfs, graph):
        p = load_random(tfs, graph)
        values = tfs.run({name: getattr(graph, name) for name in NAMES}, fed(graph, batch))
        used = {key: value for key, value in graph.params.items() if key not in UNUSED}
        gradients = dict(zip(used, tf.gradients(graph.loss, list(used.values()))))
        gradients = tfs.run(gradients, fed(graph, batch))
        history = train_steps(tfs, graph, batch, 2)
    batch = as_float64(batch)
    return SimpleNamespace(
        values=values,
        expected_values=numpy_forward(p, batch, activation),
        gradients=gradients,
        expected_gradients=numpy_gradients(p, batch, activation),
        history=history,
        expected_history=numpy_adam(p, batch, activation, [0.01, 0.01]),
    )


# The graph's names, shapes and first values.


CHAPTER_WEIGHTS = {
    "w_e_0000": [784, 512],
    "w_e_0001": [512, 256],
    "w_e_z_mean": [256, 128],
    "w_e_z_log_var": [256, 128],
    "w_d_0001": [128, 256],
    "w_d_0000": [256, 512],
    "w_d_z_mean": [512, 784],
    "w_d_z_log_var": [512, 784],
}
SHALLOW_WEIGHTS = {
    "w_e_0000": [6, 7],
    "w_e_z_mean": [7, 2],
    "w_e_z_log_var": [7, 2],
    "w_d_0000": [2, 7],
    "w_d_z_mean": [7, 5],
    "w_d_z_log_var": [7, 5],
}
DEEP_WEIGHTS = {
    "w_e_0000": [6, 9],
    "w_e_0001": [9, 8],
    "w_e_0002": [8, 7],
    "w_e_z_mean": [7, 2],
    "w_e_z_log_var": [7, 2],
    "w_d_0002": [2, 7],
    "w_d_0001": [7, 8],
    "w_d_0000": [8, 9],
    "w_d_z_mean": [9, 5],
    "w_d_z_log_var": [9, 5],
}


@pytest.mark.parametrize(
    "how, weights",
    [
        ({}, CHAPTER_WEIGHTS),
        ({"n_neurons": [7], "n_neurons_z": 2, "n_inputs": 6, "n_outputs": 5}, SHALLOW_WEIGHTS),
        ({"n_neurons": [9, 8, 7], "n_neurons_z": 2, "n_inputs": 6, "n_outputs": 5}, DEEP_WEIGHTS),
    ],
    ids=["chapter", "shallow", "deep"],
)
def test_the_parameters_have_the_chapters_names_and_shapes(how, weights):
    biases = {"b" + key[1:]: shape[1:] for key, shape in weights.items()}
    with tf.Graph().as_default():
        params = vae_mnist.build_graph(**how).params
        shapes = {key: value.shape.as_list() for key, value in params.items()}
        assert shapes == dict(weights, **biases)
        assert {value.op.name: key for key, value in params.items()} == {key: key for key in params}
        assert {value.op.name for value in tf.trainable_variables()} == set(params)


def test_the_placeholders_have_the_chapters_names_and_shapes():
    with tf.Graph().as_default():
        graph = vae_mnist.build_graph()
        for placeholder, name in ((graph.x, "x"), (graph.y, "y")):
            assert placeholder.op.name == name
            assert placeholder.op.type == "Placeholder"
            assert placeholder.dtype == tf.float32
            assert placeholder.shape.as_list() == [None, 784]


def test_the_hyperparameters_are_the_chapters():
    assert vae_mnist.learning_rate == 0.001
    assert vae_mnist.n_epochs == 20
    assert vae_mnist.batch_size == 100
    assert vae_mnist.n_inputs == vae_mnist.n_outputs == 784
    assert vae_mnist.n_neurons == [512, 256]
    assert vae_mnist.n_neurons_z == 128
    assert vae_mnist.activation is tf.nn.tanh


def test_a_graph_is_tanh_and_learns_at_0_001_unless_told_otherwise():
    batch = random_batch()
    with built() as (tfs, graph):
        p = load_random(tfs, graph)
        model = tfs.run(graph.model, fed(graph, batch))
        history = train_steps(tfs, graph, batch, 1)
    assert distance(model, numpy_forward(p, as_float64(batch), "tanh")["model"]) < 1e-5
    # Where the gradient is not tiny, Adam's first step is as long as the learning rate.
    move = np.abs(history[1]["b_d_z_mean"] - history[0]["b_d_z_mean"])
    assert np.allclose(move, 0.001, rtol=1e-3)


def test_weights_begin_uniform_in_glorots_limits_and_biases_at_zero():
    with built(n_inputs=60, n_outputs=60, n_neurons=[50, 40], n_neurons_z=30) as (tfs, graph):
        for key, value in tfs.run(graph.params).items():
            if key.startswith("b_"):
                assert not value.any()
            else:
                limit = np.sqrt(6 / sum(value.shape))
                assert 0.98 * limit < np.abs(value).max() <= limit * (1 + 1e-6)
                assert abs(value.std() / (limit / np.sqrt(3)) - 1) < 0.05


def test_layers_of_the_same_shape_begin_with_different_weights():
    with built() as (tfs, graph):
        params = tfs.run(graph.params)
    assert not np.isclose(params["w_e_z_mean"], params["w_e_z_log_var"]).any()
    assert not np.isclose(params["w_d_z_mean"], params["w_d_z_log_var"]).any()


def test_the_unused_parameters_get_no_gradient():
    with built() as (_, graph):
        gradients = tf.gradients(graph.loss, list(graph.params.values()))
        assert [key for key, g in zip(graph.params, gradients) if g is None] == UNUSED


def test_a_training_step_changes_all_but_the_unused_parameters():
    with built() as (tfs, graph):
        load_random(tfs, graph)
        before, after = train_steps(tfs, graph, random_batch(), 1)
    assert {key for key in before if np.array_equal(before[key], after[key])} == set(UNUSED)


def test_a_training_step_counts_in_the_global_step():
    with built() as (tfs, graph):
        train_steps(tfs, graph, random_batch(), 3)
        assert tfs.run(tf.train.get_global_step()) == 3


# Values, gradients and steps against the independent implementation.


def test_the_graph_computes_the_formulas(case):
    for name in NAMES:
        assert distance(case.values[name], case.expected_values[name]) < 1e-5, name


def test_the_losses_are_numbers_for_each_image_and_one_for_the_batch(case):
    assert case.values["rec_loss"].shape == case.values["reg_loss"].shape == (7,)
    assert case.values["loss"].shape == ()


def test_the_gradients_are_those_worked_out_by_hand(case):
    assert set(case.gradients) == set(case.expected_gradients)
    for key, expected in case.expected_gradients.items():
        assert distance(case.gradients[key], expected) < 1e-4, key


def test_the_first_two_training_steps_are_adams(case):
    check_updates(case.history, case.expected_history)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradients_worked_out_by_hand_are_the_slopes_of_the_loss(activation):
    rng = np.random.default_rng(6)
    shapes = {
        "w_e_0000": (4, 3),
        "w_e_0001": (3, 2),
        "w_e_z_mean": (2, 2),
        "w_e_z_log_var": (2, 2),
        "w_d_0001": (2, 2),
        "w_d_0000": (2, 3),
        "w_d_z_mean": (3, 4),
    }
    shapes.update({"b" + key[1:]: shape[1:] for key, shape in shapes.items()})
    p = {key: rng.normal(0, 0.7, shape) for key, shape in shapes.items()}
    batch = rng.random((3, 4)), rng.random((3, 4)), rng.standard_normal((3, 2))
    gradients = numpy_gradients(p, batch, activation)
    assert set(gradients) == set(p)
    for key in p:
        slopes = np.empty(shapes[key])
        for index in np.ndindex(*shapes[key]):
            losses = []
            for change in (1e-5, -1e-5):
                there = dict(p, **{key: p[key].copy()})
                there[key][index] += change
                losses.append(numpy_forward(there, batch, activation)["loss"])
            slopes[index] = (losses[0] - losses[1]) / 2e-5
        assert distance(gradients[key], slopes) < 1e-7, key


def test_the_graphs_gradients_are_the_slopes_of_its_own_loss():
    rng = np.random.default_rng(7)
    with built() as (tfs, graph):
        p = load_random(tfs, graph)
        feed_dict = fed(graph, random_batch())
        keys = sorted(set(p) - set(UNUSED))
        gradients = tf.gradients(graph.loss, [graph.params[key] for key in keys])
        for key, gradient in zip(keys, tfs.run(gradients, feed_dict)):
            # Not quite along the gradient, where a slope would tell its length alone.
            direction = gradient / np.linalg.norm(gradient) + rng.normal(0, 0.3, gradient.shape)
            direction /= np.linalg.norm(direction)
            losses = []
            for step in (0.02, -0.02, 0):  # and back
                load(tfs, graph, {key: p[key] + step * direction})
                losses.append(tfs.run(graph.loss, feed_dict))
            slope = (losses[0] - losses[1]) / 0.04
            assert abs(slope - np.sum(gradient * direction)) < 0.005 * np.linalg.norm(gradient), key


# The losses by themselves.


def test_reg_loss_is_the_mean_of_log_q_minus_log_p_over_samples_of_q():
    rng = np.random.default_rng(8)
    z_mean, z_log_var = rng.normal(0, 1, (2, 4, 3)).astype(np.float32)
    with built() as (tfs, graph):
        reg_loss = tfs.run(graph.reg_loss, {graph.z_mean: z_mean, graph.z_log_var: z_log_var})
    std = np.exp(z_log_var / 2)
    z = rng.normal(z_mean, std, (100000, 4, 3))
    log_q = -((z - z_mean) ** 2) / (2 * std**2) - np.log(std * np.sqrt(2 * np.pi))
    log_p = -(z**2) / 2 - np.log(np.sqrt(2 * np.pi))
    samples = np.sum(log_q - log_p, axis=2)
    standard_error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (standard_error < 0.02).all()
    assert (np.abs(reg_loss - samples.mean(axis=0)) < 4.5 * standard_error).all()


def test_reg_loss_is_zero_where_q_is_the_prior_and_positive_elsewhere():
    off = 0.1 * np.concatenate(
        [np.eye(6), -np.eye(6), np.random.default_rng(9).normal(size=(9, 6))]
    )
    at = np.concatenate([np.zeros((1, 6)), off])
    with built() as (tfs, graph):
        feed_dict = {graph.z_mean: at[:, :3], graph.z_log_var: at[:, 3:]}
        reg_loss = tfs.run(graph.reg_loss, feed_dict)
    assert reg_loss[0] == 0
    assert (reg_loss[1:] > 1e-3).all()


def test_rec_loss_is_exact_up_to_the_last_number_below_1():
    model = np.array([1 - 2.0**-24, 1 - 2.0**-20, 2.0**-20, 0.5, 0.5, 0.9], np.float32)
    y = np.array([0, 0, 1, 1, 0, 1])
    expected = np.log(2) * (24 + 20 + 20 + 1 + 1) - np.log(0.9)
    with built() as (tfs, graph):
        rec_loss = tfs.run(graph.rec_loss, {graph.model: [model], graph.y: [y]})
    assert np.allclose(rec_loss, expected, rtol=1e-4)


def wrong_pixels(white):
    """y, (3, 6), with none, two and all pixels unlike a model that is white, or black, throughout.

    And what that costs: each wrong pixel has a probability of 1e-10 instead of 0.
    """
    y = np.full((3, 6), white, np.float32)
    y[1, 2:4] = y[2] = 1 - white
    return y, -np.log(1e-10) * np.array([0, 2, 6])


@pytest.mark.parametrize("white", [0, 1])
def test_a_wrong_pixel_of_a_fed_model_costs_the_guards_logarithm(white):
    y, expected = wrong_pixels(white)
    with built() as (tfs, graph):
        rec_loss = tfs.run(graph.rec_loss, {graph.model: np.full((3, 6), white), graph.y: y})
    assert np.allclose(rec_loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("white", [0, 1])
def test_a_saturated_sigmoid_costs_the_guards_logarithm(white):
    y, expected = wrong_pixels(white)
    with built() as (tfs, graph):
        load(tfs, graph, {"b_d_z_mean": np.full(6, 1000 * (2 * white - 1))})
        fetches = [graph.model, graph.rec_loss, graph.reg_loss, graph.loss]
        model, rec_loss, reg_loss, loss = tfs.run(fetches, {graph.x: y, graph.y: y})
    assert (model == white).all()
    assert np.allclose(rec_loss, expected, rtol=1e-4, atol=1e-5)
    assert np.isclose(loss, expected.mean() + reg_loss.mean(), rtol=1e-4)


@pytest.mark.parametrize("white", [0, 1])
def test_a_saturated_sigmoid_leaves_the_gradients_and_a_step_finite(white):
    y, _ = wrong_pixels(white)
    with built() as (tfs, graph):
        load(tfs, graph, {"b_d_z_mean": np.full(6, 1000 * (2 * white - 1))})
        variables = [graph.params[key] for key in graph.params if key not in UNUSED]
        feed_dict = {graph.x: y, graph.y: y}
        gradients = tfs.run(tf.gradients(graph.loss, variables), feed_dict)
        _, loss = tfs.run([graph.optimizer, graph.loss], feed_dict)
        after = tfs.run(tf.global_variables())
    for value in [*gradients, loss, *after]:
        assert np.isfinite(value).all()


# Chance.


def test_z_is_normal_around_z_mean_with_the_variance_exp_of_z_log_var():
    n, mean, variance = 50000, np.array([-2, 0, 1]), np.array([0.1, 1, 9])
    with built() as (tfs, graph):
        load(tfs, graph, {key: np.zeros((5, 3)) for key in ("w_e_z_mean", "w_e_z_log_var")})
        load(tfs, graph, {"b_e_z_mean": mean, "b_e_z_log_var": np.log(variance)})
        z = tfs.run(graph.z, {graph.x: np.zeros((n, 6))})
    assert (np.abs(z.mean(axis=0) - mean) < 4.5 * np.sqrt(variance / n)).all()
    assert (np.abs(z.var(axis=0) / variance - 1) < 4.5 * np.sqrt(2 / n)).all()


def test_epsilon_is_standard_normal_and_independent_in_each_dimension_and_image():
    n = 50000
    with built() as (tfs, graph):
        epsilon = tfs.run(graph.epsilon, {graph.x: np.zeros((n, 6))})
    assert epsilon.shape == (n, 3)
    assert (np.abs(epsilon.mean(axis=0)) < 4.5 * np.sqrt(1 / n)).all()
    assert (np.abs((epsilon**2).mean(axis=0) - 1) < 4.5 * np.sqrt(2 / n)).all()
    assert (np.abs((epsilon**4).mean(axis=0) - 3) < 4.5 * np.sqrt(96 / n)).all()
    correlations = np.corrcoef(np.concatenate([epsilon[1:], epsilon[:-1]], axis=1).T)
    assert (np.abs(correlations - np.eye(6)) < 4.5 * np.sqrt(1 / n)).all()


def test_epsilon_is_fresh_in_each_run():
    with built() as (tfs, graph):
        first, second = (tfs.run(graph.epsilon, {graph.x: np.zeros((4, 6))}) for _ in range(2))
    assert not np.isclose(first, second).any()


def test_with_epsilon_fed_a_run_repeats_itself():
    with built() as (tfs, graph):
        fetches = [graph.z, graph.model, graph.rec_loss, graph.loss]
        feed_dict = fed(graph, random_batch())
        for first, second in zip(tfs.run(fetches, feed_dict), tfs.run(fetches, feed_dict)):
            assert np.array_equal(first, second)


def test_the_seed_decides_the_first_weights_and_epsilon():
    def draws(seed):
        with tf.Graph().as_default(), tf.Session() as tfs:
            tf.set_random_seed(seed)
            graph = vae_mnist.build_graph(**SIZES)
            tf.global_variables_initializer().run()
            fetches = [graph.params["w_e_0000"], graph.epsilon]
            return [tfs.run(fetches, {graph.x: np.zeros((4, 6))}) for _ in range(2)]

    for run, again, other in zip(draws(1), draws(1), draws(2)):
        for value, same, different in zip(run, again, other):
            assert np.array_equal(value, same)
            assert not np.isclose(value, different).any()


# Generating.


def test_a_fed_z_is_decoded_without_an_image():
    z = np.random.default_rng(10).standard_normal((9, 3))
    with built() as (tfs, graph):
        p = load_random(tfs, graph)
        model = tfs.run(graph.model, {graph.z: z})
    assert distance(model, numpy_decode(p, z, "tanh")) < 1e-5


def test_the_model_stays_within_0_and_1_for_any_z_and_any_weights():
    z = np.random.default_rng(11).standard_normal((50, 3)) * np.logspace(-3, 30, 50)[:, None]
    with built() as (tfs, graph):
        p = load_random(tfs, graph)
        load(tfs, graph, {"w_d_z_mean": 1e30 * p["w_d_z_mean"]})
        model = tfs.run(graph.model, {graph.z: z})
    assert model.min() == 0
    assert model.max() == 1


# The learning rate.


def test_without_decay_steps_the_learning_rate_is_constant():
    batch = random_batch()
    with built(learning_rate=0.01) as (tfs, graph):
        p = load_random(tfs, graph)
        history = train_steps(tfs, graph, batch, 6)
    check_updates(history, numpy_adam(p, as_float64(batch), "tanh", [0.01] * 6))


def test_with_decay_steps_the_learning_rate_falls_on_a_cosine():
    batch = random_batch()
    with built(learning_rate=0.02, decay_steps=5) as (tfs, graph):
        p = load_random(tfs, graph)
        history = train_steps(tfs, graph, batch, 5)
    rates = [0.02 * 0.5 * (1 + np.cos(np.pi * t / 5)) for t in range(5)]
    check_updates(history, numpy_adam(p, as_float64(batch), "tanh", rates))


def test_after_decay_steps_nothing_moves_any_more():
    with built(learning_rate=0.02, decay_steps=5) as (tfs, graph):
        *_, before_last, last, one_more, two_more = train_steps(tfs, graph, random_batch(), 7)
    for key in set(last) - set(UNUSED):
        assert not np.array_equal(before_last[key], last[key])
        assert np.array_equal(last[key], one_more[key])
        assert np.array_equal(last[key], two_more[key])


# train()


class Recorder:
    """A session that also keeps what each run was fed, and the loss in it."""

    def __init__(self, tfs, graph):
        self.tfs, self.graph = tfs, graph
        self.feeds, self.losses = [], []

    def run(self, fetches, feed_dict):
        results, loss = self.tfs.run([fetches, self.graph.loss], feed_dict=feed_dict)
        self.feeds.append(feed_dict)
        self.losses.append(float(loss))
        return results

    def fed(self, placeholder):
        return [feed_dict[placeholder] for feed_dict in self.feeds]


class FakeSession:
    """A session whose every run has the next of the given losses."""

    graph = SimpleNamespace(x="x", y="y", optimizer="optimizer", loss="loss")

    def __init__(self, losses):
        self.losses = iter(losses)

    def run(self, fetches, feed_dict):
        return [next(self.losses) if fetch == "loss" else None for fetch in fetches]


def random_images(n, seed=12):
    return np.random.default_rng(seed).random((n, 6), dtype=np.float32)


def random_data_set(n):
    return DataSet(random_images(n), np.zeros(n, int), seed=3)


def test_train_yields_the_mean_of_each_epochs_batch_losses():
    with built() as (tfs, graph):
        recorder = Recorder(tfs, graph)
        averages = list(vae_mnist.train(recorder, graph, random_data_set(40), range(3), 10))
    assert np.allclose(averages, np.reshape(recorder.losses, (3, 4)).mean(axis=1), rtol=1e-9)
    assert len(set(averages)) == 3


def test_train_takes_one_step_for_each_whole_batch():
    with built() as (tfs, graph):
        recorder = Recorder(tfs, graph)
        list(vae_mnist.train(recorder, graph, random_data_set(29), range(3), 10))
        assert tfs.run(tf.train.get_global_step()) == 3 * 2
    assert [x.shape for x in recorder.fed(graph.x)] == [(10, 6)] * 6


def test_train_yields_before_the_next_epoch_begins():
    with built() as (tfs, graph):
        recorder = Recorder(tfs, graph)
        epochs = vae_mnist.train(recorder, graph, random_data_set(40), range(3), 10)
        next(epochs)
        assert len(recorder.losses) == 4
        epochs.close()


def test_train_lowers_the_loss():
    with built(learning_rate=0.01) as (tfs, graph):
        data_set = DataSet(np.round(random_images(4))[np.arange(400) % 4], np.zeros(400, int), 3)
        averages = list(vae_mnist.train(tfs, graph, data_set, range(20), 20))
    assert averages[-1] < 0.75 * averages[0]


def test_train_feeds_every_image_once_an_epoch_as_x_and_as_y():
    images = random_images(40)
    with built() as (tfs, graph):
        recorder = Recorder(tfs, graph)
        list(vae_mnist.train(recorder, graph, random_data_set(40), range(1), 10))
    for x, y in zip(recorder.fed(graph.x), recorder.fed(graph.y)):
        assert np.array_equal(x, y)
    walked = np.concatenate(recorder.fed(graph.y))
    assert np.array_equal(np.sort(walked, axis=0), np.sort(images, axis=0))


def train_noisily():
    """What train() fed as x and y: two batches of the same 2000 images, with noise."""
    with built() as (tfs, graph):
        recorder = Recorder(tfs, graph)
        noise = np.random.default_rng(13)
        list(vae_mnist.train(recorder, graph, random_data_set(2000), range(2), 2000, noise))
    return recorder.fed(graph.x), recorder.fed(graph.y)


def test_train_with_noise_keeps_y_clean():
    _, ys = train_noisily()
    for y in ys:
        assert np.array_equal(np.sort(y, axis=0), np.sort(random_images(2000), axis=0))


def test_train_with_noise_adds_normal_numbers_of_standard_deviation_one_half_to_x():
    for x, y in zip(*train_noisily()):
        noise = (x - y) / 0.5
        assert abs(noise.mean()) < 4.5 * np.sqrt(1 / noise.size)
        assert abs((noise**2).mean() - 1) < 4.5 * np.sqrt(2 / noise.size)
        assert abs((noise**4).mean() - 3) < 4.5 * np.sqrt(96 / noise.size)


def test_train_with_noise_draws_it_anew_for_each_batch():
    xs, ys = train_noisily()
    first, second = (np.ravel(x - y) for x, y in zip(xs, ys))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 * np.sqrt(1 / first.size)


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_train_stops_where_the_loss_is_not_finite(loss):
    losses = [3.0] * 4 + [3.0, 3.0, np.float32(loss)]
    session = FakeSession(losses)
    epochs = vae_mnist.train(session, session.graph, random_data_set(40), range(7, 99), 10)
    assert next(epochs) == 3.0
    with pytest.raises(FloatingPointError, match=r"\bepoch 8, batch 2\b"):
        next(epochs)


def test_train_stops_at_an_image_that_is_not_a_number():
    data_set = random_data_set(40)
    data_set.images[:, 1] = np.nan
    with built() as (tfs, graph), pytest.raises(FloatingPointError, match=r"\bepoch 0, batch 0\b"):
        list(vae_mnist.train(tfs, graph, data_set, range(1), 10))


def test_train_prints_the_chapters_line_for_epochs_0_9_and_19(capsys):
    losses = [180.444682] * 2 + [150.0] * 16 + [106.0, 107.635498] + [105.0] * 18 + [102.580904] * 2
    session = FakeSession(losses)
    list(vae_mnist.train(session, session.graph, random_data_set(20), range(20), 10))
    assert capsys.readouterr().out.splitlines() == [
        "epoch: 0000   loss = 180.444682",
        "epoch: 0009   loss = 106.817749",
        "epoch: 0019   loss = 102.580904",
    ]


def test_train_prints_by_the_number_of_the_epoch_where_it_does_not_begin_at_0(capsys):
    session = FakeSession([2.0] * 100)
    list(vae_mnist.train(session, session.graph, random_data_set(10), range(5, 29), 10))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["epoch: 0009   loss = 2.000000", "epoch: 0019   loss = 2.000000"]


# evaluate()


def load_certain(tfs, graph):
    """Random parameters, but z is z_mean, as the variance is as good as zero."""
    p = load_random(tfs, graph)
    p["w_e_z_log_var"][:], p["b_e_z_log_var"][:] = 0, -60
    load(tfs, graph, p)
    return p


def expected_evaluation(p, x, y):
    """The means of rec_loss and reg_loss over all images, and the mean squared error."""
    at = numpy_forward(p, as_float64([x, y, np.zeros((len(x), 3))]))
    return [at["rec_loss"].mean(), at["reg_loss"].mean(), np.mean((at["model"] - y) ** 2)]


@pytest.mark.parametrize("n", [1, 999, 1000, 1500, 2001])
def test_evaluate_takes_the_mean_over_all_images(n):
    images = random_images(n) * np.linspace(0, 1, n, dtype=np.float32)[:, None]
    with built() as (tfs, graph):
        p = load_certain(tfs, graph)
        found = vae_mnist.evaluate(tfs, graph, images)
    assert np.allclose(found, expected_evaluation(p, images, images), rtol=1e-5)


def test_evaluate_with_noise_compares_noisy_images_with_clean_ones():
    images = random_images(2500)
    with built() as (tfs, graph):
        p = load_certain(tfs, graph)
        recorder = Recorder(tfs, graph)
        found = vae_mnist.evaluate(recorder, graph, images, np.random.default_rng(14))
    x = np.concatenate(recorder.fed(graph.x))
    assert np.allclose(found, expected_evaluation(p, x, images), rtol=1e-5)
    noise = (x - images) / 0.5
    assert abs(noise.mean()) < 4.5 * np.sqrt(1 / noise.size)
    assert abs((noise**2).mean() - 1) < 4.5 * np.sqrt(2 / noise.size)
    assert len(np.unique(noise)) > 0.9 * noise.size


def test_evaluate_changes_no_variable():
    with built() as (tfs, graph):
        before = tfs.run(tf.global_variables())
        vae_mnist.evaluate(tfs, graph, random_images(1500))
        for value, after in zip(before, tfs.run(tf.global_variables())):
            assert np.array_equal(value, after)
