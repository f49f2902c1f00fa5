"""The animation of a latent space of two dimensions as it unfolds."""

from display import prior_grid, save_unfolding
from harness.hooks import Hook

SIDE = 15  # images; more make the file large


class Unfolding(Hook):
    """A GIF at path with a frame for each epoch, and one for what the session begins with.

    The file is written at the end of the run. Epochs before a checkpoint are not in it; where there
    is no epoch after it, the file stays as it was.
    """

    def __init__(self, graph, first_epoch, path):
        self._graph = graph
        self._epoch = first_epoch
        self._path = path
        self._frames = []

    def _add_frame(self, tfs, title):
        z, _ = prior_grid(SIDE)
        # Only z is fed, so a look at the images does not use up the training's random numbers.
        images = tfs.run(self._graph.model, feed_dict={self._graph.z: z})
        self._frames.append((title, images))

    def begin(self, tfs):
        self._add_frame(tfs, f"before epoch {self._epoch:04d}")

    def after_epoch(self, tfs, average_loss):
        self._add_frame(tfs, f"after epoch {self._epoch:04d}")
        self._epoch += 1

    def end(self, tfs):
        # Of a run that was finished before, there is nothing new to show.
        if len(self._frames) > 1:
            save_unfolding(self._frames, self._path)
