"""A variational autoencoder that learns to redraw handwritten digits, and to draw new ones.

It follows the chapter section "Variational autoencoder in TensorFlow", for TensorFlow 1.15 to
2.21. Read it from top to bottom: hyperparameters, placeholders, encoder, reparameterization,
decoder, loss, optimizer, training, reconstruction.

The encoder turns an image x into a normal distribution q(z|x) over some hidden numbers z, the
latent variables. The decoder turns a sample of z into an image that should look like y. The loss
asks for two things: that y is predicted well, and that q(z|x) stays near a fixed normal
distribution p(z), the prior. Decoding a z drawn from the prior then gives a new image.

As always in TensorFlow 1, the functions that build these parts compute no numbers. They describe
a graph of tensors, which a session computes later. The first dimension of a tensor is the batch:
the images that are handled together. Losses are in nats, the unit of information that belongs to
natural logarithms.

Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, arXiv:1312.6114.
"""

import argparse
import json
import os
import sys
from collections import namedtuple

import numpy as np

# Before TensorFlow, which imports matplotlib too: display quiets it first.
from data import MNIST_DATA, DataError, add_noise, draw_distinct, read_data_sets
from data import check_writable, folder_name, saved_epochs
from display import display_images, display_latent, display_losses, display_manifold
from display import display_progress, show

# TensorFlow reads its log level once, while it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow.compat.v1 as tf

# The chapter's hyperparameters. All but n_inputs and n_outputs are the defaults of flags.
learning_rate = 0.001
n_epochs = 20
batch_size = 100
n_inputs = 784  # the 28 x 28 pixels of an image, in one row
n_outputs = n_inputs
n_neurons = [512, 256]  # the encoder's hidden layers; the decoder has them in reverse
n_neurons_z = 128  # the dimensions of the latent variables
activation = tf.nn.tanh


def placeholders(n_inputs, n_outputs):
    """x, (batch, n_inputs), which the encoder sees, and y, (batch, n_outputs), its target.

    Both hold pixel values; in the chapter they get the same images, with values in 0..1. With two
    placeholders x can be a noisy y, and its values may then leave 0..1.
    """
    x = tf.placeholder(dtype=tf.float32, name="x", shape=[None, n_inputs])
    return x, tf.placeholder(dtype=tf.float32, name="y", shape=[None, n_outputs])


def dense(layer, n_units, params, name):
    """A layer without its activation: layer, (batch, n), times weights plus biases.

    Returns (batch, n_units). The new variables go into params as "w_" + name and "b_" + name;
    tf.get_variable gives them these names in the graph too, inside any name scope.
    """
    w, b = "w_" + name, "b_" + name
    shape = [int(layer.shape[1]), n_units]
    params[w] = tf.get_variable(w, shape, initializer=tf.glorot_uniform_initializer())
    params[b] = tf.get_variable(b, [n_units], initializer=tf.zeros_initializer())
    return tf.matmul(layer, params[w]) + params[b]


def encoder(x, params, n_neurons, n_neurons_z, activation):
    """The recognition network q(z|x): for each image, a normal distribution over z.

    Returns its mean z_mean and the logarithm of its variance z_log_var, (batch, n_neurons_z) each;
    the dimensions of z are independent. A variance is positive, but a layer's output can have
    either sign: hence the logarithm. Kingma and Welling 2014, appendix C.2.
    """
    layer = x
    for i in range(len(n_neurons)):
        layer = activation(dense(layer, n_neurons[i], params, f"e_{i:04d}"))
    z_mean = dense(layer, n_neurons_z, params, "e_z_mean")
    z_log_var = dense(layer, n_neurons_z, params, "e_z_log_var")
    return z_mean, z_log_var


def reparameterize(z_mean, z_log_var, epsilon):
    """A sample z of q(z|x), (batch, n_neurons_z), made from standard normal noise epsilon.

    No gradient flows through a random draw. Here all the randomness is in epsilon, so z is an
    ordinary function of z_mean and z_log_var, and the encoder can learn through it.
    exp(z_log_var * 0.5) is the standard deviation. Kingma and Welling 2014, section 2.4.
    """
    return z_mean + tf.exp(z_log_var * 0.5) * epsilon


def decoder(z, params, n_neurons, n_outputs, activation):
    """The generator network p(y|z): for each pixel, the probability that it is white (1).

    Returns (batch, n_outputs), in 0..1. Kingma and Welling 2014, appendix C.1.
    """
    layer = z
    for i in reversed(range(len(n_neurons))):
        layer = activation(dense(layer, n_neurons[i], params, f"d_{i:04d}"))
    # "d_z_mean" is the chapter's name; it is the mean of y, not of z.
    model = tf.nn.sigmoid(dense(layer, n_outputs, params, "d_z_mean"))
    # The chapter makes these two parameters and never uses them; they are kept so that params is
    # the same. A normal decoder would need a variance; that of a Bernoulli follows from its mean.
    dense(layer, n_outputs, params, "d_z_log_var")
    return model


def reconstruction_loss(y, model):
    """The cross-entropy of y and model, summed over the pixels: nats per image, (batch,).

    y, model: (batch, n_outputs), in 0..1. It is -log p(y|z) where each pixel of y is 0 or 1. For
    grey pixels it is the average of that if each were white with probability y, so that even a
    perfect model does not reach 0. Kingma and Welling 2014, appendix C.1, equation 11.
    """
    # The sigmoid can reach exactly 0 or 1, and log(0) must not happen. The chapter adds 1e-10 in
    # both logarithms. In the second that is lost, because float32 cannot hold 1 + 1e-10. Brackets
    # do not help: TensorFlow joins the two constants into one. It leaves a maximum as it is.
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
        # As a float: there may be more steps than an int32 can count.
        learning_rate = tf.train.cosine_decay(learning_rate, step, float(decay_steps))
    return tf.train.AdamOptimizer(learning_rate=learning_rate).minimize(loss, global_step=step)


# The parts of the graph, by the chapter's names; not to be confused with tf.Graph. Any of the
# tensors can be fed, and a session then computes only what is still needed. To reconstruct images,
# feed x. To get the same reconstruction again, feed epsilon too. To make new images, feed only z.
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
):
    """Add the whole variational autoencoder to the default graph. Returns its parts as a Graph."""
    params = {}
    x, y = placeholders(n_inputs, n_outputs)
    with tf.name_scope("encoder"):
        z_mean, z_log_var = encoder(x, params, n_neurons, n_neurons_z, activation)
    with tf.name_scope("reparameterization"):
        epsilon = tf.random_normal(tf.shape(z_log_var), name="epsilon")
        z = reparameterize(z_mean, z_log_var, epsilon)
    with tf.name_scope("decoder"):
        model = decoder(z, params, n_neurons, n_outputs, activation)
    with tf.name_scope("losses"):
        rec_loss = reconstruction_loss(y, model)
        reg_loss = regularization_loss(z_mean, z_log_var)
        # Minus the evidence lower bound, equation 3 of Kingma and Welling 2014. Its expectation
        # over z is estimated from one sample for each image, as in their equation 10.
        loss = tf.reduce_mean(rec_loss + reg_loss)
    with tf.name_scope("optimizer"):
        optimizer = minimize(loss, learning_rate, decay_steps)
    return Graph(
        x, y, params, z_mean, z_log_var, epsilon, z, model, rec_loss, reg_loss, loss, optimizer
    )


def train(tfs, graph, data_set, epochs, batch_size, noise=None):
    """Train for the numbers in epochs, a range. Yields the average loss after each epoch.

    With noise, a numpy Generator, x is y plus new noise in every batch, and the model learns to
    remove it. Raises FloatingPointError if the loss is infinite or nan.
    """
    n_batches = data_set.num_examples // batch_size
    for epoch in epochs:
        epoch_loss = 0.0
        for batch in display_progress(n_batches, f"epoch {epoch:04d}"):
            Y_batch, _ = data_set.next_batch(batch_size)
            X_batch = Y_batch if noise is None else add_noise(Y_batch, noise)
            feed_dict = {graph.x: X_batch, graph.y: Y_batch}
            _, batch_loss = tfs.run([graph.optimizer, graph.loss], feed_dict=feed_dict)
            check_finite(batch_loss, f"epoch {epoch}, batch {batch}")
            epoch_loss += float(batch_loss)
        average_loss = epoch_loss / n_batches
        if epoch % 10 == 9 or epoch == 0:
            print(f"epoch: {epoch:04d}   loss = {average_loss:0.6f}", flush=True)
        yield average_loss


def check_finite(loss, where):
    """Raise FloatingPointError, saying where, if the loss is infinite or nan."""
    if not np.isfinite(loss):
        raise FloatingPointError(f"loss is {loss} in {where}: try a lower --learning-rate")


def evaluate(tfs, graph, images, noise=None):
    """Test the model on images, (n, n_outputs), or on noisy copies of them if noise is given.

    Returns the means of rec_loss and reg_loss in nats per image, and the mean squared error per
    pixel of the reconstructions against the clean images.
    """
    # In parts, so that memory stays small.
    sums = np.zeros(3)
    for i in range(0, len(images), 1000):
        Y = images[i : i + 1000]
        X = Y if noise is None else add_noise(Y, noise)
        fetches = [graph.rec_loss, graph.reg_loss, graph.model]
        rec_loss, reg_loss, model = tfs.run(fetches, feed_dict={graph.x: X, graph.y: Y})
        sums += [rec_loss.sum(), reg_loss.sum(), np.square(model - Y).mean(axis=1).sum()]
    return sums / len(images)


def run(args):
    """Run the chapter's program, from the data to the pictures, with what the flags add."""
    first_epoch = max(saved_epochs(args.checkpoint_dir), default=-1) + 1
    # A run that goes on from a checkpoint needs random numbers that it has not used before.
    seed = args.seed + first_epoch
    mnist = read_data_sets(args.data_dir, seed=seed)
    n_images = mnist.train.num_examples
    if args.batch_size > n_images:
        raise DataError(f"--batch-size {args.batch_size}: more than the {n_images} training images")
    check_writable(args.figures_dir, args.checkpoint_dir, args.log_dir)
    rng = np.random.default_rng(args.seed)
    test_images, test_labels = draw_distinct(mnist.test, 4, rng)
    test_images_noisy = add_noise(test_images, rng)
    noise = np.random.default_rng([args.seed, first_epoch]) if args.denoise else None

    with tf.Graph().as_default(), tf.Session() as tfs:
        tf.set_random_seed(seed)
        graph = build_graph(
            learning_rate=args.learning_rate,
            n_neurons=args.n_neurons,
            n_neurons_z=args.n_neurons_z,
            activation=getattr(tf.nn, args.activation),
            decay_steps=n_images // args.batch_size * args.n_epochs if args.cosine_decay else None,
        )
        checkpoints = Checkpoints(args, mnist.train.labels) if args.checkpoint_dir else None
        log = EventLog(args.log_dir, graph, tfs, test_images) if args.log_dir else None
        tf.global_variables_initializer().run()
        losses = checkpoints.restore(tfs) if first_epoch else []
        epochs = range(first_epoch, args.n_epochs)
        # With a log, a training step also notes its losses.
        trained = log.graph if log else graph
        for average_loss in train(tfs, trained, mnist.train, epochs, args.batch_size, noise):
            rec, reg, _ = evaluate(tfs, graph, mnist.validation.images, noise)
            check_finite(rec + reg, f"epoch {len(losses)}, validation")
            losses.append((average_loss, rec + reg))
            if log:
                log.write_epoch(tfs)
            if checkpoints:
                checkpoints.save(tfs, losses)

        clean = evaluate(tfs, graph, mnist.test.images)
        noisy = evaluate(tfs, graph, mnist.test.images, rng)
        # The loss of what was learned: with --denoise, to restore noisy images.
        rec, reg, _ = noisy if args.denoise else clean
        print(f"test loss = {rec + reg:0.6f}   rec = {rec:0.6f}   reg = {reg:0.6f}")
        print(f"test mse  = {clean[2]:0.6f} clean   {noisy[2]:0.6f} noisy", flush=True)

        def decode(z):
            return tfs.run(graph.model, feed_dict={graph.z: z})

        Y_test_pred1 = tfs.run(graph.model, feed_dict={graph.x: test_images})
        Y_test_pred2 = tfs.run(graph.model, feed_dict={graph.x: test_images_noisy})
        display_images(test_images, test_labels, f"{args.figures_dir}/test_images.png")
        display_images(Y_test_pred1, test_labels, f"{args.figures_dir}/Y_test_pred1.png")
        display_images(test_images_noisy, test_labels, f"{args.figures_dir}/test_images_noisy.png")
        display_images(Y_test_pred2, test_labels, f"{args.figures_dir}/Y_test_pred2.png")
        # Beyond the chapter: decode z drawn from the prior, to make new images.
        samples = decode(rng.standard_normal((100, args.n_neurons_z)))
        display_images(samples, None, f"{args.figures_dir}/samples.png", "Decoded from z ~ N(0, I)")
        display_losses(losses, f"{args.figures_dir}/loss.png")
        if args.n_neurons_z == 2:
            z_mean = tfs.run(graph.z_mean, feed_dict={graph.x: mnist.test.images})
            display_latent(z_mean, mnist.test.labels, f"{args.figures_dir}/latent.png")
            display_manifold(decode, f"{args.figures_dir}/manifold.png")
    print(f"pictures in {args.figures_dir}", flush=True)
    show()


# The chapter ends here. What follows keeps a run safe, logs it, and reads its flags.


class Checkpoints:
    """The state of a run after each of its newest two epochs, in files vae-<epoch>.*

    Besides all variables it holds a record: the losses so far, and the flags that a later run must
    share to go on. TensorFlow writes the index last, and renames it when it is complete: if the
    index is there, so is the whole checkpoint.
    """

    def __init__(self, args, labels):
        self.folder = args.checkpoint_dir
        self.flags = {k: v for k, v in vars(args).items() if k != "seed" and not k.endswith("_dir")}
        # The first labels tell one data set from another, in whatever folder it is.
        self.flags["first labels"] = labels[:20].tolist()
        self.record = tf.get_variable("record", initializer="", trainable=False)
        self.saver = tf.train.Saver(max_to_keep=2)

    def restore(self, tfs):
        """Set all variables from the newest checkpoint. Returns the losses up to it.

        Raises DataError, and changes nothing in the folder, if it is damaged or was made with other
        flags.
        """
        paths = [f"{self.folder}/vae-{epoch}" for epoch in saved_epochs(self.folder)]
        try:
            there, losses = json.loads(tf.train.load_checkpoint(paths[-1]).get_tensor("record"))
            # A finished run may get more epochs, but not on a cosine: its learning rate is 0.
            if len(losses) <= self.flags["n_epochs"] and not self.flags["cosine_decay"]:
                there["n_epochs"] = self.flags["n_epochs"]
            for name, here in self.flags.items():
                if there[name] != here:
                    raise DataError(f"{paths[-1]}: has {name} = {there[name]}, this run {here}")
            self.saver.restore(tfs, paths[-1])
        except (tf.errors.OpError, ValueError, LookupError, TypeError) as error:
            raise DataError(f"{paths[-1]}: damaged or foreign: remove its files") from error
        self.saver.recover_last_checkpoints(paths)
        return losses

    def save(self, tfs, losses):
        """Add a checkpoint of the epoch that the losses end with."""
        self.record.load(json.dumps([self.flags, losses]), tfs)
        self.saver.save(tfs, f"{self.folder}/vae", len(losses) - 1, write_meta_graph=False)


class EventLog:
    """For TensorBoard: the graph, the losses of each step, reconstructions after each epoch.

    graph is the one to train: a step of its optimizer also notes the losses.
    """

    def __init__(self, folder, graph, tfs, images):
        self.view = tf.summary.image("reconstructions", tf.reshape(graph.model, [-1, 28, 28, 1]), 4)
        names = ["loss", "rec_loss", "reg_loss"]
        means = [tf.summary.scalar(name, tf.reduce_mean(getattr(graph, name))) for name in names]
        # With epsilon fed, a look at the images does not use up the training's random numbers.
        self.feed_dict = {graph.x: images, graph.epsilon: np.zeros((len(images), graph.z.shape[1]))}
        # py_func keeps the losses in a list, so that train() needs to know nothing of the log.
        notes = self.notes = []
        with tf.control_dependencies([graph.optimizer]):
            step = tf.train.get_global_step().read_value()
            note = tf.py_func(lambda *note: notes.append(note), [tf.summary.merge(means), step], [])
        self.graph = graph._replace(optimizer=tf.group(graph.optimizer, note))
        # With a session, FileWriter writes at once, so that a write error is raised here.
        self.writer = tf.summary.FileWriter(folder, tf.get_default_graph(), session=tfs)

    def write_epoch(self, tfs):
        """Write what the epoch's steps noted, and what the model now makes of the images."""
        self.notes.append(tfs.run([self.view, tf.train.get_global_step()], self.feed_dict))
        while self.notes:
            self.writer.add_summary(*self.notes.pop(0))
        self.writer.flush()


def parse_args(argv):
    """The flags, or their defaults. Ends the program with status 2 where one makes no sense."""
    parser = argparse.ArgumentParser(description="Train a variational autoencoder on MNIST.")
    # One line: the usage is for --help.
    parser.error = lambda message: parser.exit(2, f"{parser.prog}: error: {message}\n")

    def flag(name, default, help, **how):
        parser.add_argument(name, default=default, help=f"{help} (default: %(default)s)", **how)

    flag("--learning-rate", learning_rate, "Adam's step size", type=number(float, 1e-30, 1e30))
    flag("--n-epochs", n_epochs, "passes over the training images", type=number(int, 1, 10**6))
    flag("--batch-size", batch_size, "images per training step", type=number(int, 1, 10**6))
    flag("--n-neurons", n_neurons, "hidden layer sizes", type=number(int, 1, 10**4), nargs="+")
    flag("--n-neurons-z", n_neurons_z, "latent dimensions", type=number(int, 1, 10**4))
    names = ["tanh", "relu", "sigmoid", "elu", "softplus"]
    flag("--activation", activation.__name__, "activation of the hidden layers", choices=names)
    flag("--cosine-decay", False, "let the learning rate fall to 0", action="store_true")
    flag("--denoise", False, "learn to restore noisy images", action="store_true")
    flag("--seed", 123, "seed of all random numbers", type=number(int, 0, 2**31 - 1))
    flag("--data-dir", MNIST_DATA, "where the four files of the data set are", type=folder_name)
    flag("--figures-dir", "figures", "where the pictures go", type=folder_name)
    flag("--checkpoint-dir", None, "save every epoch here, or go on from it", type=folder_name)
    flag("--log-dir", None, "write a log for TensorBoard here", type=folder_name)
    return parser.parse_args(argv)


def number(convert, low, high):
    """An argparse type: an int or a float, as convert is, from low to high."""

    # argparse shows this name in its message: "invalid number value".
    def number(text):
        if not low <= convert(text) <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, not {text}")
        return convert(text)

    return number


def main(argv=None):
    """Run the program. Returns its exit status, or the line that says what went wrong."""
    args = parse_args(argv)
    tf.logging.set_verbosity(tf.logging.ERROR)
    try:
        run(args)
    except (DataError, FloatingPointError, MemoryError, UnicodeEncodeError) as error:
        return f"vae_mnist.py: error: {error}"
    except BrokenPipeError:
        os._exit(141)  # nobody reads the results any more: end in silence, as if by SIGPIPE
    except OSError as error:
        sys.stdout = None  # where it is full, Python would try again at the end, and complain
        return f"vae_mnist.py: error: {error.filename or 'standard output'}: {error.strerror}"
    except tf.errors.OpError as error:
        # Of TensorFlow's many lines, the one that names a file or tensor and what is wrong with it.
        lines = [s for s in str(error).splitlines() if "; " in s or "OOM " in s] or [repr(error)]
        return f"vae_mnist.py: error: {lines[0]}"
    except KeyboardInterrupt:
        last = max(saved_epochs(args.checkpoint_dir), default="none")
        how = "with --checkpoint-dir, the same command goes on from there"
        print(f"vae_mnist.py: interrupted: last epoch saved: {last}; {how}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
