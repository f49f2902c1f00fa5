"""Saving a run after each epoch, and going on from what was saved."""

import json
import os
import re
import zlib

import tensorflow.compat.v1 as tf

from extras.errors import RunError


def saved_epochs(folder):
    """The epochs whose checkpoints are in folder, oldest first; [] if it is None or missing.

    A checkpoint is the files vae-<epoch>.*, and is complete if its index is there: TensorFlow
    writes that last. Whatever else is in the folder does not matter. Raises RunError if TensorFlow
    would take the folder's name for a pattern; OSError if it cannot be listed.
    """
    # TensorFlow would not find its checkpoints there, or remove those of other folders.
    pattern = re.search(r"[*?[\]]" if os.sep == "\\" else r"[*?[\]\\]", folder or "")
    if pattern:
        raise RunError(f"{folder}: expected a folder for checkpoints without {pattern.group()}")
    if folder is None or not os.path.exists(folder):
        return []
    indices = [re.fullmatch(r"vae-(0|[1-9]\d*)\.index", name) for name in os.listdir(folder)]
    return sorted(int(index.group(1)) for index in indices if index)


def next_epoch(folder):
    """The epoch that a run with its checkpoints in folder begins with. Raises as saved_epochs()."""
    return max(saved_epochs(folder), default=-1) + 1


class Checkpoints:
    """The state of a run after each of its newest two epochs, in files vae-<epoch>.*

    Besides all variables it holds a record: the losses so far, and what a later run must share to
    go on: flags, by their names, and the data set. Make it after the graph.
    """

    def __init__(self, folder, flags, data_set):
        self._folder = folder
        first = data_set.images[:20].tobytes() + data_set.labels[:20].tobytes()
        # These tell one data set from another, in whatever folder it is.
        self._flags = dict(flags, n_images=data_set.num_examples, first_images=zlib.crc32(first))
        self._record = tf.get_variable("record", initializer="", trainable=False)
        # Relative paths, so that the folder can be moved.
        self._saver = tf.train.Saver(max_to_keep=2, save_relative_paths=True)

    def restore(self, tfs):
        """Set all variables from the newest checkpoint, if there is one.

        Returns the losses on record, a pair for each epoch; [] without a checkpoint. Raises
        RunError, and changes nothing in the folder, if it is damaged or was made with other flags.
        """
        paths = [f"{self._folder}/vae-{epoch}" for epoch in saved_epochs(self._folder)]
        if not paths:
            return []
        try:
            there, losses = json.loads(tf.train.load_checkpoint(paths[-1]).get_tensor("record"))
            # A finished run may get more epochs, but not on a cosine: its learning rate is 0.
            if len(losses) <= self._flags["n_epochs"] and not self._flags["cosine_decay"]:
                there["n_epochs"] = self._flags["n_epochs"]
            for name, here in self._flags.items():
                if there[name] != here:
                    raise RunError(
                        f"{paths[-1]}: has {name} = {there[name]}, this run {here}: go on with "
                        "the same flags and data, or choose another --checkpoint-dir"
                    )
            self._saver.restore(tfs, paths[-1])
        except (tf.errors.OpError, ValueError, LookupError, TypeError) as error:
            raise RunError(f"{paths[-1]}: damaged or foreign: remove its files") from error
        self._saver.recover_last_checkpoints(paths)
        return losses

    def save(self, tfs, losses):
        """Add a checkpoint of the epoch that losses ends with."""
        self._record.load(json.dumps([self._flags, losses]), tfs)
        self._saver.save(tfs, f"{self._folder}/vae", len(losses) - 1, write_meta_graph=False)
