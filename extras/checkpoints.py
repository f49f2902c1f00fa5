"""Saving a run after each epoch, and going on from what was saved."""

import contextlib
import json
import math
import os
import re
import zlib
from pathlib import Path

import tensorflow.compat.v1 as tf

from extras.errors import RunError
from extras.flags import shared_flags


# The files of a checkpoint. TensorFlow writes the index last; without it, the data are nothing.
INDEX = ".index"
DATA = ".data-00000-of-00001"


def saved_epochs(folder):
    """The epochs whose checkpoints are in folder, oldest first; [] if it is None or missing.

    A checkpoint is the files vae-<epoch>.*, and is complete if its index is there. Whatever else is
    in the folder does not matter. Raises RunError if TensorFlow would take the folder's name for a
    pattern; OSError if it cannot be listed.
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
        # These tell one data set from another, by images and labels, in whatever folder it is.
        data = {"n_images": data_set.num_examples, "first_images": zlib.crc32(first)}
        # As JSON has them: numbers and lists, whether they were NumPy's or tuples.
        flags = json.dumps({**shared_flags(args), **data}, default=lambda value: value.tolist())
        self._flags = json.loads(flags)
        self._record = tf.get_variable("record", initializer="", trainable=False)
        # 0: all. TensorFlow would remove an older epoch before the newer one is on the disk.
        self._saver = tf.train.Saver(max_to_keep=0)

    def restore(self, tfs):
        """Set all variables from the newest checkpoint, if there is one.

        Returns the losses on record, four for each epoch; [] without a checkpoint. Raises
        RunError if it is damaged, was made with other flags, or is of first_epoch or later; OSError
        or tf.errors.ResourceExhaustedError if it cannot be read just now.
        """
        self._known = set(saved_epochs(self._folder))
        if not self._known:
            return []
        self._refuse({epoch for epoch in self._known if epoch >= self._first_epoch})
        path = f"{self._folder}/vae-{max(self._known)}"
        try:
            there, losses = json.loads(tf.train.load_checkpoint(path).get_tensor("record"))
            if len(losses) != max(self._known) + 1:
                raise ValueError("renamed")
            # A finished run may get more epochs, but not on a cosine: its learning rate is 0.
            if len(losses) <= self._flags["n_epochs"] and not self._flags["cosine_decay"]:
                there["n_epochs"] = self._flags["n_epochs"]
            for name, here in self._flags.items():
                if there[name] != here:
                    raise RunError(
                        f"{path}: has {name} = {there[name]}, this run {here}: go on with "
                        "the same flags and data, or choose another --checkpoint-dir"
                    )
            self._saver.restore(tfs, path)
            self._settle()  # an earlier run may have been stopped before it did
            # An earlier version of this program recorded the first two of the four.
            return [[*row, math.nan, math.nan][:4] for row in losses]
        except tf.errors.ResourceExhaustedError:
            _check_readable(path)
            raise
        except (tf.errors.OpError, ValueError, LookupError, TypeError) as error:
            _check_readable(path)
            raise RunError(f"{path}: damaged or foreign: move its files away") from error

    def save(self, tfs, losses):
        """Save the epoch that losses ends with; of those before, keep the newest.

        Whatever happens, a power cut too, one of the two is whole. Raises RunError if another run
        has saved an epoch here; OSError or tf.errors.OpError if it cannot be saved.
        """
        if self._folder is None:
            return
        self._refuse(set(saved_epochs(self._folder)) - self._known)
        epoch = len(losses) - 1
        path = f"{self._folder}/vae-{epoch}"
        self._record.load(json.dumps([self._flags, losses]), tfs)
        os.makedirs(self._folder, exist_ok=True)  # somebody may have removed it
        self._saver.save(tfs, f"{path}.part", write_meta_graph=False, write_state=False)
        # On the disk before they have their names, and the index last: where it is, all is whole.
        for ending in (DATA, INDEX):
            _put(f"{path}.part{ending}", path + ending)
        self._known.add(epoch)
        self._settle()

    def _settle(self):
        """Make the newest epoch the one that TensorFlow's latest_checkpoint() finds; keep two."""
        self._write_state(max(self._known))
        _sync_folder(self._folder)
        for old in sorted(self._known)[:-2]:
            self._remove(old)

    def _write_state(self, epoch):
        """Write the file "checkpoint". If TensorFlow wrote it, a power cut could leave it empty."""
        part = f"{self._folder}/checkpoint.{os.getpid()}.part"
        try:
            with _named(part):
                # The name has no folder, so that the folder can be moved.
                Path(part).write_text(f'model_checkpoint_path: "vae-{epoch}"\n')
            _put(part, f"{self._folder}/checkpoint")
        finally:
            with contextlib.suppress(OSError):  # after an error it is still there
                os.remove(part)

    def _remove(self, epoch):
        """Remove the epoch's files. What cannot be removed now is tried again after the next."""
        with contextlib.suppress(OSError):
            for ending in (INDEX, DATA):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(f"{self._folder}/vae-{epoch}{ending}")
            self._known.remove(epoch)

    def _refuse(self, others):
        if others:
            raise RunError(
                f"{self._folder}/vae-{max(others)}: saved by another run meanwhile: one at a time, "
                "or choose another --checkpoint-dir"
            )


def _check_readable(path):
    """Raise OSError, with its name, if a file of the checkpoint is there and cannot be read."""
    for ending in (INDEX, DATA):
        with contextlib.suppress(FileNotFoundError), _named(path + ending):
            Path(path + ending).read_bytes()


def _put(part, path):
    """Give the file part its name, path, once it is on the disk. Raises OSError with that name."""
    with _named(path):
        # On Windows only a file that is open for writing can be synced.
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)


def _sync_folder(folder):
    """Wait until the names in folder are on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def _named(path):
    """Give an OSError the name of the file that it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
