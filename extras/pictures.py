"""Pictures of what is not in the book: new digits, and the latent space."""

import numpy as np

from display import display_images, display_kl, display_latent, display_manifold
from display import prior_grid, save_animation


def draw_samples(tfs, vae, rng, folder):
    """samples.png: 100 images decoded from z drawn from the prior by rng, a numpy Generator."""
    z = rng.standard_normal((100, int(vae.z.shape[1])))
    samples = tfs.run(vae.model, feed_dict={vae.z: z})
    display_images(samples, None, f"{folder}/samples.png", "Decoded from z ~ N(0, I)")


def draw_between(tfs, vae, images, folder):
    """between.png: images decoded from nine z, evenly spaced on the line between two z_mean.

    Those of the first and the last of the images, (n, n_inputs).
    """
    z_mean = tfs.run(vae.z_mean, feed_dict={vae.x: images})
    places = np.linspace(0, 1, 9)
    z = z_mean[0] + places[:, None] * (z_mean[-1] - z_mean[0])
    between = tfs.run(vae.model, feed_dict={vae.z: z})
    title = "Decoded from z on the line between two test images"
    display_images(between, [f"{place:0.2f}" for place in places], f"{folder}/between.png", title)


def draw_latent_space(tfs, vae, data_set, folder):
    """kl.png: how much each dimension is used by the images of data_set.

    With two dimensions also latent.png, where the images lie, and manifold.png, what each point
    decodes to.
    """
    feed_dict = {vae.x: data_set.images}
    z_mean, z_log_var = tfs.run([vae.z_mean, vae.z_log_var], feed_dict=feed_dict)
    # Each dimension's part of reg_loss, mean over the images.
    kl = 0.5 * (np.square(z_mean) + np.exp(z_log_var) - z_log_var - 1).mean(axis=0)
    display_kl(kl, f"{folder}/kl.png")
    if z_mean.shape[1] == 2:
        display_latent(z_mean, data_set.labels, f"{folder}/latent.png")
        images = tfs.run(vae.model, feed_dict={vae.z: prior_grid(20)})
        display_manifold(images, f"{folder}/manifold.png")


class Animation:
    """manifold.gif: how a latent space of two dimensions changes. With any other it does nothing.

    Its frames are of the epochs since the program was started: of the first 20 and every tenth.
    """

    def __init__(self, tfs, vae, first_epoch):
        self._vae = vae
        self._frames = []
        self.watch(tfs, first_epoch, "before")

    def watch(self, tfs, epoch, when="after"):
        """Add a frame: the space as it is before or after that epoch."""
        if self._vae.z.shape[1] == 2 and (when == "before" or epoch < 20 or epoch % 10 == 9):
            images = tfs.run(self._vae.model, feed_dict={self._vae.z: prior_grid(15)})
            self._frames.append((f"{when} epoch {epoch:04d}", images))

    def save(self, path):
        """Write the animation, if there was a change: a run that trains no more has none."""
        if len(self._frames) > 1:
            save_animation(self._frames, path)
