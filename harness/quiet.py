"""Imported before the large packages: it keeps their import quiet, and its failures to one line.

Importing this module has effects; that is what it is for. matplotlib and TensorFlow look at these
settings only while they are imported.
"""

import logging
import os
import signal
import sys

PROGRAM = "vae_mnist.py"


def _interrupted(*signal_and_frame):
    """Ctrl-C. An exception would not do: a package may take it for a failure of its own."""
    print(f"{PROGRAM}: interrupted: nothing was begun", file=sys.stderr, flush=True)
    os._exit(130)


def _failed(kind, error, traceback):
    """The interpreter's last word on an exception."""
    if issubclass(kind, ImportError):
        line = f"{' '.join(str(error).split())}: pip install -r requirements.txt may help"
    elif "MPLBACKEND" in os.environ and "backend" in str(error):
        line = f"MPLBACKEND={os.environ['MPLBACKEND']}: matplotlib has no such backend: unset it"
    else:
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"{PROGRAM}: error: {line}", file=sys.stderr)


def end():
    """All is imported: leave Ctrl-C and exceptions to Python again."""
    sys.excepthook = sys.__excepthook__
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# TensorFlow reads its log level once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# matplotlib would tell on stderr of a home that it cannot write to.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
# Where something else imports the program, Ctrl-C and exceptions are not ours. In the background of
# a shell, Python leaves Ctrl-C alone.
if os.path.basename(sys.argv[0]) == PROGRAM:
    sys.excepthook = _failed
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
