"""The log of a run for TensorBoard."""

import numpy as np
import tensorflow.compat.v1 as tf

from harness.hooks import Hook


class EventLog(Hook):
    """The graph, the losses of each step, reconstructions after each epoch.

    graph: what the program has built. images: (n, 784), those to reconstruct.
    """

    def __init__(self, folder, graph, images):
        self._folder = folder
        self._view = tf.summary.image(
            "reconstructions", tf.reshape(graph.model, [-1, 28, 28, 1]), max_outputs=4
        )
        # With epsilon fed, a look at the images does not use up the training's random numbers.
        no_noise = np.zeros((len(images), graph.z.shape[1]))
        self._feed_dict = {graph.x: images, graph.epsilon: no_noise}
        self._notes = []

    def noted(self, graph):
        """The same graph, but a step of its optimizer also notes the losses before it."""
        losses = [tf.reduce_mean(loss) for loss in (graph.loss, graph.rec_loss, graph.reg_loss)]
        with tf.control_dependencies([graph.optimizer]):
            step = tf.train.get_global_step().read_value()
            # py_func, so that the training loop need not fetch the losses.
            note = tf.py_func(self.note, [*losses, step], [])
        return graph._replace(optimizer=tf.group(graph.optimizer, note))

    def note(self, loss, rec_loss, reg_loss, step):
        """Note the losses of a step, nats per image, to be written at the end of the epoch."""
        tags = {"loss": loss, "rec_loss": rec_loss, "reg_loss": reg_loss}
        values = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()]
        self._notes.append((tf.Summary(value=values), step))

    def begin(self, tfs):
        # With a session, FileWriter writes at once, so that a write error is raised here.
        self._writer = tf.summary.FileWriter(self._folder, tfs.graph, session=tfs)

    def after_epoch(self, tfs, average_loss):
        """Write what was noted in the epoch, and what the model now makes of the images."""
        self._notes.append(tfs.run([self._view, tf.train.get_global_step()], self._feed_dict))
        while self._notes:
            self._writer.add_summary(*self._notes.pop(0))
        self._writer.flush()
