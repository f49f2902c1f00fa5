"""Draws images and curves with matplotlib, and saves them as PNG."""

import contextlib
import math
import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import PillowWriter

_keep_saved = False  # whether figures stay open for show() once they are saved


def display_images(images, labels=None, path=None, title=None):
    """A figure of images, each under its label: a row for a few, a grid for many.

    images: (n, 784), (n, 28, 28) or in colour (n, 28, 28, 3); for one alone also (784,) or
    (28, 28). Colours span each image's own values. The place of one that is not finite stays empty.
    labels: n titles for the images, or that of one alone. title: one line above them all.

    Called with images and labels alone it shows the figure, as the book's helper does.
    With a path it saves the figure there as PNG instead; in pictures_of_a_run() show() shows it
    too. Raises ValueError if images have another shape, or there are none, and OSError if the file
    cannot be written; it is then as it was before.
    """
    images = _as_squares(images)
    if np.ndim(labels) == 0 and labels is not None:
        labels = [labels]
    columns = len(images) if len(images) <= 10 else math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    side = 1.5 if rows == 1 else 0.9
    headroom = 0.3 * (labels is not None)
    width = max(side * columns, 0.09 * len(title or ""))
    figure = _new_figure(width, (side + headroom) * rows + 0.4 * (title is not None))
    for i, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.axis("off")
        if np.isfinite(image).all():
            axes.imshow(image, origin="upper")
        if labels is not None:
            axes.set_title(labels[i])
    _finish(figure, path, title)


def display_compared(rows, labels, path=None):
    """A figure of rows of images, one below the other, in one scale of colours from 0 to 1.

    rows: images, by the name of the row. labels: n titles for the columns. The place of an image
    that is not finite stays empty. Images, path and errors as in display_images().
    """
    figure = _new_figure(1.5 * len(labels) + 1.2, 1.5 * len(rows) + 0.3)
    for i, (name, images) in enumerate(rows.items()):
        for j, image in enumerate(_as_squares(images)):
            axes = figure.add_subplot(len(rows), len(labels), i * len(labels) + j + 1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_frame_on(False)
            if np.isfinite(image).all():
                axes.imshow(image, vmin=0, vmax=1, origin="upper")
            if i == 0:
                axes.set_title(labels[j])
            if j == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center")
    _finish(figure, path)


def prior_grid(k):
    """k * k points z, (k * k, 2), at the quantiles of the standard normal prior.

    There are more of them where the prior is denser. Row by row, z[0] grows fastest.
    """
    # The inverse normal distribution, from a table: statistics.NormalDist needs Python 3.8.
    table = np.linspace(-5, 5, 10001)
    cumulative = [0.5 + 0.5 * math.erf(value / math.sqrt(2)) for value in table]
    ticks = np.interp((np.arange(k) + 0.5) / k, cumulative, table)
    return np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)


def display_manifold(images, path=None):
    """A figure of the images that lie in a latent space of two dimensions, k to a side.

    images: (k * k, 784), decoded from prior_grid(k). Path and errors as in display_images().
    """
    k = round(math.sqrt(len(images)))
    figure = _new_figure(8, 8)
    axes = figure.add_subplot()
    axes.imshow(_as_manifold(images), extent=(0, k, 0, k), origin="upper")
    shown = np.arange(0, k, 3)
    names = [f"{tick:.2f}" for tick in prior_grid(k)[shown, 0]]
    axes.set_xticks(shown + 0.5)
    axes.set_xticklabels(names)
    axes.set_yticks(shown + 0.5)
    axes.set_yticklabels(names)
    axes.set_xlabel("z[0]")
    axes.set_ylabel("z[1]")
    _finish(figure, path, "Images decoded from z, at the quantiles of its prior")


def save_animation(frames, path, side=420):
    """Write at path, as an animated GIF, how the images of a latent space change.

    frames: pairs of a title and images, (k * k, 784), decoded from prior_grid(k). side: pixels, of
    the images together. Raises OSError if the file cannot be written; it is then as it was before.
    """
    figure = _new_figure(side / 100, side / 100 + 0.3)
    # Few colours, since GIF packs smooth shades badly.
    colours = plt.get_cmap("viridis", 16)
    axes = figure.add_axes([0, 0, 1, side / (side + 30)])
    axes.axis("off")
    writer = PillowWriter(fps=2)

    def save(part):
        with writer.saving(figure, part, dpi=100):
            for title, images in frames:
                axes.clear()
                axes.axis("off")
                axes.imshow(_as_manifold(images), cmap=colours, vmin=0, vmax=1, origin="upper")
                axes.set_title(title, fontsize=10)
                writer.grab_frame()

    try:
        _write_atomically(save, path, ".gif")
    finally:
        plt.close(figure)


def display_latent(z_mean, labels, path=None):
    """A figure of points z_mean, (n, 2), coloured by their labels, (n,), with a legend.

    Path and error as in display_images().
    """
    figure = _new_figure(8, 7)
    axes = figure.add_subplot()
    for label in np.unique(labels):
        points = z_mean[labels == label]
        colour = plt.get_cmap("tab10")(int(label) % 10)
        axes.scatter(points[:, 0], points[:, 1], s=4, color=colour, label=str(label))
    axes.set_xlabel("z_mean[0]")
    axes.set_ylabel("z_mean[1]")
    columns = math.ceil(len(np.unique(labels)) / 20)
    legend = {"title": "label", "markerscale": 4, "ncol": columns}
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), **legend)
    _finish(figure, path, "Test images in the latent space")


def display_losses(losses, path=None):
    """A figure of two curves over the epochs: the pairs of losses, training and validation.

    In nats per image. Path and error as in display_images().
    """
    figure = _new_figure(7, 4.5)
    axes = figure.add_subplot()
    train, validation = zip(*losses)
    marker = "o" if len(losses) <= 30 else None
    axes.plot(train, label="training, mean over the epoch", marker=marker, markersize=3)
    axes.plot(validation, label="validation, after the epoch", marker=marker, markersize=3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (nats per image)")
    axes.grid(alpha=0.3)
    axes.legend()
    _finish(figure, path, "Loss by epoch")


def display_kl(kl, path=None):
    """A figure of bars: the KL divergence of each latent dimension, (n,), the largest first.

    In nats per image. Values that are not finite are left out. Path and error as in
    display_images().
    """
    kl = np.asarray(kl)
    kl = np.sort(kl[np.isfinite(kl)])[::-1]
    figure = _new_figure(7, 4.5)
    axes = figure.add_subplot()
    axes.bar(np.arange(1, len(kl) + 1), kl)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set_xlabel("latent dimension, sorted")
    axes.set_ylabel("KL (nats per image)")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    carry = np.count_nonzero(kl > 0.1)
    _finish(figure, path, f"{carry} of {len(kl)} latent dimensions carry more than 0.1 nats")


def show():
    """Show every figure that is open, all at once; without a screen, nothing happens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # matplotlib's, of a figure it cannot show
        plt.show()


@contextlib.contextmanager
def pictures_of_a_run():
    """Draw in matplotlib's own style, whatever the user's, and keep saved figures open for show().

    Close at the end, whatever happened, the figures that were opened meanwhile, and no others.
    Where matplotlib is interactive they stay: windows for one who goes on typing; in a notebook,
    which closes its figures itself, at most what was drawn before an error.
    """
    global _keep_saved
    # The first figure loads the backend, which sets parameters that must outlive the style.
    plt.close(_new_figure(1, 1))
    before = plt.get_fignums()
    _keep_saved = True
    try:
        with plt.style.context("default"):
            yield
            show()
    finally:
        _keep_saved = False
        if not plt.isinteractive():
            for number in set(plt.get_fignums()).difference(before):
                plt.close(number)


def _as_squares(images):
    """The images as display_images() takes them, in rows and columns: (n, h, w) or (n, h, w, c)."""
    images = np.asarray(images)
    shape = images.shape
    if images.ndim in (1, 2) and images.size:
        side = round(math.sqrt(shape[-1]))
        if side * side == shape[-1]:
            images = images.reshape(-1, side, side)
        elif shape[0] == shape[-1]:
            images = images[np.newaxis]
    if images.ndim < 3 or images.size == 0 or images.shape[3:] not in ((), (1,), (3,), (4,)):
        raise ValueError(
            "expected images of shape (n, 784), (n, 28, 28) or (n, 28, 28, 3), "
            f"or one of (784,) or (28, 28), found {shape}"
        )
    return images


def _as_manifold(images):
    """One picture of (k * k, 784) images, in rows of k that begin at the bottom."""
    images = _as_squares(images)
    k = round(math.sqrt(len(images)))
    # z[1] grows from row to row; reversed, it grows upwards in the picture.
    rows = images.reshape(k, k, *images.shape[1:])[::-1]
    return np.concatenate(np.concatenate(rows, axis=1), axis=1)


def _new_figure(width, height):
    """A figure of width x height inches, in a window only where there can be one."""
    try:
        return plt.figure(figsize=(width, height))
    except ImportError:  # the backend that was asked for, or what its windows need, is not there
        plt.switch_backend("agg")
        return plt.figure(figsize=(width, height))


def _finish(figure, path, title=None):
    """Add the title, then save the figure at path, or show it where path is None."""
    if title is not None:
        figure.suptitle(title)
    if not figure.get_constrained_layout():  # as the user's style may have it
        figure.tight_layout()
    stays = plt.isinteractive() if path is None else _keep_saved
    try:
        if path is None:
            show()
        else:
            figure.canvas.manager.set_window_title(Path(path).stem)
            _write_atomically(lambda part: figure.savefig(part, format="png"), path)
    finally:
        if not stays:
            plt.close(figure)


def _write_atomically(save, path, ending=""):
    """Have save() write under another name first: a file at path is whole or as it was before."""
    # A name of this process alone: another run may be saving the same picture.
    part = f"{path}.{os.getpid()}.part{ending}"
    try:
        save(part)
        os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(part)
