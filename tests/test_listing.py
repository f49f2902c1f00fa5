"""The book's listing, steps 1 to 15, with nothing mended but its errors, beside the program."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vae_mnist

STEPS, BATCH = 10, 50
IMAGES = np.random.default_rng(4).random((STEPS, BATCH, 784), dtype=np.float32)


def losses_of(x, y, optimizer, loss):
    """The loss of each step, from the first values of the default graph on."""
    with tf.Session() as tfs:
        tf.global_variables_initializer().run()
        return [tfs.run([optimizer, loss], {x: images, y: images})[1] for images in IMAGES]


def listing():
    """One sequence in the listing's order, under its names, without a function or a scope."""
    n_inputs = n_outputs = 784
    n_neurons, n_neurons_z = [512, 256], 128
    glorot = tf.glorot_uniform_initializer
    p = {}
    x = tf.placeholder(tf.float32, [None, n_inputs], name="x")
    y = tf.placeholder(tf.float32, [None, n_outputs], name="y")
    layer = x
    for i in (0, 1):
        shape = [[n_inputs, 512], [512, 256]][i]
        p[f"w_e_{i}"] = tf.get_variable(f"w_e_000{i}", shape, initializer=glorot())
        p[f"b_e_{i}"] = tf.Variable(tf.zeros([n_neurons[i]]), name=f"b_e_000{i}")
        layer = tf.nn.tanh(tf.matmul(layer, p[f"w_e_{i}"]) + p[f"b_e_{i}"])
    w_mean = tf.get_variable("w_e_z_mean", [256, n_neurons_z], initializer=glorot())
    z_mean = tf.matmul(layer, w_mean) + tf.Variable(tf.zeros([n_neurons_z]), name="b_e_z_mean")
    w_log_var = tf.get_variable("w_e_z_log_var", [256, n_neurons_z], initializer=glorot())
    b_log_var = tf.Variable(tf.zeros([n_neurons_z]), name="b_e_z_log_var")
    z_log_var = tf.matmul(layer, w_log_var) + b_log_var
    epsilon = tf.random_normal(tf.shape(z_log_var), mean=0, stddev=1.0, name="epsilon")
    layer = z_mean + tf.exp(z_log_var * 0.5) * epsilon
    for i in (1, 0):
        shape = [[256, 512], [n_neurons_z, 256]][i]
        p[f"w_d_{i}"] = tf.get_variable(f"w_d_000{i}", shape, initializer=glorot())
        p[f"b_d_{i}"] = tf.Variable(tf.zeros([n_neurons[i]]), name=f"b_d_000{i}")
        layer = tf.nn.tanh(tf.matmul(layer, p[f"w_d_{i}"]) + p[f"b_d_{i}"])
    w_mean = tf.get_variable("w_d_z_mean", [512, n_outputs], initializer=glorot())
    b_mean = tf.Variable(tf.zeros([n_outputs]), name="b_d_z_mean")
    tf.Variable(tf.random_normal([512, n_outputs]), name="w_d_z_log_var")
    tf.Variable(tf.zeros([n_outputs]), name="b_d_z_log_var")
    model = tf.nn.sigmoid(tf.matmul(layer, w_mean) + b_mean)
    rec_loss = -tf.reduce_sum(y * tf.log(1e-10 + model) + (1 - y) * tf.log(1e-10 + 1 - model), 1)
    reg_loss = -0.5 * tf.reduce_sum(1 + z_log_var - tf.square(z_mean) - tf.exp(z_log_var), 1)
    loss = tf.reduce_mean(rec_loss + reg_loss)
    optimizer = tf.train.AdamOptimizer(learning_rate=0.001).minimize(loss)
    return losses_of(x, y, optimizer, loss)


def program():
    vae = vae_mnist.VAE()
    return losses_of(vae.x, vae.y, vae.optimizer, vae.loss)


# An operation's random numbers follow from its place in the graph on TensorFlow 1, from the number
# of random operations before it on TensorFlow 2.
@pytest.mark.skipif(tf.__version__.startswith("1."), reason="the graphs draw different numbers")
def test_the_programs_losses_are_the_listings_step_by_step():
    found = []
    for build in (program, listing):
        with tf.Graph().as_default():
            tf.set_random_seed(7)
            found.append(build())
    assert np.allclose(*found, rtol=1e-6, atol=0)
    assert len(set(found[0])) == STEPS
