"""run(): that each flag reaches what it is for, beside a bare loop."""

from functools import partial

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist
from data import add_mixed_noise, add_noise, pick_test_images, read_data_sets
from extras.evaluation import evaluate
from program import losses, printed, small_net


@pytest.mark.parametrize(
    "flag, add", [("--denoise", add_noise), ("--mixed-noise", add_mixed_noise)]
)
def test_a_run_with_all_its_flags_trains_and_tests_as_the_bare_loop_does(
    flag, add, small_data, tmp_path
):
    words = ["--batch-size", 50, "--n-epochs", 2, "--seed", 7, "--learning-rate", 0.01, flag]
    words += ["--cosine-decay", "--activation", "relu", "--max-log-var", -1]
    words += ["--figures-dir", tmp_path / "figures", "--checkpoint-dir", tmp_path / "saved"]
    stdout = printed(*small_net(small_data, *words))

    noise = partial(add, rng=np.random.default_rng([1, 7, 0]))
    mnist = read_data_sets(str(small_data), validation_size=None, seed=7)
    test_rng = np.random.default_rng(7)
    pick_test_images(mnist.test, 4, test_rng)
    y, test_y = mnist.validation.images, mnist.test.images
    x, test_x = y, test_y
    if flag == "--denoise":
        x, test_x = add_noise(y, np.random.default_rng([2, 7])), add_noise(test_y, test_rng)
    with tf.Graph().as_default(), tf.Session() as tfs:
        tf.set_random_seed(7)
        rate = tf.train.cosine_decay(0.01, tf.train.get_or_create_global_step(), 2 * 12)
        sizes = {"n_neurons": [16], "n_neurons_z": 2, "activation": tf.nn.relu, "max_log_var": -1}
        vae = vae_mnist.VAE(rate, **sizes)
        tf.global_variables_initializer().run()
        bare = [vae_mnist.train_epoch(tfs, vae, mnist, epoch, 50, noise) for epoch in range(2)]
        validation, test = evaluate(tfs, vae, x, y), evaluate(tfs, vae, test_x, test_y)
    found = losses(tmp_path / "saved")
    assert [epoch[0] for epoch in found] == bare
    assert found[1][1:] == [validation.loss, validation.rec_loss, validation.reg_loss]
    assert f"test loss = {test.loss:0.6f}" in stdout


def test_a_run_that_goes_on_draws_new_random_numbers(small_data, tmp_path):
    # Nothing is learned, so that with the same numbers both epochs would have the same loss.
    flags = small_net(small_data, "--batch-size", 50, "--learning-rate", 1e-30)
    flags += ["--figures-dir", tmp_path / "figures", "--checkpoint-dir", tmp_path / "saved"]
    for n_epochs in (1, 2):
        printed(*flags, "--n-epochs", n_epochs)
    first, second = losses(tmp_path / "saved")
    assert first[0] != second[0]
    assert first[1] == second[1]
