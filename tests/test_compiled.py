"""extras/compiled.py: steps that are compiled are those of the plain graph, many in one."""

import inspect
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from extras.compiled import compile_steps, steps_in_one
from program import call, losses, printed

compiles = "jit_compile" in inspect.signature(tf.function).parameters
needs_compiler = pytest.mark.skipif(not compiles, reason="this TensorFlow cannot compile")

N_STEPS, BATCH = 6, 7
CASES = {
    "two hidden layers, relu": {"n_neurons": [7, 4], "n_neurons_z": 2, "activation": tf.nn.relu},
    "a cosine, swish, other outputs, a bound": {
        "n_neurons": [6],
        "n_neurons_z": 10,
        "n_outputs": 5,
        "decay_steps": 8,
        "max_log_var": 1.0,
        "activation": tf.nn.swish,
    },
}


def trained(changes, compiled):
    """The mean of the losses, and all variables, after N_STEPS steps.

    With random first values, batches and epsilon that are the same for both.
    """
    rng = np.random.default_rng(5)
    sizes = dict({"n_inputs": 9, "n_outputs": 9, "learning_rate": 0.01}, **changes)
    X, Y = (rng.random((N_STEPS * BATCH, sizes[n])) for n in ("n_inputs", "n_outputs"))
    noise = rng.standard_normal((N_STEPS * BATCH, sizes["n_neurons_z"])).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as tfs:
        vae = vae_mnist.VAE(**sizes)
        parts = vae
        if compiled:
            parts, k = compile_steps(vae, lambda z: tf.constant(noise), BATCH, N_STEPS)
            assert k == N_STEPS
        tf.global_variables_initializer().run()
        for key in sorted(vae.params):
            variable = vae.params[key]
            variable.load(rng.normal(0, 0.3, variable.shape.as_list()), tfs)
        found = []
        for i in range(0, len(X), len(X) if compiled else BATCH):
            j = i + (len(X) if compiled else BATCH)
            feed_dict = {parts.x: X[i:j], parts.y: Y[i:j]}
            if not compiled:
                feed_dict[vae.epsilon] = noise[i:j]
            found.append(tfs.run([parts.optimizer, parts.loss], feed_dict)[1])
        return np.mean(found), {v.op.name: v.eval() for v in tf.global_variables()}


@needs_compiler
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_one_compiled_step_equals_as_many_of_the_plain_graphs(changes):
    plain_loss, plain = trained(changes, compiled=False)
    loss, after = trained(changes, compiled=True)
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    assert set(after) == set(plain)
    assert after["global_step"] == N_STEPS
    for key, value in plain.items():
        distance = np.linalg.norm(np.ravel(after[key] - value))
        assert distance <= 1e-4 * np.linalg.norm(np.ravel(value)) + 1e-12, key


@pytest.mark.parametrize(
    "batch_size, n_batches, k",
    [
        (100, 550, 55),
        (200, 275, 25),  # 55 would be too many images
        (100, 56, 28),
        (64, 859, 1),  # a prime number
        (6000, 9, 1),
        (1, 1, 1),
    ],
)
def test_an_epoch_is_divided_into_calls_of_the_same_length(batch_size, n_batches, k):
    assert steps_in_one(batch_size, n_batches) == k


# The program.


@pytest.fixture
def flags(small_data, tmp_path):
    net = ["--n-neurons", 16, "--n-neurons-z", 2, "--batch-size", 50]
    return ["--data-dir", small_data, *net, "--figures-dir", tmp_path / "figures"]


@needs_compiler
def test_without_noise_in_z_compiled_training_is_the_plain_one(flags, monkeypatch):
    # Exercise 2. With random numbers of its own, compiled training would end elsewhere.
    monkeypatch.setattr(vae_mnist, "draw_epsilon", tf.zeros_like)
    flags = [*flags, "--n-epochs", 3, "--learning-rate", 0.01]
    number = re.compile(r"\d+\.\d+")
    plain, compiled = printed(*flags), printed(*flags, "--xla")
    assert number.sub("", compiled) == number.sub("", plain)
    found, expected = ([float(n) for n in number.findall(out)] for out in (compiled, plain))
    assert np.allclose(found, expected, rtol=1e-4)


@needs_compiler
def test_compiled_training_draws_new_noise_for_each_step():
    def noise(z):
        return tf.random_normal(tf.shape(z), seed=1)

    with tf.Graph().as_default(), tf.Session() as tfs:
        vae = vae_mnist.VAE(1e-30, n_inputs=4, n_outputs=4, n_neurons=[5], n_neurons_z=3)
        one, _ = compile_steps(vae, noise, 2, 1)
        tf.global_variables_initializer().run()
        feed_dict = {one.x: np.ones((2, 4)), one.y: np.ones((2, 4))}
        drawn = {float(tfs.run([one.optimizer, one.loss], feed_dict)[1]) for _ in range(5)}
    assert len(drawn) == 5


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


@needs_compiler
def test_it_compiles_where_tensorflow_2s_behaviour_is_off(flags, monkeypatch):
    was_on = tf.resource_variables_enabled()
    tf.disable_resource_variables()
    try:
        assert "test loss" in printed(*flags, "--xla", "--n-epochs", 1)
    finally:
        if was_on:
            tf.enable_resource_variables()


@pytest.mark.skipif(compiles, reason="this TensorFlow can compile")
def test_a_tensorflow_that_cannot_compile_refuses_in_one_line(flags, capsys):
    assert call(*flags, "--xla") == 1
    stdout, stderr = capsys.readouterr()
    assert stderr.startswith("vae_mnist.py: error: --xla: needs TensorFlow 2.5 or newer")
    assert stdout == ""
