"""The log of a run for TensorBoard."""

import errno
import math
import os

import numpy as np
import tensorflow.compat.v1 as tf


class EventLog:
    """The graph, and after each epoch its losses and what the model makes of some images.

    images: (n, n_inputs). What the model makes of them is left out if it is not square. Without a
    folder nothing is written. Raises OSError or tf.errors.OpError if the folder cannot be written
    to.
    """

    def __init__(self, folder, tfs, vae, images):
        self._folder = folder
        if folder is None:
            return
        side = round(math.sqrt(int(vae.model.shape[1])))
        self._view = None
        if side * side == vae.model.shape[1]:
            shown = tf.reshape(vae.model, [-1, side, side, 1])
            self._view = tf.summary.image("reconstructions", shown, max_outputs=len(images))
        # With epsilon fed, a look at the images does not use up the training's random numbers.
        no_noise = np.zeros((len(images), vae.z.shape[1]))
        self._feed_dict = {vae.x: images, vae.epsilon: no_noise}
        try:
            # With a session, FileWriter writes at once, so that a write error is raised here.
            self._writer = tf.summary.FileWriter(folder, tfs.graph, session=tfs)
        except tf.errors.FailedPreconditionError as error:
            if os.path.isdir(folder):
                raise
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", folder) from error

    def write(self, tfs, epoch, average_loss, validation):
        """Add an epoch: its average training loss, and the Metrics of the validation images."""
        if self._folder is None:
            return
        losses = {
            "training/loss": average_loss,
            "validation/loss": validation.loss,
            "validation/rec_loss": validation.rec_loss,
            "validation/reg_loss": validation.reg_loss,
        }
        values = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in losses.items()]
        self._writer.add_summary(tf.Summary(value=values), epoch)
        if self._view is not None:
            self._writer.add_summary(tfs.run(self._view, self._feed_dict), epoch)
        self._writer.flush()
