"""How good a model is on a set of images, and what its latent space holds."""

from typing import NamedTuple

import numpy as np


class Metrics(NamedTuple):
    """How good a model is on a set of images: means over all of them."""

    rec_loss: float  # nats per image
    reg_loss: float  # nats per image
    mse: float  # squared error per pixel of the reconstructions against the clean images

    @property
    def loss(self):
        return self.rec_loss + self.reg_loss


def evaluate(tfs, vae, images, noise=None):
    """The Metrics of vae on images, (n, n_outputs), which are y; x is noise(images) or the same."""
    sums = np.zeros(3)
    for i in range(0, len(images), 1000):  # in parts, to save memory
        Y = images[i : i + 1000]
        feed_dict = {vae.x: Y if noise is None else noise(Y), vae.y: Y}
        fetches = [vae.rec_loss, vae.reg_loss, vae.model]
        rec_loss, reg_loss, model = tfs.run(fetches, feed_dict=feed_dict)
        sums += [rec_loss.sum(), reg_loss.sum(), np.square(model - Y).mean(axis=1).sum()]
    return Metrics(*sums / len(images))


def check_finite(loss, where):
    """Raise FloatingPointError, saying where, if the loss is infinite or nan."""
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"loss is {loss} in {where}: try a lower --learning-rate, or --max-log-var 2"
        )


def print_test(learned, clean_mse, noisy_mse):
    """Print the test's two lines: the Metrics of what was learned, and both squared errors."""
    loss, rec, reg = learned.loss, learned.rec_loss, learned.reg_loss
    print(f"test loss = {loss:0.6f}   rec = {rec:0.6f}   reg = {reg:0.6f}")
    print(f"test mse  = {clean_mse:0.6f} clean   {noisy_mse:0.6f} noisy", flush=True)


def kl_by_dimension(tfs, vae, images):
    """The part of each latent dimension in reg_loss, mean over images: nats, (n_neurons_z,)."""
    z_mean, z_log_var = tfs.run([vae.z_mean, vae.z_log_var], feed_dict={vae.x: images})
    return 0.5 * (np.square(z_mean) + np.exp(z_log_var) - z_log_var - 1).mean(axis=0)


def decode(tfs, vae, z):
    """The images, (n, n_outputs), that latent variables z, (n, n_neurons_z), stand for.

    Only z is fed, so this uses up none of the training's random numbers.
    """
    return tfs.run(vae.model, feed_dict={vae.z: z})


def decode_between(tfs, vae, images):
    """Nine images, (9, n_outputs), from evenly spaced z on the line between those of two images.

    images: the first and the last of them count. Returns the images with the places of their z on
    the line, as text from "0.00" to "1.00".
    """
    z_mean = tfs.run(vae.z_mean, feed_dict={vae.x: images})
    places = np.linspace(0, 1, 9)
    z = z_mean[0] + places[:, None] * (z_mean[-1] - z_mean[0])
    return decode(tfs, vae, z), [f"{place:0.2f}" for place in places]
