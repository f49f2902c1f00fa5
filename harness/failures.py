"""Each failure to its one line on stderr and its exit status."""

import os
import sys
import tempfile

import tensorflow.compat.v1 as tf

from data import DataError
from harness import quiet
from harness.checkpoints import CheckpointError, saved_epochs
from harness.compiled import CompilerError

# Errors whose own text says what was wrong, where, and what to do.
EXPLAINED = (
    DataError,
    CheckpointError,
    CompilerError,
    FloatingPointError,
    MemoryError,
    UnicodeEncodeError,
)


def check_writable(*folders):
    """Make each folder that is missing, and see that a file can be written there; skips None.

    Raises OSError, with the folder as its filename, where it cannot.
    """
    for folder in filter(None, folders):
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"0")
        except OSError as error:
            raise OSError(error.errno, error.strerror, folder) from error


def report_failures(run, args):
    """Do run(args). Returns None, or its exit status, or the line that says how it failed.

    For sys.exit(), which prints such a line on stderr and ends with status 1.
    """
    quiet.end()
    try:
        run(args)
    except EXPLAINED as error:
        return f"{quiet.PROGRAM}: error: {error}"
    except BrokenPipeError:
        os._exit(141)  # nobody reads the results any more: end in silence, as if by SIGPIPE
    except OSError as error:
        sys.stdout = None  # where it is full, Python would try again at the end, and complain
        return f"{quiet.PROGRAM}: error: {error.filename or 'standard output'}: {error.strerror}"
    except tf.errors.OpError as error:
        # Of TensorFlow's many lines, the one that names a file or tensor and what is wrong with it.
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        lines = [s for s in str(error).splitlines() if "; " in s or "OOM " in s] or [text]
        return f"{quiet.PROGRAM}: error: {lines[0]}"
    except KeyboardInterrupt:
        last = max(saved_epochs(args.checkpoint_dir), default="none")
        how = "with --checkpoint-dir, the same command goes on from there"
        print(f"{quiet.PROGRAM}: interrupted: last epoch saved: {last}; {how}", file=sys.stderr)
        return 130
