"""A variational autoencoder that learns to redraw handwritten digits, and to draw new ones.

It follows the chapter section "Variational autoencoder in TensorFlow" step by step, for TensorFlow
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
in the chapter that is x itself. The loss asks that y be predicted well and that q(z|x) stay near a
fixed distribution p(z), the prior, so that decoding a z drawn from the prior gives a new image.

As always in TensorFlow 1, the functions that build these parts compute no numbers: they describe a
graph of tensors, which a session computes later. The first dimension of x, model and all between
them is the batch. Losses are in nats, the unit of information of natural logarithms.

Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, arXiv:1312.6114.
"""

import os
import sys
from functools import partial

# Both are read while the packages are imported: TensorFlow's log level, and matplotlib's backend. A
# program started with ! in a notebook inherits a backend that works only inside IPython.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "inline" in os.environ.get("MPLBACKEND", "") and "IPython" not in sys.modules:
    os.environ.pop("MPLBACKEND")

import numpy as np
import tensorflow.compat.v1 as tf

from data import draw_test_images, read_data_sets
from display import display_images
from extras.progress import progress

# Not in the chapter:
from data import MNIST_DATA, DataError, add_mixed_noise, add_noise
from display import closing_figures, display_compared, display_kl, display_latent, display_losses
from display import display_manifold, prior_grid, save_unfolding, show
from extras.checkpoints import Checkpoints, next_epoch
from extras.compiled import compile_steps
from extras.errors import check_writable, errors_in_one_line
from extras.evaluation import check_finite, decode, decode_between, evaluate
from extras.evaluation import kl_by_dimension, print_test
from extras.event_log import EventLog
from extras.flags import parse_flags, shared_flags

# Step 1: the hyperparameters. n_batches follows from the data, in train().
learning_rate = 0.001
n_epochs = 20
batch_size = 100
n_inputs = 784  # the 28 x 28 pixels of an image, in one row
n_outputs = n_inputs
# Step 2, params, is in VAE, where the parts are joined.
# Step 3: the encoder's hidden layers, n_layers = 2 of them; the decoder has them in reverse.
n_neurons = [512, 256]
# Step 4: the dimensions of the latent variables.
n_neurons_z = 128
# Step 5: the activation of the hidden layers.
activation = tf.nn.tanh


# Step 6: the placeholders.
def placeholders(n_inputs, n_outputs):
    """x, (batch, n_inputs), which the encoder sees, and y, (batch, n_outputs), its target.

    Both hold pixel values, 0..1. In the chapter they get the same images. With two placeholders x
    can also be a noisy y, whose values may leave 0..1.
    """
    x = tf.placeholder(dtype=tf.float32, name="x", shape=[None, n_inputs])
    y = tf.placeholder(dtype=tf.float32, name="y", shape=[None, n_outputs])
    return x, y


def weights(n_in, n_out, params, name):
    """A weight matrix, (n_in, n_out), and a bias, (n_out,), new in params and in the graph.

    Their names are "w_" + name and "b_" + name in both: unlike tf.Variable, tf.get_variable
    ignores name scopes.
    """
    w, b = "w_" + name, "b_" + name
    params[w] = tf.get_variable(w, [n_in, n_out], initializer=tf.glorot_uniform_initializer())
    params[b] = tf.get_variable(b, [n_out], initializer=tf.zeros_initializer())
    return params[w], params[b]


def dense(layer, n_units, params, name):
    """A layer without its activation: layer, (batch, n), times weights plus bias.

    Returns (batch, n_units).
    """
    w, b = weights(int(layer.shape[1]), n_units, params, name)
    return tf.matmul(layer, w) + b


def encoder(x, params, n_neurons, n_neurons_z, activation, max_log_var=None):
    """The encoder, or recognition network, q(z|x): for each image, a normal distribution over z.

    Returns its mean z_mean and the logarithm of its variance z_log_var, (batch, n_neurons_z) each;
    the dimensions of z are independent. A variance is positive, but a layer's output can have
    either sign: hence the logarithm. Kingma and Welling 2014, appendix C.2. max_log_var: a bound on
    z_log_var for long trainings; the chapter has none.
    """
    # Step 7: the input layer.
    layer = x
    # Step 8: the hidden layers.
    for i in range(len(n_neurons)):
        layer = activation(dense(layer, n_neurons[i], params, f"e_{i:04d}"))
    # Step 9: the mean and the variance of the latent variables.
    z_mean = dense(layer, n_neurons_z, params, "e_z_mean")
    z_log_var = dense(layer, n_neurons_z, params, "e_z_log_var")
    if max_log_var is not None:
        # exp(z_log_var) overflows easily: a single outlier among the images is enough.
        z_log_var = tf.minimum(z_log_var, max_log_var)
    return z_mean, z_log_var


# Step 10: epsilon.
def draw_epsilon(z_log_var):
    """Standard normal noise, in the shape of z_log_var: new numbers in each run of a session."""
    return tf.random_normal(tf.shape(z_log_var), name="epsilon")


# Step 11: the posterior, as the chapter calls it. That is q(z|x); z is a sample of it.
def reparameterize(z_mean, z_log_var, epsilon):
    """A sample z of q(z|x), (batch, n_neurons_z), made from standard normal noise epsilon.

    A sampler that hands over only the number it has drawn tells nothing of how that number would
    change with mean and variance. Here all the chance is in epsilon, so z is an ordinary function
    of z_mean and z_log_var, and gradients reach the encoder. exp(z_log_var * 0.5) is the standard
    deviation. Kingma and Welling 2014, section 2.4.
    """
    return z_mean + tf.exp(z_log_var * 0.5) * epsilon


def decoder(z, params, n_neurons, n_outputs, activation):
    """The decoder, or generator network, p(y|z): each pixel's probability of being white (1).

    Returns (batch, n_outputs), in 0..1. Kingma and Welling 2014, appendix C.1.
    """
    # Step 12: the hidden layers.
    layer = z
    for i in reversed(range(len(n_neurons))):
        layer = activation(dense(layer, n_neurons[i], params, f"d_{i:04d}"))
    # Step 13: the output layer. "d_z_mean" is the chapter's name; it is the mean of y, not of z.
    model = tf.nn.sigmoid(dense(layer, n_outputs, params, "d_z_mean"))
    # The chapter also makes w_d_z_log_var and b_d_z_log_var, but never uses them: the variance of a
    # pixel that is white or black (a Bernoulli distribution) follows from its mean.
    weights(n_neurons[0], n_outputs, params, "d_z_log_var")
    return model


# Step 14: the losses.
def reconstruction_loss(y, model):
    """The cross-entropy of y and model, summed over the pixels: nats per image, (batch,).

    y, model: (batch, n_outputs), in 0..1. It is -log p(y|z) where each pixel of y is 0 or 1. A grey
    pixel y costs what a white one would, times y, plus what a black one would, times 1 - y: even
    where model equals y, some loss remains, log 2 at 0.5. Kingma and Welling 2014, appendix C.1,
    equation 11.
    """
    log_white = tf.log(1e-10 + model)
    # In float32 the chapter's 1e-10 + 1 - model is 0 where model is 1, and TensorFlow folds
    # 1e-10 + (1 - model) back into it before it runs the graph. A maximum survives.
    log_black = tf.log(tf.maximum(1 - model, 1e-10))
    return -tf.reduce_sum(y * log_white + (1 - y) * log_black, 1)


def regularization_loss(z_mean, z_log_var):
    """KL(q(z|x) || p(z)) for the prior p(z) = N(0, I): nats per image, (batch,).

    z_mean, z_log_var: (batch, n_neurons_z). It tells how far q(z|x) is from the prior, and is 0
    where they are equal. For two normal distributions there is a formula, so no sample is needed.
    Kingma and Welling 2014, appendix B.
    """
    return -0.5 * tf.reduce_sum(1 + z_log_var - tf.square(z_mean) - tf.exp(z_log_var), 1)


# Step 15: the optimizer.
def minimize(loss, learning_rate, decay_steps=None):
    """The operation that takes one step of Adam down the gradient of loss.

    With decay_steps, the learning rate falls to 0 over that many steps, along a cosine curve.
    """
    step = tf.train.get_or_create_global_step()
    if decay_steps is not None:
        learning_rate = tf.train.cosine_decay(learning_rate, step, decay_steps)
    return tf.train.AdamOptimizer(learning_rate=learning_rate).minimize(loss, global_step=step)


class VAE:
    """The whole variational autoencoder, added to the default graph: steps 6 to 15, joined.

    Its parts have the chapter's names. A session can be fed any of them but params and optimizer,
    and computes only what is still needed. To reconstruct images, feed x; to get the same
    reconstruction again, feed epsilon too; to make new images, feed only z.
    """

    def __init__(
        self,
        learning_rate=learning_rate,
        n_inputs=n_inputs,
        n_outputs=n_outputs,
        n_neurons=n_neurons,
        n_neurons_z=n_neurons_z,
        activation=activation,
        decay_steps=None,
        max_log_var=None,
    ):
        # Step 2: every weight and bias by its name.
        self.params = params = {}
        self.x, self.y = placeholders(n_inputs, n_outputs)
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
            # Step 14, the sum: minus the evidence lower bound, a lower bound of log p(y), Kingma
            # and Welling 2014, equation 3, estimated from one sample of z for each image, equation
            # 10. A grey pixel counts as a probability of white.
            self.loss = tf.reduce_mean(self.rec_loss + self.reg_loss)
        with tf.name_scope("optimizer"):
            self.optimizer = minimize(self.loss, learning_rate, decay_steps)


# Step 16, first half: the training.
def train(tfs, vae, mnist, epochs=range(n_epochs), batch_size=batch_size, noise=None):
    """Train in the session tfs. A generator: each value asked of it trains an epoch.

    The value is the average loss of that epoch, so others may use the session between two epochs.
    mnist: as read_data_sets() gives it. epochs: their numbers. noise: makes x from y; without it,
    x is y as in the chapter. Where it adds noise, the model learns to remove it.
    """
    n_batches = mnist.train.num_examples // batch_size
    for epoch in epochs:
        epoch_loss = 0.0
        for batch in progress(n_batches, f"epoch {epoch:04d}"):
            X_batch, _ = mnist.train.next_batch(batch_size)
            feed_dict = {vae.x: X_batch if noise is None else noise(X_batch), vae.y: X_batch}
            _, batch_loss = tfs.run([vae.optimizer, vae.loss], feed_dict=feed_dict)
            # NumPy 2 keeps a float32 plus a Python float in float32: the sum would lose decimals.
            epoch_loss += float(batch_loss)
        average_loss = epoch_loss / n_batches
        if epoch % 10 == 9 or epoch == 0:
            print(f"epoch: {epoch:04d}   loss = {average_loss:0.6f}", flush=True)
        yield average_loss


# Step 16, second half: the reconstructions.
def reconstruct(tfs, vae, test_images, test_images_noisy, test_labels, figures_dir):
    """Have the trained model redraw clean and noisy test images; pictures go into figures_dir.

    Returns what it makes of the clean and of the noisy images, (n, n_outputs) each. As z is a
    sample, it makes something slightly different each time.
    """
    Y_test_pred1 = tfs.run(vae.model, feed_dict={vae.x: test_images})
    Y_test_pred2 = tfs.run(vae.model, feed_dict={vae.x: test_images_noisy})
    display_images(test_images, test_labels, f"{figures_dir}/test_images.png")
    display_images(Y_test_pred1, test_labels, f"{figures_dir}/Y_test_pred1.png")
    display_images(test_images_noisy, test_labels, f"{figures_dir}/test_images_noisy.png")
    display_images(Y_test_pred2, test_labels, f"{figures_dir}/Y_test_pred2.png")
    return Y_test_pred1, Y_test_pred2


# The chapter ends here. What follows goes beyond it: how good the model is on images that were not
# used for training, more pictures, checkpoints, a log, compiled training.


def run(args):
    """Run the program, from the data to the pictures, as the flags say."""
    first_epoch = next_epoch(args.checkpoint_dir)
    # A resumed run must not draw the random numbers of its first epochs again, but for its test.
    seed = args.seed + first_epoch
    noise_rng = np.random.default_rng([args.seed, first_epoch])
    test_rng = np.random.default_rng(args.seed)

    mnist = read_data_sets(args.data_dir, validation_size=None, seed=seed)
    n_images = mnist.train.num_examples
    n_batches = n_images // args.batch_size
    if n_batches == 0:
        raise DataError(f"--batch-size {args.batch_size}: more than the {n_images} training images")
    check_writable(args.figures_dir, args.checkpoint_dir, args.log_dir)
    test_images, test_images_noisy, test_labels = draw_test_images(mnist.test, 4, test_rng)
    noise = None
    if args.denoise:
        noise = partial(add_noise, rng=noise_rng)
    elif args.mixed_noise:

        def noise(images):  # drawn batch by batch, so that it is the same with --xla
            batches = np.split(images, len(images) // args.batch_size)
            return np.concatenate([add_mixed_noise(batch, noise_rng) for batch in batches])

    # --xla needs resource variables. They are TensorFlow 2's default, but can be switched off.
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=args.xla or None):
        tf.set_random_seed(seed)
        vae = VAE(
            learning_rate=args.learning_rate,
            n_neurons=args.n_neurons,
            n_neurons_z=args.n_neurons_z,
            activation=getattr(tf.nn, args.activation, activation),
            decay_steps=n_batches * args.n_epochs if args.cosine_decay else None,
            max_log_var=args.max_log_var,
        )
        trained, k = vae, 1
        if args.xla:  # the same model, but one run of its optimizer takes k training steps
            trained, k = compile_steps(vae, draw_epsilon, args.batch_size, n_batches)
        if args.checkpoint_dir:
            checkpoints = Checkpoints(args.checkpoint_dir, shared_flags(args), mnist.train)

        with tf.Session() as tfs:
            tf.global_variables_initializer().run()
            losses = checkpoints.restore(tfs) if args.checkpoint_dir else []
            if args.log_dir:
                log = EventLog(args.log_dir, tfs, vae, test_images)
            grid = prior_grid(15)
            frames = []
            if args.n_neurons_z == 2:  # such a latent space can be drawn as it unfolds
                frames.append((f"before epoch {first_epoch:04d}", decode(tfs, vae, grid)))

            epochs = range(first_epoch, args.n_epochs)
            averages = train(tfs, trained, mnist, epochs, k * args.batch_size, noise)
            for epoch, average_loss in zip(epochs, averages):
                check_finite(average_loss, f"epoch {epoch}")
                # The noise of --mixed-noise is a help in training, not the task.
                validation_noise = noise if args.denoise else None
                validation = evaluate(tfs, vae, mnist.validation.images, validation_noise)
                check_finite(validation.loss, f"epoch {epoch}, validation")
                losses.append((average_loss, validation.loss))
                if args.checkpoint_dir:
                    checkpoints.save(tfs, losses)
                if args.log_dir:
                    log.write(tfs, epoch, average_loss, validation)
                if args.n_neurons_z == 2:
                    frames.append((f"after epoch {epoch:04d}", decode(tfs, vae, grid)))

            clean = evaluate(tfs, vae, mnist.test.images)
            noisy = evaluate(tfs, vae, mnist.test.images, partial(add_noise, rng=test_rng))
            learned = noisy if args.denoise else clean
            print_test(learned, clean.mse, noisy.mse)

            folder = args.figures_dir
            Y_test_pred1, Y_test_pred2 = reconstruct(
                tfs, vae, test_images, test_images_noisy, test_labels, folder
            )
            rows = {
                "test_images": test_images,
                "Y_test_pred1": Y_test_pred1,
                "test_images_noisy": test_images_noisy,
                "Y_test_pred2": Y_test_pred2,
            }
            display_compared(rows, test_labels, f"{folder}/compared.png")
            samples = decode(tfs, vae, test_rng.standard_normal((100, args.n_neurons_z)))
            display_images(samples, None, f"{folder}/samples.png", "Decoded from z ~ N(0, I)")
            between, places = decode_between(tfs, vae, test_images)
            title = "Decoded from z on the line between two test images"
            display_images(between, places, f"{folder}/between.png", title)
            display_kl(kl_by_dimension(tfs, vae, mnist.test.images), f"{folder}/kl.png")
            display_losses(losses, f"{folder}/loss.png")
            if args.n_neurons_z == 2:
                z_mean = tfs.run(vae.z_mean, feed_dict={vae.x: mnist.test.images})
                display_latent(z_mean, mnist.test.labels, f"{folder}/latent.png")
                display_manifold(partial(decode, tfs, vae), f"{folder}/manifold.png")
                if epochs:  # a run that was finished before has nothing new to show
                    save_unfolding(frames, f"{folder}/manifold.gif")
    print(f"pictures in {folder}", flush=True)
    check_finite(learned.loss + clean.mse + noisy.mse, "the test")
    show()


def main(argv=None):
    """Run the program with the flags in argv, a list of words; None: those of the command line.

    In a notebook: main([]). Raises what went wrong.
    """
    args = parse_flags(
        argv,
        learning_rate=learning_rate,
        n_epochs=n_epochs,
        batch_size=batch_size,
        n_neurons=n_neurons,
        n_neurons_z=n_neurons_z,
        activation=activation.__name__,
        data_dir=MNIST_DATA,
    )
    tf.logging.set_verbosity(tf.logging.ERROR)
    with closing_figures():
        run(args)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
