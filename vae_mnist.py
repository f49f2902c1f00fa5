"""A variational autoencoder that learns to redraw handwritten digits, and to draw new ones.

It follows the chapter section "Variational autoencoder in TensorFlow" step by step, for TensorFlow
1.15 to 2.21. Read it from top to bottom: first come the parts, in the listing's order, then
build_graph(), which joins them, then the training. This is the network, with the size of each layer
in brackets, and the names of the parameters between two layers.

    x       (784)    the pixels of an image
    |  w_e_0000, b_e_0000, tanh
    layer   (512)
    |  w_e_0001, b_e_0001, tanh
    layer   (256)---------------------.
    |  w_e_z_mean, b_e_z_mean         |  w_e_z_log_var, b_e_z_log_var
    z_mean  (128)                     z_log_var  (128)
    |                                 |
    z       (128)    = z_mean + exp(z_log_var * 0.5) * epsilon, where epsilon is random
    |  w_d_0001, b_d_0001, tanh
    layer   (256)
    |  w_d_0000, b_d_0000, tanh
    layer   (512)
    |  w_d_z_mean, b_d_z_mean, sigmoid
    model   (784)    for each pixel, the probability that it is white

The encoder turns an image x into a normal distribution q(z|x) over some hidden numbers z, the
latent variables. The decoder turns a sample of z into an image that should look like y, the target;
in the chapter that is x itself. The loss asks for two things: that y is predicted well, and that
q(z|x) stays near a fixed normal distribution p(z), the prior. Decoding a z that is drawn from the
prior then gives a new image.

As always in TensorFlow 1, the functions that build these parts compute no numbers. They describe
a graph of tensors, which a session computes later. The first dimension of x, model and all between
them is the batch: the images that are handled together. Losses are in nats, the unit of information
that belongs to natural logarithms.

Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, arXiv:1312.6114.
"""

import os
import sys
from collections import namedtuple
from functools import partial
from typing import NamedTuple

# So that the modules beside this file are found with PYTHONSAFEPATH, too.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness.quiet  # noqa: F401, first: it silences most of what the next imports would print
import numpy as np
import tensorflow.compat.v1 as tf

# Of the imports below, the chapter itself needs only display_images, Hook and progress.
from data import MNIST_DATA, DataError, add_mixed_noise, add_noise
from data import draw_test_images, read_data_sets
from display import display_compared, display_images, display_latent, display_losses
from display import display_manifold, show
from harness.checkpoints import next_epoch
from harness.equipment import equip
from harness.failures import check_writable, report_failures
from harness.finite import StopAtNan, check_finite, check_results
from harness.flags import parse_flags
from harness.hooks import Hook, Hooks
from harness.interrupts import Interrupts
from harness.progress import progress

# The chapter's hyperparameters. All but n_inputs and n_outputs are the defaults of flags.
learning_rate = 0.001
n_epochs = 20
batch_size = 100
n_inputs = 784  # the 28 x 28 pixels of an image, in one row
n_outputs = n_inputs
n_neurons = [512, 256]  # the encoder's n_layers = 2 hidden layers; the decoder's in reverse
n_neurons_z = 128  # the dimensions of the latent variables
activation = tf.nn.tanh


def placeholders(n_inputs, n_outputs):
    """x, (batch, n_inputs), which the encoder sees, and y, (batch, n_outputs), its target.

    Both hold pixel values; in the chapter they get the same images, with values in 0..1. With two
    placeholders x can be a noisy y, and its values may then leave 0..1.
    """
    x = tf.placeholder(dtype=tf.float32, name="x", shape=[None, n_inputs])
    y = tf.placeholder(dtype=tf.float32, name="y", shape=[None, n_outputs])
    return x, y


def dense(layer, n_units, params, name):
    """A layer without its activation: layer, (batch, n), times weights plus biases.

    Returns (batch, n_units). The new variables go into params as "w_" + name and "b_" + name. They
    have these names in the graph too: unlike tf.Variable, tf.get_variable ignores name scopes.
    """
    w, b = "w_" + name, "b_" + name
    shape = [int(layer.shape[1]), n_units]
    params[w] = tf.get_variable(w, shape, initializer=tf.glorot_uniform_initializer())
    params[b] = tf.get_variable(b, [n_units], initializer=tf.zeros_initializer())
    return tf.matmul(layer, params[w]) + params[b]


def encoder(x, params, n_neurons, n_neurons_z, activation, max_log_var=None):
    """The encoder, or recognition network, q(z|x): for each image, a normal distribution over z.

    Returns its mean z_mean and the logarithm of its variance z_log_var, (batch, n_neurons_z) each;
    the dimensions of z are independent. A variance is positive, but a layer's output can have
    either sign: hence the logarithm. Kingma and Welling 2014, appendix C.2. max_log_var: a bound on
    z_log_var for long trainings; the chapter has none.
    """
    layer = x
    for i in range(len(n_neurons)):
        layer = activation(dense(layer, n_neurons[i], params, f"e_{i:04d}"))
    z_mean = dense(layer, n_neurons_z, params, "e_z_mean")
    z_log_var = dense(layer, n_neurons_z, params, "e_z_log_var")
    if max_log_var is not None:
        # exp(z_log_var) overflows easily: one image unlike all others would do.
        z_log_var = tf.minimum(z_log_var, max_log_var)
    return z_mean, z_log_var


def draw_epsilon(z_log_var):
    """Standard normal noise, in the shape of z_log_var: new numbers in each run of a session."""
    return tf.random_normal(tf.shape(z_log_var), name="epsilon")


def reparameterize(z_mean, z_log_var, epsilon):
    """A sample z of q(z|x), (batch, n_neurons_z), made from standard normal noise epsilon.

    Drawing z directly is a random operation, which has no derivative. Here all the randomness is in
    epsilon, so z is an ordinary function of z_mean and z_log_var, and the encoder can learn.
    exp(z_log_var * 0.5) is the standard deviation. Kingma and Welling 2014, section 2.4.
    """
    return z_mean + tf.exp(z_log_var * 0.5) * epsilon


def decoder(z, params, n_neurons, n_outputs, activation):
    """The decoder, or generator network, p(y|z): each pixel's probability of being white (1).

    Returns (batch, n_outputs), in 0..1. Kingma and Welling 2014, appendix C.1.
    """
    layer = z
    for i in reversed(range(len(n_neurons))):
        layer = activation(dense(layer, n_neurons[i], params, f"d_{i:04d}"))
    # "d_z_mean" is the chapter's name; it is the mean of y, not of z.
    model = tf.nn.sigmoid(dense(layer, n_outputs, params, "d_z_mean"))
    # The chapter makes these two parameters and never uses them; they are kept so that params has
    # the same names. A decoder with a Gaussian distribution for each pixel would need a variance;
    # a Bernoulli distribution, of white or black, has none but what follows from its mean.
    dense(layer, n_outputs, params, "d_z_log_var")
    return model


def reconstruction_loss(y, model):
    """The cross-entropy of y and model, summed over the pixels: nats per image, (batch,).

    y, model: (batch, n_outputs), in 0..1. It is -log p(y|z) where each pixel of y is 0 or 1. A grey
    pixel y costs what a white one would, times y, plus what a black one would, times 1 - y. So even
    a model equal to y does not reach 0: at 0.5, log 2 remains. Kingma and Welling 2014, appendix
    C.1, equation 11.
    """
    # The sigmoid can reach exactly 0 or 1, and log(0) must not happen. The chapter adds 1e-10 in
    # both logarithms. In the first, that works. In the second, 1e-10 + 1 - model, it is always
    # lost, since float32 cannot hold 1 + 1e-10, and log(0) remains where model is 1. In
    # 1e-10 + (1 - model) it is lost too, since TensorFlow joins the two constants before it runs
    # the graph. It leaves a maximum as it is.
    log_white = tf.log(1e-10 + model)
    log_black = tf.log(tf.maximum(1 - model, 1e-10))
    return -tf.reduce_sum(y * log_white + (1 - y) * log_black, 1)


def regularization_loss(z_mean, z_log_var):
    """KL(q(z|x) || p(z)) for the prior p(z) = N(0, I): nats per image, (batch,).

    z_mean, z_log_var: (batch, n_neurons_z). It tells how far q(z|x) is from the prior, and is 0
    where they are equal. For two normal distributions there is a formula, so no sample is needed.
    Kingma and Welling 2014, appendix B.
    """
    return -0.5 * tf.reduce_sum(1 + z_log_var - tf.square(z_mean) - tf.exp(z_log_var), 1)


def minimize(loss, learning_rate, decay_steps=None):
    """The operation that takes one step of Adam down the gradient of loss.

    With decay_steps, the learning rate falls to 0 over that many steps, along a cosine curve.
    """
    # Counts the training steps, for the decay and for TensorBoard.
    step = tf.train.get_or_create_global_step()
    if decay_steps is not None:
        learning_rate = tf.train.cosine_decay(learning_rate, step, decay_steps)
    return tf.train.AdamOptimizer(learning_rate=learning_rate).minimize(loss, global_step=step)


# The parts of the graph, by the chapter's names; not to be confused with tf.Graph. Any of them but
# params and optimizer can be fed, and a session then computes only what is still needed. To
# reconstruct images, feed x. To get the same reconstruction again, feed epsilon too. To make new
# images, feed only z.
Graph = namedtuple(
    "Graph", "x y params z_mean z_log_var epsilon z model rec_loss reg_loss loss optimizer"
)


def build_graph(
    learning_rate=learning_rate,
    n_inputs=n_inputs,
    n_outputs=n_outputs,
    n_neurons=n_neurons,
    n_neurons_z=n_neurons_z,
    activation=activation,
    decay_steps=None,
    max_log_var=None,
):
    """Add the whole variational autoencoder to the default graph. Returns its parts as a Graph."""
    params = {}
    x, y = placeholders(n_inputs, n_outputs)
    with tf.name_scope("encoder"):
        z_mean, z_log_var = encoder(x, params, n_neurons, n_neurons_z, activation, max_log_var)
    with tf.name_scope("reparameterization"):
        epsilon = draw_epsilon(z_log_var)
        z = reparameterize(z_mean, z_log_var, epsilon)
    with tf.name_scope("decoder"):
        model = decoder(z, params, n_neurons, n_outputs, activation)
    with tf.name_scope("losses"):
        rec_loss = reconstruction_loss(y, model)
        reg_loss = regularization_loss(z_mean, z_log_var)
        # Minus the evidence lower bound, equation 3 of Kingma and Welling 2014, for black and white
        # pixels; for grey ones, its mean over images drawn with y as the probabilities of white.
        # The expectation over z is estimated from one sample for each image, as in equation 10.
        loss = tf.reduce_mean(rec_loss + reg_loss)
    with tf.name_scope("optimizer"):
        optimizer = minimize(loss, learning_rate, decay_steps)
    return Graph(
        x, y, params, z_mean, z_log_var, epsilon, z, model, rec_loss, reg_loss, loss, optimizer
    )


def train_and_reconstruct(
    graph,
    mnist,
    chapter_images,
    epochs=range(n_epochs),
    batch_size=batch_size,
    corrupt=np.asarray,
    figures_dir="figures",
    hooks=Hook(),  # noqa: B008, it has no state
    session=tf.Session,
):
    """The chapter's last step: train the model, then have it redraw clean and noisy test images.

    graph: as build_graph() gives it. mnist: as read_data_sets() gives it. chapter_images: the test
    images to redraw, as draw_test_images() gives them; the pictures go into figures_dir. epochs:
    their numbers. corrupt: makes x from y; np.asarray changes nothing, as in the chapter, and where
    x is y with noise, the model learns to remove it. hooks: told of each step and epoch, for what
    goes beyond the chapter; a plain Hook does nothing, so pass over its lines at first. If a hook
    raises an exception, the run ends. session: opens the session. Returns what the model makes of
    the clean and of the noisy images.
    """
    test_images, test_images_noisy, test_labels = chapter_images
    n_batches = mnist.train.num_examples // batch_size
    with session() as tfs:
        tf.global_variables_initializer().run()
        hooks.begin(tfs)  # here a checkpoint, if there is one, takes the place of the first values
        for epoch in epochs:
            epoch_loss = 0.0
            for batch in progress(n_batches, f"epoch {epoch:04d}"):
                Y_batch, _ = mnist.train.next_batch(batch_size)
                X_batch = corrupt(Y_batch)
                feed_dict = {graph.x: X_batch, graph.y: Y_batch}
                _, batch_loss = tfs.run([graph.optimizer, graph.loss], feed_dict=feed_dict)
                epoch_loss += float(batch_loss)
                hooks.after_step(epoch, batch, batch_loss)
            average_loss = epoch_loss / n_batches
            if epoch % 10 == 9 or epoch == 0:
                print(f"epoch: {epoch:04d}   loss = {average_loss:0.6f}", flush=True)
            hooks.after_epoch(tfs, average_loss)
        hooks.after_training(tfs)

        Y_test_pred1 = tfs.run(graph.model, feed_dict={graph.x: test_images})
        Y_test_pred2 = tfs.run(graph.model, feed_dict={graph.x: test_images_noisy})
        display_images(test_images, test_labels, f"{figures_dir}/test_images.png")
        display_images(Y_test_pred1, test_labels, f"{figures_dir}/Y_test_pred1.png")
        display_images(test_images_noisy, test_labels, f"{figures_dir}/test_images_noisy.png")
        display_images(Y_test_pred2, test_labels, f"{figures_dir}/Y_test_pred2.png")
        hooks.end(tfs)
    return Y_test_pred1, Y_test_pred2


# The chapter ends here. What follows goes beyond it: how good the model is on images that were not
# used for training, new images, and the program around it all.


class Evaluation(NamedTuple):
    """How good a model is on a set of images: means over all of them."""

    rec_loss: float  # nats per image
    reg_loss: float  # nats per image
    mse: float  # squared error per pixel of the reconstructions against the clean images

    @property
    def loss(self):
        return self.rec_loss + self.reg_loss


def evaluate(tfs, graph, images, corrupt=np.asarray):
    """Test the model: x is corrupt(images), y is images, (n, n_outputs). Returns an Evaluation."""
    sums = np.zeros(3)
    # Not all at once, to save memory.
    for i in range(0, len(images), 1000):
        Y = images[i : i + 1000]
        X = corrupt(Y)
        fetches = [graph.rec_loss, graph.reg_loss, graph.model]
        rec_loss, reg_loss, model = tfs.run(fetches, feed_dict={graph.x: X, graph.y: Y})
        sums += [rec_loss.sum(), reg_loss.sum(), np.square(model - Y).mean(axis=1).sum()]
    return Evaluation(*sums / len(images))


class BeyondTheChapter(Hook):
    """The validation loss after each epoch, the test loss after the last, and more pictures.

    rng: a numpy Generator for the test images' noise, and for z. task: what the model is to undo;
    np.asarray, which changes nothing, or a function that adds noise. losses: for each epoch so far,
    those before a checkpoint included, the pair of its average training loss and its validation
    loss, in nats per image. results: those of the test, by their names.
    """

    def __init__(self, graph, mnist, rng, task, figures_dir):
        self.graph = graph
        self.mnist = mnist
        self.rng = rng
        self.task = task
        self.figures_dir = figures_dir
        self.losses = []
        self.results = {}

    def after_epoch(self, tfs, average_loss):
        validation = evaluate(tfs, self.graph, self.mnist.validation.images, self.task)
        check_finite(validation.loss, f"epoch {len(self.losses)}, validation")
        self.losses.append((average_loss, validation.loss))

    def after_training(self, tfs):
        images = self.mnist.test.images
        clean = evaluate(tfs, self.graph, images)
        noisy = evaluate(tfs, self.graph, images, partial(add_noise, rng=self.rng))
        # The loss of what the model is for: with --denoise, to restore noisy images.
        result = clean if self.task is np.asarray else noisy
        loss, rec, reg = result.loss, result.rec_loss, result.reg_loss
        if np.isfinite(loss):
            print(f"test loss = {loss:0.6f}   rec = {rec:0.6f}   reg = {reg:0.6f}")
        mses = {"clean": clean.mse, "noisy": noisy.mse}
        finite = [f"{mse:0.6f} {kind}" for kind, mse in mses.items() if np.isfinite(mse)]
        print("test mse  =", "   ".join(finite) or "none", flush=True)
        self.results = {f"test mse of {kind} images": mse for kind, mse in mses.items()}
        self.results["test loss"] = loss

    def end(self, tfs):
        def decode(z):
            return tfs.run(self.graph.model, feed_dict={self.graph.z: z})

        n_neurons_z = int(self.graph.z.shape[1])
        samples = decode(self.rng.standard_normal((100, n_neurons_z)))
        title = "Decoded from z ~ N(0, I)"
        display_images(samples, None, f"{self.figures_dir}/samples.png", title)
        display_losses(self.losses, f"{self.figures_dir}/loss.png")
        if n_neurons_z == 2:
            test = self.mnist.test
            z_mean = tfs.run(self.graph.z_mean, feed_dict={self.graph.x: test.images})
            display_latent(z_mean, test.labels, f"{self.figures_dir}/latent.png")
            display_manifold(decode, f"{self.figures_dir}/manifold.png")


def run(args):
    """Run the program, from the data to the pictures, as the flags say."""
    first_epoch = next_epoch(args.checkpoint_dir)
    # Where a checkpoint is gone on from, the random numbers must not be those of the first epochs.
    seed = args.seed + first_epoch
    mnist = read_data_sets(args.data_dir, seed=seed)
    n_images = mnist.train.num_examples
    if args.batch_size > n_images:
        raise DataError(f"--batch-size {args.batch_size}: more than the {n_images} training images")
    check_writable(args.figures_dir, args.checkpoint_dir, args.log_dir)
    n_batches = n_images // args.batch_size
    rng = np.random.default_rng(args.seed)
    chapter_images = draw_test_images(mnist.test, 4, rng)
    corrupt = task = np.asarray
    noise = np.random.default_rng([args.seed, first_epoch])
    if args.denoise:
        corrupt = task = partial(add_noise, rng=noise)
    elif args.mixed_noise:  # a help in training; the task is still to redraw clean images
        corrupt = partial(add_mixed_noise, rng=noise)

    with tf.Graph().as_default(), Interrupts() as interrupts:
        tf.set_random_seed(seed)
        graph = build_graph(
            learning_rate=args.learning_rate,
            n_neurons=args.n_neurons,
            n_neurons_z=args.n_neurons_z,
            activation=getattr(tf.nn, args.activation),
            decay_steps=n_batches * args.n_epochs if args.cosine_decay else None,
            max_log_var=args.max_log_var,
        )
        beyond = BeyondTheChapter(graph, mnist, rng, task, args.figures_dir)
        # The same graph, but its training steps may be logged, or compiled.
        graph, session, asked_for = equip(
            args, graph, mnist.train, chapter_images.images, beyond.losses, first_epoch
        )
        # In this order: the losses of an epoch are complete before they are saved.
        hooks = Hooks(StopAtNan(), beyond, *asked_for, interrupts)
        epochs = range(first_epoch, args.n_epochs)
        how = (epochs, args.batch_size, corrupt, args.figures_dir, hooks, session)
        Y_test_pred1, Y_test_pred2 = train_and_reconstruct(graph, mnist, chapter_images, *how)
        test_images, test_images_noisy, test_labels = chapter_images
        rows = {"test_images": test_images, "Y_test_pred1": Y_test_pred1}
        rows.update({"test_images_noisy": test_images_noisy, "Y_test_pred2": Y_test_pred2})
        display_compared(rows, test_labels, f"{args.figures_dir}/compared.png")
        print(f"pictures in {args.figures_dir}", flush=True)
        check_results(beyond.results)
        interrupts.during(show)


def main(argv=None):
    """Run the program. Returns its exit status, or the line that says what went wrong."""
    defaults = {"learning_rate": learning_rate, "n_epochs": n_epochs, "batch_size": batch_size}
    defaults.update(n_neurons=n_neurons, n_neurons_z=n_neurons_z, activation=activation.__name__)
    args = parse_flags(argv, data_dir=MNIST_DATA, **defaults)
    tf.logging.set_verbosity(tf.logging.ERROR)
    return report_failures(run, args)


if __name__ == "__main__":
    sys.exit(main())
