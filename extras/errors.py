"""What goes wrong: to one line on stderr and an exit status."""

import contextlib
import errno
import os
import re
import sys
from pathlib import Path

import tensorflow.compat.v1 as tf

from data import DataError


class RunError(Exception):
    """A run cannot begin or go on; the text says what was wrong, where, what to do."""


# Errors that are shown as they are.
EXPLAINED = (DataError, RunError, FloatingPointError, MemoryError, UnicodeEncodeError)


def make_folders(*folders):
    """Make each folder that is missing, and see that a file can be written there; skips None.

    Raises OSError, with the folder as its filename, where it cannot. Then none that it made stays.
    """
    made = []
    for folder in filter(None, folders):
        try:
            for level in [*reversed(Path(folder).parents), Path(folder)]:
                if level.is_symlink() and not level.is_dir():
                    text = f"leads through a link to {os.readlink(str(level))}, which is no folder"
                    raise NotADirectoryError(errno.ENOTDIR, text)
                if not level.is_dir():
                    level.mkdir(exist_ok=True)
                    made.append(level)
            probe = Path(folder, f".{os.getpid()}.part")
            try:
                probe.write_bytes(bytes(4096))
            finally:
                with contextlib.suppress(FileNotFoundError):
                    probe.unlink()
        except OSError as error:
            for level in reversed(made):
                with contextlib.suppress(OSError):  # it is another's by now, if it is not empty
                    level.rmdir()
            raise OSError(error.errno, error.strerror, folder) from error


@contextlib.contextmanager
def errors_in_one_line():
    """End the program with one line and a status where a user can mend what went wrong.

    Status 1, 130 after Ctrl-C, and 141 without a line if stdout is a closed pipe. Errors of the
    program itself keep their traceback.
    """
    if hasattr(sys.stdout, "reconfigure"):  # a folder's name that it has no letters for is escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except EXPLAINED as error:
        end_program(1, f"error: {str(error) or 'out of memory'}")
    except tf.errors.OpError as error:
        # Of TensorFlow's many lines, the one that names a file and what is wrong with it, which may
        # be broken before the semicolon, or what there was no memory for.
        text = re.sub(r"\s+; ", "; ", str(error))
        lines = [line for line in text.splitlines() if "; " in line or "OOM " in line]
        if "tf2xla conversion failed" in text:
            # Dozens of lines, of which the first name is that of the operation.
            names = re.findall(r"{{node (.*?)}}", text)
            lines = [f"--xla: cannot compile {name}: leave it out" for name in names]
        if not lines:
            raise
        end_program(1, f"error: {lines[0]}")
    except KeyboardInterrupt:
        end_program(130, "interrupted: a run with --checkpoint-dir goes on after its last epoch")
    except OSError as error:
        where = error.filename
        try:
            print(end="", flush=True)
        except OSError:
            _give_up(sys.stdout)
            where = where or "standard output"
        # Only stdout is a pipe here, which may have failed at once, with nothing left to flush.
        if isinstance(error, BrokenPipeError) and error.filename is None:
            _give_up(sys.stdout)
            sys.exit(141)
        end_program(1, f"error: {where or type(error).__name__}: {error.strerror or error}")


def end_program(status, message):
    """End with message on stderr, its control characters escaped so that it is one line."""
    line = "".join(c if c >= " " else repr(c)[1:-1] for c in message)
    if sys.stderr is not None:  # print() would take stdout for it
        try:
            print(f"vae_mnist.py: {line}", file=sys.stderr, flush=True)
        except OSError:
            _give_up(sys.stderr)
    sys.exit(status)


def _give_up(stream):
    """Have what is left for a stream go nowhere: it would fail again as Python ends."""
    with contextlib.suppress(AttributeError, OSError):  # it may be somebody's own, without a number
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
