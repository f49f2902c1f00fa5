"""Draws images and curves with matplotlib: shows them, or saves them as PNG or GIF."""

import contextlib
import math
import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_of_a_run = None  # in pictures_of_a_run(), each figure that was saved, with its name


def display_images(images, labels=None, path=None, title=None):
    """A figure of images, each under its label: a row for a few, a grid for many.

    images: (n, 784), (n, 28, 28) or in colour (n, 28, 28, 3); for one alone also without the n.
    Colours span each image's own values. The place of one that is not finite stays empty.
    labels: n titles for the images, or that of one alone. title: one line above them all.

    Called with images and labels alone it shows the figure, as the book's helper does.
    With a path it saves the figure there as PNG instead; what was saved in pictures_of_a_run() is
    shown at its end. Raises ValueError if images have another shape, or there are none, and OSError
    if the file cannot be written; it is then as it was before.
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


def save_animation(frames, path):
    """Write at path, as an animated GIF, how the images of a latent space change.

    frames: pairs of a title and images, (k * k, 784), decoded from prior_grid(k). Raises OSError if
    the file cannot be written; it is then as it was before.
    """
    # 420 pixels to a side, below 30 for the title.
    figure = _new_figure(4.2, 4.5)
    axes = figure.add_axes([0, 0, 1, 420 / 450])
    # Few colours, since GIF packs smooth shades badly.
    colours = plt.get_cmap("viridis", 16)

    def save(part):
        writer = PillowWriter(fps=2)
        writer.setup(figure, part, dpi=100)
        for title, images in frames:
            axes.clear()
            axes.axis("off")
            axes.imshow(_as_manifold(images), cmap=colours, vmin=0, vmax=1, origin="upper")
            axes.set_title(title, fontsize=10)
            writer.grab_frame()
        # Not by writer.saving(), which finishes after an error, too, and so hides it.
        writer.finish()

    _write_atomically(save, path, ".gif")


def display_latent(z_mean, labels, path=None):
    """A figure of points z_mean, (n, 2), coloured by their labels, (n,), with a legend.

    Path and error as in display_images().
    """
    figure = _new_figure(8, 7)
    axes = figure.add_subplot()
    kinds = np.unique(labels)
    for label in kinds:
        points = z_mean[labels == label]
        colour = plt.get_cmap("tab10")(int(label) % 10)
        axes.scatter(points[:, 0], points[:, 1], s=4, color=colour, label=str(label))
    axes.set_xlabel("z_mean[0]")
    axes.set_ylabel("z_mean[1]")
    axes.legend(
        title="label",
        markerscale=4,
        ncol=math.ceil(len(kinds) / 20),
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    _finish(figure, path, "Test images in the latent space")


def display_losses(losses, path=None):
    """A figure of four curves over the epochs: the training loss, the validation loss, its parts.

    losses: for each epoch the four in this order, in nats per image; the parts may be nan. Path and
    error as in display_images().
    """
    figure = _new_figure(7, 4.5)
    axes = figure.add_subplot()
    names = [
        "training, mean over the epoch",
        "validation, after the epoch: rec + reg",
        "rec, the reconstruction loss",
        "reg, the regularization loss: the KL",
    ]
    marker = "o" if len(losses) <= 30 else None
    for name, curve in zip(names, zip(*losses)):
        axes.plot(curve, label=name, marker=marker, markersize=3)
    axes.set_ylim(bottom=0)
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
    used = np.count_nonzero(kl > 0.1)
    title = f"{used} of {len(kl)} latent dimensions have a mean KL above 0.1 nats"
    _finish(figure, path, title)


@contextlib.contextmanager
def pictures_of_a_run():
    """Draw in matplotlib's own style, whatever the user's; at the end show all that was saved.

    Only then is a screen needed. After an error nothing is shown.
    """
    global _of_a_run
    _of_a_run = saved = []
    try:
        with plt.style.context("default"):
            yield
    finally:
        _of_a_run = None
    # Not in that style: the first window loads its backend, whose parameters are to stay.
    _show(saved)


def _as_squares(images):
    """The images as display_images() takes them, in rows and columns: (n, h, w) or (n, h, w, c)."""
    images = np.asarray(images)
    shape = images.shape
    if images.ndim == 3 and shape[0] == shape[1] != shape[2] and shape[2] in (1, 3, 4):
        images = images[np.newaxis]
    if images.ndim in (1, 2) and images.size:
        side = round(math.sqrt(shape[-1]))
        if side * side == shape[-1]:
            images = images.reshape(-1, side, side)
        elif shape[0] == shape[-1]:
            images = images[np.newaxis]
    if images.ndim < 3 or images.size == 0 or images.shape[3:] not in ((), (1,), (3,), (4,)):
        raise ValueError(
            "expected images of shape (n, 784), (n, 28, 28) or (n, 28, 28, 3), "
            f"or one without the n, found {shape}"
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
    """A figure of width x height inches that needs no screen."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _finish(figure, path, title=None):
    """Add the title, then save the figure at path, or show it where path is None."""
    if title is not None:
        figure.suptitle(title)
    if not figure.get_constrained_layout():  # as the user's style may have it
        figure.tight_layout()
    if path is None:
        _show([(figure, None)])
        return
    _write_atomically(lambda part: figure.savefig(part, format="png"), path)
    if _of_a_run is not None:
        _of_a_run.append((figure, Path(path).stem))


def _show(figures):
    """Show figures, pairs of one and its name or None, in windows or a notebook, all at once.

    Without a screen nothing happens. Windows stay only where matplotlib is interactive: for one who
    goes on typing.
    """
    # Each of the systems that make windows has errors of its own. Ctrl-C closes the windows.
    with contextlib.suppress(Exception, KeyboardInterrupt), warnings.catch_warnings():
        # Matplotlib's: what it cannot show, and how many are open.
        warnings.simplefilter("ignore")
        for figure, name in figures:
            # Pyplot, which has the windows, makes its figures itself: here it is given one.
            plt.figure(FigureClass=lambda *args, figure=figure, **kwargs: figure)
            if name is not None:
                figure.canvas.manager.set_window_title(name)
        plt.show()
    if not plt.isinteractive():
        for figure, _ in figures:
            plt.close(figure)  # which does nothing if it is closed


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
