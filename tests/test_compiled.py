"""harness/compiled.py: steps that are compiled are those of the plain graph, several to a call."""

import inspect
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from harness.compiled import CompiledSession, CompiledSteps, group_size
from program import call, losses, printed

compiles = "jit_compile" in inspect.signature(tf.function).parameters
needs_compiler = pytest.mark.skipif(not compiles, reason="this TensorFlow cannot compile")

CASES = {
    "two hidden layers, relu": {"n_neurons": [7, 4], "n_neurons_z": 2, "activation": tf.nn.relu},
    "x is y, a cosine, swish": {
        "n_neurons": [6],
        "n_neurons_z": 3,
        "decay_steps": 8,
        "activation": tf.nn.swish,
    },
    "other outputs": {
        "n_neurons": [6, 5, 8],
        "n_neurons_z": 10,
        "n_outputs": 5,
        "max_log_var": 1.0,
    },
}
N_STEPS, BATCH = 6, 7


def trained(how, groups, compiled, noisy=True):
    """Losses, gradients of the first step, and all variables after N_STEPS steps.

    With random first values, batches and epsilon that are the same for all. groups: the number of
    steps in each call, where compiled. noisy: whether x is another than y.
    """
    rng = np.random.default_rng(5)
    sizes = dict({"n_inputs": 9, "n_outputs": 9, "learning_rate": 0.01}, **how)
    with tf.Graph().as_default(), tf.Session() as tfs:
        graph = vae_mnist.build_graph(**sizes)
        steps = CompiledSteps(graph, BATCH, max(groups), noisy) if compiled else None
        tf.global_variables_initializer().run()
        for key in sorted(graph.params):
            variable = graph.params[key]
            variable.load(rng.normal(0, 0.3, variable.shape.as_list()), tfs)
        X = rng.random((N_STEPS, BATCH, sizes["n_inputs"])).astype(np.float32)
        Y = rng.random((N_STEPS, BATCH, sizes["n_outputs"])).astype(np.float32) if noisy else X
        epsilon = rng.standard_normal((N_STEPS, BATCH, sizes["n_neurons_z"])).astype(np.float32)
        losses, moments = [], None
        first_moments = [v for v in tf.global_variables() if v.op.name.endswith("/Adam")]
        for i, j in zip(np.cumsum([0, *groups]), np.cumsum(groups)):
            if compiled:
                losses.extend(steps.run(tfs, X[i:j], Y[i:j], epsilon[i:j]))
            else:
                for x, y, e in zip(X[i:j], Y[i:j], epsilon[i:j]):
                    feed_dict = {graph.x: x, graph.y: y, graph.epsilon: e}
                    fetches = [graph.loss, graph.rec_loss, graph.reg_loss, graph.optimizer]
                    losses.append([np.mean(v) for v in tfs.run(fetches, feed_dict)[:3]])
            if moments is None:
                # After one step Adam's first moment is a tenth of the gradient.
                moments = {v.op.name: v.eval() for v in first_moments}
        after = {v.op.name: v.eval() for v in tf.global_variables()}
    return np.array(losses), moments, after


def assert_near(found, expected, rel):
    for key, value in expected.items():
        distance = np.linalg.norm(np.ravel(found[key] - value))
        assert distance <= rel * np.linalg.norm(np.ravel(value)) + 1e-12, key


@needs_compiler
@pytest.mark.parametrize("name, groups", list(zip(CASES, ([1, 2, 3], [6], [1, 5]))), ids=CASES)
def test_steps_compiled_in_any_groups_equal_the_plain_graphs(name, groups):
    noisy = not name.startswith("x is y")
    plain_losses, plain_gradients, plain = trained(CASES[name], [1, 5], False, noisy)
    losses, gradients, after = trained(CASES[name], groups, True, noisy)
    assert np.allclose(losses, plain_losses, rtol=1e-5)
    if groups[0] == 1:
        assert_near(gradients, plain_gradients, 1e-4)
    assert set(after) == set(plain)
    assert after["global_step"] == N_STEPS
    assert_near(after, plain, 1e-4)


@pytest.mark.parametrize(
    "batch_size, n_batches, size",
    [
        (100, 550, 55),  # ten calls of 55
        (100, 1, 1),
        (100, 56, 28),  # two calls of 28, rather than of 55 and 1
        (200, 275, 25),  # eleven calls of 25
        (64, 859, 54),  # a prime number: fifteen of 54 and one of 49
        (6000, 9, 1),  # one step has more than enough images
    ],
)
def test_an_epoch_is_divided_into_calls_about_equally_long(batch_size, n_batches, size):
    assert group_size(batch_size, n_batches) == size


class FakeSteps:
    """CompiledSteps whose losses are the first numbers of the images."""

    size = 3

    def __init__(self):
        self.calls = []

    def run(self, tfs, X, Y):
        self.calls.append((X.shape, Y.shape))
        return np.repeat(Y[:, 0, :1], 3, axis=1)


def gathered(first_numbers, n_batches, first_step=0, note=None):
    """The losses that a CompiledSession gives for batches with these first numbers, its calls."""
    with tf.Graph().as_default():
        graph = vae_mnist.build_graph(n_inputs=2, n_outputs=2, n_neurons=[2], n_neurons_z=2)
        steps, losses = FakeSteps(), []
        with CompiledSession(graph, steps, n_batches, first_step, note) as tfs:
            for number in first_numbers:
                batch = np.full((4, 2), number, np.float32)
                feed_dict = {graph.x: batch, graph.y: batch}
                losses.append(tfs.run([graph.optimizer, graph.loss], feed_dict=feed_dict)[1])
    return losses, steps.calls


def test_a_session_gathers_steps_and_ends_an_epoch_with_a_shorter_call():
    losses, calls = gathered([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], n_batches=5)
    assert losses == [0, 0, 7, 0, 24, 0, 0, 32 + 64 + 128, 0, 256 + 512]
    assert calls == [((n, 4, 2),) * 2 for n in (3, 2, 3, 2)]


def test_a_session_notes_each_step_by_its_number():
    notes = []
    gathered([1, 2, 4], n_batches=3, first_step=6, note=lambda *note: notes.append(note))
    assert notes == [(1, 1, 1, 7), (2, 2, 2, 8), (4, 4, 4, 9)]


def test_a_session_stops_at_the_very_step_whose_loss_is_not_finite():
    with pytest.raises(FloatingPointError, match=r"\bepoch 2, batch 1\b"):
        gathered([1, np.nan, 1], n_batches=3, first_step=6)


# The program.


@pytest.fixture
def flags(small_data, tmp_path):
    net = ["--n-neurons", 16, "--n-neurons-z", 2, "--batch-size", 50]
    return ["--data-dir", small_data, *net, "--figures-dir", tmp_path / "figures"]


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_prints_the_same_lines_and_learns_as_much(flags):
    def loss(stdout):
        return float(stdout.split("test loss = ")[1].split()[0])

    flags = [*flags, "--denoise", "--cosine-decay", "--n-epochs", 4, "--learning-rate", 0.01]
    stdout, plain = printed(*flags, "--xla"), printed(*flags)
    assert re.sub(r"\d+\.\d+", "", stdout) == re.sub(r"\d+\.\d+", "", plain)
    assert loss(stdout) == pytest.approx(loss(plain), rel=0.1)


@needs_compiler
def test_either_kind_of_run_goes_on_from_the_others_checkpoint(flags, tmp_path):
    folder = tmp_path / "saved"
    flags = [*flags, "--checkpoint-dir", folder]
    before = []
    for n_epochs, compiled in enumerate([[], ["--xla"], []], start=1):
        printed(*flags, "--n-epochs", n_epochs, *compiled)
        found = losses(folder)
        assert found[:-1] == before
        before = found
    assert found[0][0] > found[1][0] > found[2][0]


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_repeats_itself_and_its_log_holds_each_step(flags, tmp_path):
    flags = [*flags, "--n-epochs", 2, "--xla"]
    assert printed(*flags, "--log-dir", tmp_path / "log") == printed(*flags)
    (path,) = (tmp_path / "log").iterdir()
    values = {"loss": [], "rec_loss": [], "reg_loss": []}
    for event in tf.train.summary_iterator(str(path)):
        for value in event.summary.value:
            if value.tag in values:
                assert event.step == len(values[value.tag]) + 1
                values[value.tag].append(value.simple_value)
    assert {tag: len(found) for tag, found in values.items()} == dict.fromkeys(values, 24)
    assert np.allclose(values["loss"], np.add(values["rec_loss"], values["reg_loss"]), rtol=1e-5)


@needs_compiler
def test_a_loss_that_is_not_finite_ends_a_compiled_run_in_one_line(flags, capsys):
    message = call(*flags, "--xla", "--learning-rate", "1e20")
    assert message.startswith("vae_mnist.py: error: loss is nan in epoch 0, batch ")
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(compiles, reason="this TensorFlow can compile")
def test_a_tensorflow_that_cannot_compile_refuses_in_one_line(flags, capsys):
    message = call(*flags, "--xla")
    assert message.startswith("vae_mnist.py: error: --xla: needs TensorFlow 2.5 or newer")
    assert capsys.readouterr().out == ""
