"""Losses and results that are not finite: no training goes on with them, and none is printed."""

import numpy as np

from harness.hooks import Hook


def check_finite(loss, where):
    """Raise FloatingPointError, saying where, if the loss is infinite or nan."""
    if not np.isfinite(loss):
        raise FloatingPointError(f"loss is {loss} in {where}: try a lower --learning-rate")


def check_results(**mses):
    """Raise FloatingPointError if an mse of the test images, by their kind, is not finite."""
    for kind, mse in mses.items():
        if not np.isfinite(mse):
            raise FloatingPointError(
                f"test mse of {kind} images is {mse}: what is not finite was left out above; try "
                "hidden layers that are bounded (--activation tanh) or that see noise (--denoise)"
            )


class StopAtNan(Hook):
    """Ends the training at the first step whose loss is not finite."""

    def after_step(self, epoch, batch, loss):
        check_finite(loss, f"epoch {epoch}, batch {batch}")
