"""How far a run is, on a terminal, and Ctrl-C between two of its steps."""

import contextlib
import os
import signal
import sys
import threading


def progress(n_steps, name):
    """Yield 0 .. n_steps - 1, and show on stderr how far it is, if that is a terminal.

    Ctrl-C waits for the end of the step: raised inside a session call, KeyboardInterrupt can crash
    TensorFlow's binding. (Nets of 32 neurons crashed after some hundreds of them, the book's not
    once in 6,000.) A second one does not wait.
    """
    pressed = []

    def note(*signal_and_frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    # Whoever has a handler of their own keeps it. Only the main thread may set one.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ours = ours and threading.current_thread() is threading.main_thread()
    width = len(str(n_steps))
    shown = _is_terminal(sys.stderr)
    try:
        if ours:
            signal.signal(signal.SIGINT, note)
        for step in range(n_steps):
            if shown and step % max(1, n_steps // 50) == 0:
                # As long as the line before and shorter than a result: what comes next covers it.
                line = f"{name}: {step:{width}}/{n_steps}"
                with contextlib.suppress(OSError):  # a terminal that was closed ends no run
                    print(line, end="\r", file=sys.stderr, flush=True)
            yield step
            if pressed:
                raise KeyboardInterrupt
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_terminal(stream):
    """Whether a line can be overwritten there. In IDLE it cannot, although its isatty() is true."""
    try:
        return stream.isatty() and os.isatty(stream.fileno())
    except (AttributeError, OSError, ValueError):  # none, one that can only write, or closed
        return False
