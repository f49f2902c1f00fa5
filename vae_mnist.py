"""A variational autoencoder that reproduces handwritten digits and generates new ones.

It follows the book's section "Variational autoencoder in TensorFlow" step by step, for TensorFlow
1.15 to 2.21. This is the network, with the size of each layer in brackets and the names of the
parameters between two layers:

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
in the book that is x itself. The loss asks that y be predicted well and that q(z|x) stay near a
fixed distribution p(z), the prior, so that decoding a z drawn from the prior gives a new image.

As always in TensorFlow 1, the functions that build these parts compute no numbers: they describe a
graph of tensors, which a session computes later. The first dimension of each of these tensors is
the batch. Losses are in nats, as logarithms are natural.

Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, arXiv:1312.6114.
"""

import os
import sys
from functools import partial

# TensorFlow reads its log level as it is imported. 3 hides what C++ prints; errors still reach
# Python, as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow may import matplotlib, which then reads the name of its backend. A program that is
# started with ! in a notebook inherits the name of the notebook's backend, which it cannot use.
if "inline" in os.environ.get("MPLBACKEND", "") and "IPython" not in sys.modules:
    os.environ.pop("MPLBACKEND")

import numpy as np
import tensorflow.compat.v1 as tf

from data import add_mixed_noise, add_noise, pick_test_images, read_data_sets
from display import display_compared, display_images, display_losses, pictures_of_a_run

# Beyond the book. train_epoch() shows its progress; all else is for run() and main(), at the end.
from extras.checkpoints import Checkpoints, next_epoch
from extras.compiled import compile_steps
from extras.errors import RunError, errors_in_one_line, make_folders
from extras.evaluation import check_finite, evaluate, print_test
from extras.event_log import EventLog
from extras.flags import parse_flags
from extras.pictures import Animation, draw_between, draw_latent_space, draw_samples
from extras.progress import progress

# Step 1: the hyperparameters. n_batches follows from the data, in train_epoch().
learning_rate = 0.001
n_epochs = 20
batch_size = 100
n_inputs = 784  # the 28 x 28 pixels of an image, in one row
n_outputs = n_inputs
# Step 2, params, is in VAE, where the parts are joined.
# Step 3: the encoder's hidden layers; the decoder has them in reverse.
n_neurons = [512, 256]
# Step 4: the dimensions of the latent variables.
n_neurons_z = 128
# Step 5: the activation of the hidden layers.
activation = tf.nn.tanh


def placeholders(n_inputs, n_outputs):
    """x, (batch, n_inputs), which the encoder sees, and y, (batch, n_outputs), its target.

    In the book both get the same images, pixel values 0..1. With two placeholders, x can also be a
    noisy y, with values outside 0..1.
    """
    # Step 6: the placeholders.
    x = tf.placeholder(dtype=tf.float32, name="x", shape=[None, n_inputs])
    y = tf.placeholder(dtype=tf.float32, name="y", shape=[None, n_outputs])
    return x, y


def add_params(params, name, n_in, n_out):
    """Add a weight matrix, (n_in, n_out), and a bias, (n_out,), to params and to the graph.

    In both they are called "w_" + name and "b_" + name.
    """
    w_name = f"w_{name}"
    b_name = f"b_{name}"
    glorot = tf.glorot_uniform_initializer()
    params[w_name] = tf.get_variable(name=w_name, shape=[n_in, n_out], initializer=glorot)
    # The book's tf.Variable would take VAE's name scope into its name, "encoder/b_e_0000".
    zeros = tf.zeros_initializer()
    params[b_name] = tf.get_variable(name=b_name, shape=[n_out], initializer=zeros)


def dense(layer, n_units, params, name):
    """layer, (batch, n), times new weights plus a new bias: (batch, n_units), not yet activated."""
    n_in = int(layer.shape[1])  # int(): in TensorFlow 1 the size of a dimension is an object
    add_params(params, name, n_in, n_units)
    return tf.matmul(layer, params[f"w_{name}"]) + params[f"b_{name}"]


def encoder(x, params, n_neurons, n_neurons_z, activation, max_log_var=None):
    """The encoder, or recognition network, q(z|x): for each image, a normal distribution over z.

    Returns its mean z_mean and the logarithm of its variance z_log_var, (batch, n_neurons_z) each;
    the dimensions of z are independent. A variance is positive, but a layer's output can have
    either sign: hence the logarithm. Kingma and Welling 2014, appendix C.2. max_log_var: an upper
    bound on z_log_var; None: as in the book.
    """
    # Step 7: the input layer.
    layer = x
    # Step 8: the hidden layers, with w_e_0000 and b_e_0000, w_e_0001 and b_e_0001.
    n_layers = len(n_neurons)
    for i in range(0, n_layers):
        layer = activation(dense(layer, n_neurons[i], params, f"e_{i:04d}"))
    # Step 9: the mean and the variance of the latent variables.
    z_mean = dense(layer, n_neurons_z, params, "e_z_mean")
    z_log_var = dense(layer, n_neurons_z, params, "e_z_log_var")
    if max_log_var is not None:
        # One odd image can make exp(z_log_var), and with it the mean of the losses, huge.
        z_log_var = tf.minimum(z_log_var, max_log_var)
    return z_mean, z_log_var


def draw_epsilon(z_log_var):
    """Standard normal noise, in the shape of z_log_var: new numbers in each run of a session."""
    # Step 10: epsilon.
    return tf.random_normal(tf.shape(z_log_var), name="epsilon")


def reparameterize(z_mean, z_log_var, epsilon):
    """A sample z of q(z|x), (batch, n_neurons_z), made from standard normal noise epsilon.

    A number that is drawn from q(z|x) itself has no gradient with respect to mean and variance.
    Here all the randomness is in epsilon, so z is an ordinary function of z_mean and z_log_var, and
    gradients reach the encoder. exp(z_log_var * 0.5) is the standard deviation. Kingma and Welling
    2014, section 2.4.
    """
    # Step 11: z, which the book calls the posterior. It is q(z|x) that approximates the posterior.
    return z_mean + tf.exp(z_log_var * 0.5) * epsilon


def decoder(z, params, n_neurons, n_outputs, activation):
    """The decoder, or generator network, p(y|z): each pixel's probability of being white (1).

    Returns (batch, n_outputs), in 0..1. Kingma and Welling 2014, appendix C.1.
    """
    # Step 12: the hidden layers, with w_d_0001 and b_d_0001, w_d_0000 and b_d_0000.
    layer = z
    n_layers = len(n_neurons)
    for i in range(n_layers - 1, -1, -1):
        layer = activation(dense(layer, n_neurons[i], params, f"d_{i:04d}"))
    # Step 13: the output layer. "d_z_mean" is the book's name; it is the mean of y, not of z.
    model = tf.nn.sigmoid(dense(layer, n_outputs, params, "d_z_mean"))
    # The book makes these two as well, and nothing uses them: the variance of a pixel that is white
    # or black (a Bernoulli distribution) follows from its mean. They make params the book's.
    add_params(params, "d_z_log_var", int(layer.shape[1]), n_outputs)
    return model


def reconstruction_loss(y, model):
    """The cross-entropy of y and model, summed over the pixels: nats per image, (batch,).

    y, model: (batch, n_outputs), in 0..1. If each pixel of y is 0 or 1, it is -log p(y|z). A grey
    pixel costs y times what a white one would, plus 1 - y times what a black one would. This cost
    is least where model equals y, but not 0: where both are 0.5 it is log 2. Kingma and Welling
    2014, appendix C.1, equation 11.
    """
    # Step 14: rec_loss.
    log_white = tf.log(1e-10 + model)
    # In float32 the book's 1e-10 + 1 is 1, which leaves log(0) where model is 1. Nor does
    # 1e-10 + (1 - model) help: TensorFlow adds the two constants first. Hence a maximum.
    log_black = tf.log(tf.maximum(1 - model, 1e-10))
    return -tf.reduce_sum(y * log_white + (1 - y) * log_black, 1)


def regularization_loss(z_mean, z_log_var):
    """KL(q(z|x) || p(z)) for the prior p(z) = N(0, I): nats per image, (batch,).

    z_mean, z_log_var: (batch, n_neurons_z). It is the mean of log q(z|x) - log p(z) over z drawn
    from q(z|x), and 0 only where the two are equal. In one dimension, with mean m and variance v,
    log q is -(log(2 pi v) + (z - m)^2 / v) / 2, and log p is -(log(2 pi) + z^2) / 2. The mean of
    (z - m)^2 is v and that of z^2 is m^2 + v, which leaves (m^2 + v - log v - 1) / 2: no sample is
    needed. Kingma and Welling 2014, appendix B.
    """
    # Step 14: reg_loss. The sum of both is in VAE.
    return -0.5 * tf.reduce_sum(1 + z_log_var - tf.square(z_mean) - tf.exp(z_log_var), 1)


def minimize(loss, learning_rate):
    """The operation that takes one step of Adam to lower loss."""
    # Step 15: the optimizer. The book does not count the steps; --cosine-decay needs their number.
    step = tf.train.get_or_create_global_step()
    return tf.train.AdamOptimizer(learning_rate=learning_rate).minimize(loss, global_step=step)


class VAE:
    """The whole variational autoencoder, added to the default graph: steps 6 to 15, joined.

    Its parts have the book's names. A session can be fed any of them but params and optimizer,
    and computes only what is still needed. To reconstruct images, feed x; to get the same
    reconstruction again, feed epsilon too; to make new images, feed only z.

    learning_rate: Adam's, a number or a scalar tensor. n_inputs, n_outputs: the pixels of x and of
    y. n_neurons: a list of the sizes of the encoder's hidden layers. n_neurons_z: the dimensions of
    z. activation: a function of a tensor, after each hidden layer. max_log_var: as in encoder().
    """

    def __init__(
        self,
        learning_rate=learning_rate,
        n_inputs=n_inputs,
        n_outputs=n_outputs,
        n_neurons=n_neurons,
        n_neurons_z=n_neurons_z,
        activation=activation,
        max_log_var=None,
    ):
        # Step 2: every weight and bias by its name.
        self.params = params = {}
        self.x, self.y = placeholders(n_inputs, n_outputs)
        # A name scope is a box in TensorBoard's picture of the graph.
        with tf.name_scope("encoder"):
            self.z_mean, self.z_log_var = encoder(
                self.x, params, n_neurons, n_neurons_z, activation, max_log_var
            )
        with tf.name_scope("reparameterization"):
            self.epsilon = draw_epsilon(self.z_log_var)
            self.z = reparameterize(self.z_mean, self.z_log_var, self.epsilon)
        with tf.name_scope("decoder"):
            self.model = decoder(self.z, params, n_neurons, n_outputs, activation)
        with tf.name_scope("losses"):
            self.rec_loss = reconstruction_loss(self.y, self.model)
            self.reg_loss = regularization_loss(self.z_mean, self.z_log_var)
            # Step 14: the sum. Its negative estimates, from one sample of z for each image, the
            # evidence lower bound, which is at most log p(y). Kingma and Welling 2014, equations 3
            # and 10.
            self.loss = tf.reduce_mean(self.rec_loss + self.reg_loss)
        with tf.name_scope("optimizer"):
            self.optimizer = minimize(self.loss, learning_rate)


def train_epoch(tfs, steps, mnist, epoch, batch_size, noise=None):
    """Train for one epoch in the session tfs, and return its mean loss, in nats per image.

    The first epoch and every tenth are printed. steps: a VAE, or what compile_steps() makes of one.
    mnist: as read_data_sets() gives it. epoch: its number. batch_size: the images that one call of
    steps takes, at most all of the training images. noise: a function from y to x; None: x is y, as
    in the book.
    """
    # Step 1, continued: the number of batches in an epoch.
    n_batches = mnist.train.num_examples // batch_size
    # Step 16: the training. The loop over the epochs is in run().
    epoch_loss = 0.0
    for batch in progress(n_batches, f"epoch {epoch:04d}"):
        X_batch, _ = mnist.train.next_batch(batch_size)
        seen = X_batch if noise is None else noise(X_batch)
        feed_dict = {steps.x: seen, steps.y: X_batch}
        _, batch_loss = tfs.run([steps.optimizer, steps.loss], feed_dict=feed_dict)
        # NumPy 2 keeps a float32 plus a Python float in float32: the sum would lose decimals.
        epoch_loss += float(batch_loss)
    average_loss = epoch_loss / n_batches
    if epoch % 10 == 9 or epoch == 0:
        print(f"epoch: {epoch:04d}   loss = {average_loss:0.6f}", flush=True)
    return average_loss


def reconstruct(tfs, vae, test_images, test_images_noisy, test_labels, figures_dir):
    """Reconstruct clean and noisy test images with the trained model; draw all into figures_dir.

    Returns the four sets of images by their names, (n, n_outputs) each.
    """
    # Step 16: the reconstructions.
    Y_test_pred1 = tfs.run(vae.model, feed_dict={vae.x: test_images})
    Y_test_pred2 = tfs.run(vae.model, feed_dict={vae.x: test_images_noisy})
    rows = {
        "test_images": test_images,
        "Y_test_pred1": Y_test_pred1,
        "test_images_noisy": test_images_noisy,
        "Y_test_pred2": Y_test_pred2,
    }
    for name, images in rows.items():
        display_images(images, test_labels, f"{figures_dir}/{name}.png")
    return rows


# The book's steps end here. run() takes them in order, with what lies beyond the book in between.
# What is switched off does nothing when it is called: Checkpoints without a folder, for example.


def run(args):
    """Run the program as the flags say: read the data, build the graph, train, test and draw."""
    # 0, or the epoch after the last one that an earlier run saved.
    first_epoch = next_epoch(args.checkpoint_dir)
    # A run that goes on draws new random numbers for its training, and the same ones for its test.
    seed = args.seed + first_epoch
    test_rng = np.random.default_rng(args.seed)

    # None: a tenth of the training images, but not more than the book's 5,000.
    mnist = read_data_sets(args.data_dir, validation_size=None, seed=seed)
    test_images, test_images_noisy, test_labels = pick_test_images(mnist.test, 4, test_rng)
    n_images = mnist.train.num_examples
    n_batches = n_images // args.batch_size
    if n_batches == 0:
        raise RunError(f"--batch-size {args.batch_size}: more than the {n_images} training images")

    noise = None
    validation_x = mnist.validation.images
    # 1 and 2 keep the noise of training and that of validation apart; the test's is test_rng's.
    noise_rng = np.random.default_rng([1, args.seed, first_epoch])
    if args.denoise:
        noise = partial(add_noise, rng=noise_rng)
        validation_x = add_noise(validation_x, np.random.default_rng([2, args.seed]))
    elif args.mixed_noise:
        # This helps the training. The model is still judged by what it makes of clean images.
        noise = partial(add_mixed_noise, rng=noise_rng)

    with tf.Graph().as_default():
        tf.set_random_seed(seed)
        rate = args.learning_rate
        if args.cosine_decay:
            step = tf.train.get_or_create_global_step()
            rate = tf.train.cosine_decay(rate, step, n_batches * args.n_epochs)
        vae = VAE(
            rate,
            n_neurons=args.n_neurons,
            n_neurons_z=args.n_neurons_z,
            activation=args.activation,
            max_log_var=args.max_log_var,
        )
        steps = vae
        images_per_call = args.batch_size
        if args.xla:
            # One call takes several steps, each on a batch of its own, with the same variables.
            steps, images_per_call = compile_steps(vae, draw_epsilon, args.batch_size, n_batches)
        checkpoints = Checkpoints(args, first_epoch, mnist.train)

        with tf.Session() as tfs:
            tf.global_variables_initializer().run()
            losses = checkpoints.restore(tfs)
            # Only now, when flags, data and checkpoint have been accepted, are folders made.
            make_folders(args.figures_dir, args.checkpoint_dir, args.log_dir)
            log = EventLog(args.log_dir, tfs, vae, test_images)
            animation = Animation(tfs, vae, first_epoch)

            # Step 16, continued: the loop over the epochs that are not on record.
            for epoch in range(len(losses), args.n_epochs):
                average_loss = train_epoch(tfs, steps, mnist, epoch, images_per_call, noise)
                check_finite(average_loss, f"epoch {epoch}")
                validation = evaluate(tfs, vae, validation_x, mnist.validation.images)
                check_finite(validation.loss, f"epoch {epoch}, validation")
                parts = (validation.rec_loss, validation.reg_loss)
                losses.append((average_loss, validation.loss, *parts))
                # The log first: if the program is killed in between, it has the epoch twice.
                log.write(tfs, epoch, average_loss, validation)
                checkpoints.save(tfs, losses)
                animation.watch(tfs, epoch)

            images = mnist.test.images
            clean = evaluate(tfs, vae, images, images)
            noisy = evaluate(tfs, vae, add_noise(images, test_rng), images)
            # The loss of the task that was trained.
            test = noisy if args.denoise else clean
            print_test(test, clean.mse, noisy.mse)

            folder = args.figures_dir
            make_folders(folder)  # somebody may have removed it since
            rows = reconstruct(tfs, vae, test_images, test_images_noisy, test_labels, folder)
            display_compared(rows, test_labels, f"{folder}/compared.png")
            draw_samples(tfs, vae, test_rng, folder)
            draw_between(tfs, vae, test_images, folder)
            draw_latent_space(tfs, vae, mnist.test, folder)
            display_losses(losses, f"{folder}/loss.png")
            animation.save(f"{folder}/manifold.gif")
    print(f"pictures in {folder}", flush=True)
    # Only now may a number that is not finite end the run: the pictures are saved.
    for number in (test.loss, clean.mse, noisy.mse):
        check_finite(number, "the test")


def main(argv=None):
    """Run the program with the flags in argv, a list of words; None: those of the command line.

    In a notebook: main([]). Prints the results on stdout and, on a terminal, its progress on
    stderr. Raises what errors_in_one_line() turns into one line, such as DataError or OSError. A
    flag that makes no sense is reported on stderr instead, and raises SystemExit, as --help does.
    """
    args = parse_flags(
        argv,
        learning_rate=learning_rate,
        n_epochs=n_epochs,
        batch_size=batch_size,
        n_neurons=n_neurons,
        n_neurons_z=n_neurons_z,
        activation=activation,
    )
    tf.logging.set_verbosity(tf.logging.ERROR)
    with pictures_of_a_run():
        run(args)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
