"""extras/compiled.py: steps that are compiled are those of the plain graph, many in one."""

import inspect
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from extras.compiled import compile_steps
from program import call, losses, printed

compiles = "jit_compile" in inspect.signature(tf.function).parameters
needs_compiler = pytest.mark.skipif(not compiles, reason="this TensorFlow cannot compile")

N_STEPS, BATCH = 6, 7
SIZES = {
    "n_inputs": 9,
    "n_outputs": 5,
    "n_neurons": [7, 4],
    "n_neurons_z": 3,
    "activation": tf.nn.swish,
    "max_log_var": 1.0,
}


def trained(compiled):
    """The mean of the losses, and all variables, after N_STEPS steps on a cosine.

    With random first values, batches and epsilon that are the same for both.
    """
    rng = np.random.default_rng(5)
    X, Y = (rng.random((N_STEPS * BATCH, SIZES[n])) for n in ("n_inputs", "n_outputs"))
    noise = rng.standard_normal((N_STEPS * BATCH, SIZES["n_neurons_z"])).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as tfs:
        rate = tf.train.cosine_decay(0.01, tf.train.get_or_create_global_step(), 8)
        vae = vae_mnist.VAE(rate, **SIZES)
        parts = vae
        if compiled:
            parts, n_images = compile_steps(vae, lambda z: tf.constant(noise), BATCH, N_STEPS)
            assert n_images == N_STEPS * BATCH
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
def test_one_compiled_step_equals_as_many_of_the_plain_graphs():
    plain_loss, plain = trained(compiled=False)
    loss, after = trained(compiled=True)
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    assert set(after) == set(plain)
    assert after["global_step"] == N_STEPS
    for key, value in plain.items():
        distance = np.linalg.norm(np.ravel(after[key] - value))
        assert distance <= 1e-4 * np.linalg.norm(np.ravel(value)) + 1e-12, key


@needs_compiler
@pytest.mark.parametrize(
    "batch_size, n_batches, k",
    [
        (100, 550, 55),
        (200, 275, 25),  # 55 would be too many images
        (100, 56, 28),
        (64, 859, 1),  # a prime number
        (6000, 9, 1),
    ],
)
def test_an_epoch_is_divided_into_calls_of_the_same_length(batch_size, n_batches, k):
    with tf.Graph().as_default():
        vae = vae_mnist.VAE(**SIZES)
        steps, n_images = compile_steps(vae, tf.zeros_like, batch_size, n_batches)
        assert (n_images, steps.x.shape.as_list()) == (k * batch_size, [k * batch_size, 9])


# The program.


@pytest.fixture
def flags(small_data, tmp_path):
    net = ["--n-neurons", 16, "--n-neurons-z", 2, "--batch-size", 50]
    return ["--data-dir", small_data, *net, "--figures-dir", tmp_path / "figures"]


@needs_compiler
def test_without_noise_in_z_either_kind_of_run_goes_on_as_the_other_would(
    flags, tmp_path, monkeypatch
):
    # Exercise 2. With random numbers of its own, compiled training would end elsewhere.
    monkeypatch.setattr(vae_mnist, "reparameterize", lambda z_mean, z_log_var, epsilon: z_mean)
    found = []
    for folder, second in ((tmp_path / "plain", []), (tmp_path / "mixed", ["--xla"])):
        for n_epochs, compiled in enumerate(([], second, []), start=1):
            printed(*flags, "--checkpoint-dir", folder, "--n-epochs", n_epochs, *compiled)
        found.append(np.array(losses(folder)))
    assert np.allclose(*found, rtol=1e-4)
    assert (np.diff(found[0][:, 0]) < 0).all()


@needs_compiler
def test_compiled_training_draws_new_noise_for_each_call():
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
@pytest.mark.parametrize(
    "switch",
    [
        lambda on: (tf.enable_resource_variables if on else tf.disable_resource_variables)(),
        lambda on: tf.config.run_functions_eagerly(not on),
    ],
    ids=["TensorFlow 2's variables off", "functions run eagerly"],
)
def test_what_cannot_be_compiled_as_one_function_is_refused_and_leaves_nothing(
    switch, flags, tmp_path, capsys
):
    switch(False)
    try:
        assert call(*flags, "--xla", "--checkpoint-dir", tmp_path / "saved") == 1
    finally:
        switch(True)
    stdout, stderr = capsys.readouterr()
    (line,) = stderr.splitlines()
    assert line.startswith("vae_mnist.py: error: --xla: cannot compile the steps as one function")
    assert stdout == ""
    assert list(tmp_path.iterdir()) == []


@needs_compiler
@pytest.mark.parametrize(
    "factor, words",
    [
        (lambda: tf.placeholder_with_default(1.0, [], name="beta"), "cannot feed .* losses/beta"),
        (lambda: tf.Print(1.0, ["a number"], name="tell"), "cannot compile losses/tell"),
        (
            lambda: tf.py_func(lambda: np.float32(1), [], tf.float32, name="ask"),
            "compile losses/ask",
        ),
    ],
    ids=["placeholder", "print", "Python"],
)
def test_an_edited_loss_that_cannot_be_compiled_is_refused_in_one_line_that_names_the_operation(
    factor, words, flags, monkeypatch, capsys
):
    def edited(z_mean, z_log_var):
        return factor() * tf.reduce_sum(tf.square(z_mean), 1)

    monkeypatch.setattr(vae_mnist, "regularization_loss", edited)
    assert call(*flags, "--xla") == 1
    stdout, stderr = capsys.readouterr()
    (line,) = stderr.splitlines()
    assert re.match(f"vae_mnist.py: error: --xla: .*{words}.*: leave it out", line)
    assert stdout == ""


@pytest.mark.skipif(compiles, reason="this TensorFlow can compile")
def test_a_tensorflow_that_cannot_compile_refuses_in_one_line(flags, capsys):
    assert call(*flags, "--xla") == 1
    stdout, stderr = capsys.readouterr()
    assert stderr.startswith("vae_mnist.py: error: --xla: needs TensorFlow 2.5 or newer")
    assert stdout == ""
