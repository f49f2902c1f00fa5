"""The log of a run for TensorBoard."""

import numpy as np
import tensorflow.compat.v1 as tf

from harness.hooks import Hook


class EventLog(Hook):
    """The graph, the losses of each step, reconstructions after each epoch.

    graph: what the program has built. images: (n, 784), those to reconstruct.
    logged_graph: the same graph for the training, where a step of the optimizer also notes the
    losses.
    """

    def __init__(self, folder, graph, images):
        self._folder = folder
        self._view = tf.summary.image(
            "reconstructions", tf.reshape(graph.model, [-1, 28, 28, 1]), max_outputs=4
        )
        # With epsilon fed, a look at the images does not use up the training's random numbers.
        no_noise = np.zeros((len(images), graph.z.shape[1]))
        self._feed_dict = {graph.x: images, graph.epsilon: no_noise}
        names = ["loss", "rec_loss", "reg_loss"]
        means = [tf.summary.scalar(name, tf.reduce_mean(getattr(graph, name))) for name in names]
        # py_func keeps the losses in a list, so that the training loop need not fetch them.
        self._notes = []
        with tf.control_dependencies([graph.optimizer]):
            step = tf.train.get_global_step().read_value()
            note = tf.py_func(self._note, [tf.summary.merge(means), step], [])
        self.logged_graph = graph._replace(optimizer=tf.group(graph.optimizer, note))

    def _note(self, summary, step):
        self._notes.append((summary, step))

    def begin(self, tfs):
        # With a session, FileWriter writes at once, so that a write error is raised here.
        self._writer = tf.summary.FileWriter(self._folder, tfs.graph, session=tfs)

    def after_epoch(self, tfs, average_loss):
        """Write what the epoch's steps noted, and what the model now makes of the images."""
        self._notes.append(tfs.run([self._view, tf.train.get_global_step()], self._feed_dict))
        while self._notes:
            self._writer.add_summary(*self._notes.pop(0))
        self._writer.flush()
