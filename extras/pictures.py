"""Pictures of what is not in the book: new digits, and the latent space."""

import numpy as np

from display import display_images, display_kl, display_latent, display_manifold
from display import prior_grid, save_unfolding
from extras.evaluation import decode, kl_by_dimension


def draw_samples(tfs, vae, rng, folder):
    """samples.png: 100 images decoded from z drawn from the prior by rng, a numpy Generator."""
    z = rng.standard_normal((100, int(vae.z.shape[1])))
    display_images(decode(tfs, vae, z), None, f"{folder}/samples.png", "Decoded from z ~ N(0, I)")


def draw_between(tfs, vae, images, folder):
    """between.png: images decoded from nine z, evenly spaced on the line between two z_mean.

    Those of the first and the last of the images, (n, n_inputs).
    """
    z_mean = tfs.run(vae.z_mean, feed_dict={vae.x: images})
    places = np.linspace(0, 1, 9)
    between = decode(tfs, vae, z_mean[0] + places[:, None] * (z_mean[-1] - z_mean[0]))
    title = "Decoded from z on the line between two test images"
    display_images(between, [f"{place:0.2f}" for place in places], f"{folder}/between.png", title)


def draw_latent_space(tfs, vae, data_set, folder):
    """kl.png: how much each dimension is used by the images of data_set.

    Of two dimensions also latent.png, where the images are, and manifold.png, what is where.
    """
    feed_dict = {vae.x: data_set.images}
    z_mean, z_log_var = tfs.run([vae.z_mean, vae.z_log_var], feed_dict=feed_dict)
    display_kl(kl_by_dimension(z_mean, z_log_var), f"{folder}/kl.png")
    if z_mean.shape[1] == 2:
        display_latent(z_mean, data_set.labels, f"{folder}/latent.png")
        display_manifold(decode(tfs, vae, prior_grid(20)), f"{folder}/manifold.png")


class Unfolding:
    """manifold.gif: how a latent space of two dimensions changes. Of any other it keeps nothing."""

    def __init__(self, tfs, vae, title):
        self._vae = vae
        self._frames = []
        self.watch(tfs, title)

    def watch(self, tfs, title):
        """Add a frame with a title: the space as it is now."""
        if self._vae.z.shape[1] == 2:
            self._frames.append((title, decode(tfs, self._vae, prior_grid(15))))

    def save(self, path):
        """Write the animation, if there was a change: a run that trains no more has none."""
        if len(self._frames) > 1:
            save_unfolding(self._frames, path)
