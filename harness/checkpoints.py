"""Saving a run after each epoch, and going on from what was saved."""

import json
import os
import re
import zlib

import tensorflow.compat.v1 as tf

from harness.flags import lasting
from harness.hooks import Hook


# Flags that the oldest checkpoints know nothing of, with the values that they were trained with.
YOUNGER = {"max_log_var": None, "mixed_noise": False}


class CheckpointError(Exception):
    """A folder of checkpoints cannot be used; the text says which, what is wrong, what to do."""


def saved_epochs(folder):
    """The epochs whose checkpoints are in folder, oldest first.

    A checkpoint is the files vae-<epoch>.*, and is complete if its index is there. Returns [] if
    folder is None or missing. Raises CheckpointError if the folder holds other files and no
    checkpoint, or if TensorFlow takes its name for a pattern; OSError if it cannot be listed.
    Folders, pictures and logs may be in it: all that a run writes may go to one place.
    """
    # TensorFlow would not find its checkpoints there, or remove those of other folders.
    pattern = re.search(r"[*?[\]]" if os.sep == "\\" else r"[*?[\]\\]", folder or "")
    if pattern:
        raise CheckpointError(
            f"{folder}: expected a folder for checkpoints without {pattern.group()}"
        )
    if folder is None or not os.path.exists(folder):
        return []
    names = sorted(os.listdir(folder))
    indices = [re.fullmatch(r"vae-(0|[1-9]\d*)\.index", name) for name in names]
    own = re.compile(r"vae-|checkpoint|events\.out\.|.*\.png|.*\.gif")
    files = [name for name in names if not os.path.isdir(os.path.join(folder, name))]
    foreign = [name for name in files if not own.match(name)]
    if foreign and not any(indices):
        raise CheckpointError(f"{folder}: expected checkpoints or nothing, found {foreign[0]}")
    return sorted(int(index.group(1)) for index in indices if index)


def next_epoch(folder):
    """The epoch that a run with its checkpoints in folder begins with. Raises as saved_epochs()."""
    return max(saved_epochs(folder), default=-1) + 1


class Checkpoints(Hook):
    """The state of a run after each of its newest two epochs, in files vae-<epoch>.*

    Besides all variables it holds a record: the losses so far, and the flags that a later run must
    share to go on. TensorFlow writes the index last, and renames it when it is complete: if the
    index is there, so is the whole checkpoint.

    args: the flags. losses: the run's own list of a pair for each epoch; begin() fills it with
    those of the epochs before.
    """

    def __init__(self, args, data_set, losses):
        self._folder = args.checkpoint_dir
        self._flags = lasting(args)
        # These tell one data set from another, in whatever folder it is.
        self._flags["first labels"] = data_set.labels[:20].tolist()
        self._flags["first images"] = zlib.crc32(data_set.images[:20].tobytes())
        self._flags["n_images"] = data_set.num_examples
        self._losses = losses
        self._record = tf.get_variable("record", initializer="", trainable=False)
        self._saver = tf.train.Saver(max_to_keep=2)

    def begin(self, tfs):
        """Set all variables from the newest checkpoint, if there is one.

        Raises CheckpointError, and changes nothing in the folder, if it is damaged or was made with
        other flags.
        """
        paths = [f"{self._folder}/vae-{epoch}" for epoch in saved_epochs(self._folder)]
        if not paths:
            return
        try:
            there, losses = json.loads(tf.train.load_checkpoint(paths[-1]).get_tensor("record"))
            # A finished run may get more epochs, but not on a cosine: its learning rate is 0.
            if len(losses) <= self._flags["n_epochs"] and not self._flags["cosine_decay"]:
                there["n_epochs"] = self._flags["n_epochs"]
            there = dict(YOUNGER, **there)
            # The oldest checkpoints know only labels of their data set.
            for name in ("first images", "n_images"):
                there.setdefault(name, self._flags[name])
            for name, here in self._flags.items():
                if there[name] != here:
                    raise CheckpointError(
                        f"{paths[-1]}: has {name} = {there[name]}, this run {here}: go on with "
                        "the same flags and data, or choose another --checkpoint-dir"
                    )
            self._saver.restore(tfs, paths[-1])
        except (tf.errors.OpError, ValueError, LookupError, TypeError) as error:
            raise CheckpointError(f"{paths[-1]}: damaged or foreign: remove its files") from error
        self._saver.recover_last_checkpoints(paths)
        self._losses[:] = losses

    def after_epoch(self, tfs, average_loss):
        """Add a checkpoint of the epoch that the losses end with."""
        self._record.load(json.dumps([self._flags, self._losses]), tfs)
        self._saver.save(tfs, f"{self._folder}/vae", len(self._losses) - 1, write_meta_graph=False)
