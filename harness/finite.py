"""Losses and results that are not finite: no training goes on with them, and none is printed."""

import numpy as np

from harness.hooks import Hook


def check_finite(loss, where):
    """Raise FloatingPointError, saying where, if the loss is infinite or nan."""
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"loss is {loss} in {where}: try a lower --learning-rate, or --max-log-var 2"
        )


def check_results(results):
    """Raise FloatingPointError if one of the test's results, by their names, is not finite."""
    for name, result in results.items():
        if not np.isfinite(result):
            raise FloatingPointError(
                f"{name} is {result}: what is not finite was left out above; try --max-log-var 2, "
                "hidden layers that are bounded (--activation tanh) or that see noise (--denoise)"
            )


class StopAtNan(Hook):
    """Ends the training at the first step whose loss is not finite."""

    def after_step(self, epoch, batch, loss):
        check_finite(loss, f"epoch {epoch}, batch {batch}")
