"""How good a model is on a set of images."""

from typing import NamedTuple

import numpy as np


class Metrics(NamedTuple):
    """Means over a set of images."""

    rec_loss: float  # nats per image
    reg_loss: float  # nats per image
    mse: float  # squared error per pixel of the reconstructions against the clean images

    @property
    def loss(self):
        return self.rec_loss + self.reg_loss


def evaluate(tfs, vae, x, y):
    """The Metrics of vae on images y, (n, n_outputs), which the encoder sees as x, (n, n_inputs).

    epsilon is fed, the same in every call, so that evaluations can be compared and change nothing
    in training.
    """
    rng = np.random.default_rng(0)
    rec_sum = 0.0
    reg_sum = 0.0
    mse_sum = 0.0
    for i in range(0, len(y), 1000):  # in parts, to save memory
        X = x[i : i + 1000]
        Y = y[i : i + 1000]
        epsilon = rng.standard_normal((len(Y), int(vae.z.shape[1])), dtype=np.float32)
        feed_dict = {vae.x: X, vae.y: Y, vae.epsilon: epsilon}
        found = tfs.run([vae.rec_loss, vae.reg_loss, vae.model], feed_dict=feed_dict)
        # float32 would lose decimals.
        rec_loss, reg_loss, model = (part.astype(np.float64) for part in found)
        rec_sum += rec_loss.sum()
        reg_sum += reg_loss.sum()
        mse_sum += np.square(model - Y).mean(axis=1).sum()
    n = len(y)
    return Metrics(rec_sum / n, reg_sum / n, mse_sum / n)


def check_finite(loss, where):
    """Raise FloatingPointError, saying where, if the loss is infinite or nan."""
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"loss is {loss} in {where}: try a lower --learning-rate, or --max-log-var 2"
        )


def print_test(test, clean_mse, noisy_mse):
    """Print the test's two lines: the Metrics of the trained task, and both squared errors."""
    loss, rec, reg = test.loss, test.rec_loss, test.reg_loss
    print(f"test loss = {loss:0.6f}   rec = {rec:0.6f}   reg = {reg:0.6f}")
    print(f"test mse  = {clean_mse:0.6f} clean   {noisy_mse:0.6f} noisy", flush=True)
