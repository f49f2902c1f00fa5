"""The line on a terminal that shows how far a long run is."""

import sys


def progress(n_steps, name):
    """Yield 0 .. n_steps - 1, and show on stderr how far it is, if that is a terminal."""
    width = len(str(n_steps))
    shown = sys.stderr is not None and sys.stderr.isatty()
    for step in range(n_steps):
        if step % 10 == 0 and shown:
            # Each such line is as long as the one before and shorter than a result: what is
            # printed next covers it.
            print(f"{name}: {step:{width}}/{n_steps}", end="\r", file=sys.stderr, flush=True)
        yield step
