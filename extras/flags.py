"""The command line: the flags, the values they take, and what is said of them."""

import argparse
import os

import tensorflow.compat.v1 as tf

from data import MNIST_DATA
from extras.errors import end_program

ACTIVATIONS = ["tanh", "relu", "sigmoid", "elu", "softplus", "swish"]


def within(convert, low, high):
    """An argparse type: an int or a float, as convert is, from low to high."""

    def number(text):  # argparse shows this name: "invalid number value"
        value = convert(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, not {text}")
        return value

    return number


def folder_name(text):
    """text, if a folder may have it as its name, with the home folder for ~; else ValueError.

    Text with :// names no folder: TensorFlow would look for another file system.
    """
    # No shell replaces the ~ of --figures-dir=~/figures, or of a list of words.
    name = os.path.expanduser(text)
    if not name or "://" in name:
        raise ValueError(text)
    return name


def unicode_folder_name(text):
    """folder_name(text), if TensorFlow, too, can make a folder of that name; else ValueError."""
    name = folder_name(text)
    name.encode()
    return name


def name_of(function):
    """Its name, or else that of its class."""
    return getattr(function, "__name__", type(function).__name__)


def parse_flags(argv, **defaults):
    """The flags in argv. Ends the program with status 2 where one makes no sense.

    argv: a list of words, or None for those of the command line. defaults: by name, the values of
    flags that are not given and have none here; activation is a function here and in the result.
    """
    description = "Train a variational autoencoder on MNIST."
    # Not Python's own name for the program, which in a notebook is ipykernel_launcher.py.
    parser = argparse.ArgumentParser("vae_mnist.py", description=description)
    # One line: the usage is for --help.
    parser.error = lambda message: end_program(2, f"error: {message}")

    def flag(name, help, shown="%(default)s", to=parser, **kwargs):
        to.add_argument(name, help=f"{help} (default: {shown})", **kwargs)

    flag("--learning-rate", "Adam's step size", type=within(float, 1e-30, 1e30))
    flag("--n-epochs", "passes over the training images", type=within(int, 1, 10**6))
    flag("--batch-size", "images per training step", type=within(int, 1, 10**6))
    flag("--n-neurons", "hidden layer sizes", type=within(int, 1, 10**4), nargs="+")
    flag("--n-neurons-z", "latent dimensions", type=within(int, 1, 10**4))
    shown = name_of(defaults["activation"])
    flag("--activation", "activation of the hidden layers", shown, choices=ACTIVATIONS)
    flag("--max-log-var", "bound on the log variance of z", type=within(float, -30, 30))
    flag("--cosine-decay", "let the learning rate fall to 0", action="store_true")
    noise = {"to": parser.add_mutually_exclusive_group(), "action": "store_true"}
    flag("--denoise", "learn to restore noisy images", **noise)
    flag("--mixed-noise", "let the encoder see noise of many strengths", **noise)
    flag("--xla", "compile the training", action="store_true")
    flag("--seed", "seed of all random numbers", default=123, type=within(int, 0, 2**31 - 1))
    # Not the whole path, which stdout may have no letters for.
    data_dir = {"default": MNIST_DATA, "type": folder_name}
    flag("--data-dir", "where the four data files are", "MNIST_data", **data_dir)
    flag("--figures-dir", "where the pictures go", default="figures", type=folder_name)
    flag("--checkpoint-dir", "save every epoch here, or go on from it", type=unicode_folder_name)
    flag("--log-dir", "write a log for TensorBoard here", type=unicode_folder_name)
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    if isinstance(args.activation, str):
        args.activation = getattr(tf.nn, args.activation)
    return args


def shared_flags(args):
    """Those of the flags, by name, that a run must share to go on from a checkpoint."""
    free = {"seed", "xla", "data_dir", "figures_dir", "checkpoint_dir", "log_dir"}
    shared = {name: value for name, value in vars(args).items() if name not in free}
    return {**shared, "activation": name_of(args.activation)}
