"""Saving a run after each epoch, and going on from what was saved."""

import json
import os
import re
import zlib

import tensorflow.compat.v1 as tf

from extras.errors import RunError
from extras.flags import shared_flags


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
    go on, flags and data set. Make it after the graph. Without a folder it does nothing.
    """

    def __init__(self, args, first_epoch, data_set):
        self._folder = args.checkpoint_dir
        if self._folder is None:
            return
        self._first_epoch = first_epoch
        first = data_set.images[:20].tobytes() + data_set.labels[:20].tobytes()
        # These tell one data set from another, in whatever folder it is.
        data = {"n_images": data_set.num_examples, "first_images": zlib.crc32(first)}
        # As JSON has them: numbers and lists, whether they were NumPy's or tuples.
        flags = json.dumps({**shared_flags(args), **data}, default=lambda value: value.tolist())
        self._flags = json.loads(flags)
        self._record = tf.get_variable("record", initializer="", trainable=False)
        # Relative paths, so that the folder can be moved.
        self._saver = tf.train.Saver(max_to_keep=2, save_relative_paths=True)

    def restore(self, tfs):
        """Set all variables from the newest checkpoint, if there is one.

        Returns the losses on record, a pair for each epoch; [] without a checkpoint. Raises
        RunError if it is damaged, was made with other flags, or is of first_epoch or later.
        """
        self._known = set(saved_epochs(self._folder))
        paths = [f"{self._folder}/vae-{epoch}" for epoch in sorted(self._known)]
        if not paths:
            return []
        self._refuse({epoch for epoch in self._known if epoch >= self._first_epoch})
        try:
            there, losses = json.loads(tf.train.load_checkpoint(paths[-1]).get_tensor("record"))
            if len(losses) != max(self._known) + 1:
                raise ValueError("renamed")
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
        """Save the epoch that losses ends with; raises RunError if another run has saved, too."""
        if self._folder is None:
            return
        self._refuse(set(saved_epochs(self._folder)) - self._known)
        epoch = len(losses) - 1
        self._record.load(json.dumps([self._flags, losses]), tfs)
        self._saver.save(tfs, f"{self._folder}/vae", epoch, write_meta_graph=False)
        self._known.add(epoch)

    def _refuse(self, others):
        if others:
            raise RunError(
                f"{self._folder}/vae-{max(others)}: saved by another run meanwhile: one at a time, "
                "or choose another --checkpoint-dir"
            )
