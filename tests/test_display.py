"""display.py: what the figures show, how they are saved, and what needs no screen."""

import math
from itertools import combinations, product
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.figure import Figure
from PIL import Image

from display import display_compared, display_images, display_kl, display_latent, display_losses
from display import display_manifold, pictures_of_a_run, prior_grid, save_animation

pytestmark = pytest.mark.filterwarnings("error")

Z_MEAN, Z_LABELS = np.random.default_rng(1).standard_normal((30, 2)), np.arange(30) * 7 % 10


@pytest.fixture(autouse=True)
def no_figures_stay_open():
    yield
    plt.close("all")


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Has a function save a figure, and returns the figure."""
    figures, savefig = [], Figure.savefig

    def record(figure, *args, **kwargs):
        figures.append(figure)
        savefig(figure, *args, **kwargs)

    def drawn(draw, *args, **kwargs):
        draw(*args, path=tmp_path / "drawn.png", **kwargs)
        return figures[-1]

    monkeypatch.setattr(Figure, "savefig", record)
    return drawn


@pytest.fixture
def shown(monkeypatch):
    """A screen that is not there: the numbers of the open figures at each call of plt.show()."""
    calls = []
    monkeypatch.setattr(plt, "show", lambda: calls.append(plt.get_fignums()))
    return calls


@pytest.fixture
def earlier(tmp_path):
    """The path of a picture that is there already, alone in its folder."""
    path = tmp_path / "picture.gif"
    path.write_bytes(b"an earlier picture")
    return path


def random_images(n):
    return np.random.default_rng(n).random((n, 28, 28))


def texts(artists):
    return [artist.get_text() for artist in artists]


def places(figure):
    """The row and column of each image."""
    specs = [axes.get_subplotspec() for axes in figure.axes]
    return [(spec.rowspan.start, spec.colspan.start) for spec in specs]


FIGURES = {
    "images": lambda path=None: display_images(random_images(4), [1, 2, 3, 4], path, "Four"),
    "compared": lambda path=None: display_compared({"a": random_images(2)}, [1, 2], path),
    "manifold": lambda path=None: display_manifold(random_images(16), path),
    "latent": lambda path=None: display_latent(Z_MEAN, Z_LABELS, path),
    "losses": lambda path=None: display_losses([(3, 4, 3, 1), (2, 3, 2, 1)], path),
    "kl": lambda path=None: display_kl([3, 4], path),
}
SAVED = {**FIGURES, "animation": lambda path: save_animation([("one", np.eye(784)[:4])], path)}
# A style of the user's own; with usetex, drawing fails where there is no LaTeX.
STYLE = {"image.origin": "lower", "figure.facecolor": "black", "text.usetex": True}


# Images.


@pytest.mark.parametrize("n, rows, columns", [(10, 1, 10), (11, 3, 4)])
def test_up_to_ten_images_make_a_row_and_more_a_grid_of_smaller_ones(n, rows, columns, drawn):
    figure = drawn(display_images, random_images(n))
    assert places(figure) == list(product(range(rows), range(columns)))[:n]
    assert (figure.axes[0].get_window_extent().width < 100) == (rows > 1)


@pytest.mark.parametrize(
    "shape, side",
    [
        ((2, 28, 28), 28),
        ((12, 784), 28),
        ((2, 25), 5),
        ((3, 3, 3), 3),  # grey, as in (n, 28, 28)
        ((784,), 28),
        ((28, 28), 28),
    ],
)
def test_the_pixels_shown_are_those_given_in_colours_over_their_own_range(shape, side, drawn):
    images = np.random.default_rng(1).uniform(-3, 7, shape)
    pictures = [axes.images[0] for axes in drawn(display_images, images.tolist()).axes]
    images = images.reshape(-1, side, side)
    assert np.array_equal([picture.get_array() for picture in pictures], images)
    for picture, image in zip(pictures, images):
        assert picture.get_cmap().name == "viridis"
        assert picture.get_clim() == (image.min(), image.max())
        assert not picture.axes.axison


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_image_with_its_channels_last_is_one_picture(channels, drawn):
    image = np.random.default_rng(1).random((28, 28, channels))
    (axes,) = drawn(display_images, image).axes
    assert np.array_equal(axes.images[0].get_array(), np.squeeze(image))


@pytest.mark.parametrize("shape", [(0,), (0, 784), (0, 28, 28), (783,), (4, 783), (4, 1, 28, 28)])
def test_what_is_no_image_is_refused_with_the_shapes_that_will_do(shape):
    with pytest.raises(ValueError) as error:
        display_images(np.zeros(shape))
    words = ["(n, 784)", "(n, 28, 28)", "(n, 28, 28, 3)", "one without the n", f"found {shape}"]
    assert all(word in str(error.value) for word in words)


# A single label needs no brackets.
@pytest.mark.parametrize("n, labels", [(1, 0.5), (9, np.arange(9) / 8), (12, np.arange(12) / 8)])
def test_labels_are_over_the_images_in_their_order_and_a_title_over_all(n, labels, drawn):
    title = "Decoded from z on the line between two test images"
    figure = drawn(display_images, random_images(n), labels, title=title)
    assert texts(figure.texts) == [title]
    assert texts(axes.title for axes in figure.axes) == [str(x) for x in np.ravel(labels)]
    parts = [*figure.texts, *[axes.title for axes in figure.axes], *figure.axes]
    boxes = [part.get_window_extent() for part in parts]
    assert all(0 <= box.x0 < box.x1 <= figure.bbox.width for box in boxes)
    assert all(0 <= box.y0 < box.y1 <= figure.bbox.height for box in boxes)
    # Half a pixel may be lost in rounding.
    assert not any(box.padded(-0.5).overlaps(other) for box, other in combinations(boxes, 2))
    # The words take no room from the images, which are 90 pixels to a side or more.
    assert figure.axes[0].get_window_extent().width > 80


def test_compared_images_are_in_rows_with_names_in_columns_with_labels_in_one_scale(drawn):
    above, below = random_images(3), random_images(2) - 0.5
    below[1] = np.inf
    figure = drawn(display_compared, {"above": above, "below": below}, [7, 2, 1])
    assert texts(axes.title for axes in figure.axes) == ["7", "2", "1", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["above", "", "", "below", ""]
    assert places(figure) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    pictures = [picture for axes in figure.axes for picture in axes.images]
    assert np.array_equal([picture.get_array() for picture in pictures], [*above, below[0]])
    assert {picture.get_clim() for picture in pictures} == {(0, 1)}


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 28, 28, 3)], ids=["grey", "colour"])
def test_the_place_of_an_image_that_is_not_finite_stays_empty(shape, drawn):
    images = np.random.default_rng(1).random(shape)
    images[1, 0, 0] = np.nan
    assert [len(axes.images) for axes in drawn(display_images, images).axes] == [1, 0, 1]


# The latent space.


@pytest.mark.parametrize("k", [1, 2, 20])
def test_the_grid_has_all_pairs_of_the_priors_quantiles_row_by_row(k):
    z = prior_grid(k)
    ticks = z[:k, 0]
    below = [(1 + math.erf(tick / math.sqrt(2))) / 2 for tick in ticks]
    assert np.allclose(below, (np.arange(k) + 0.5) / k, atol=1e-5)
    assert np.array_equal(z, [(z0, z1) for z1 in ticks for z0 in ticks])


def test_each_image_of_the_manifold_is_where_its_z_is_on_the_axes(drawn):
    gradient = np.linspace(0, 0.5, 784)
    z = prior_grid(20)
    axes = drawn(display_manifold, gradient + z[:, :1] + 10 * z[:, 1:]).axes[0]
    # The axes go to the right and upwards, and so does z; the first row of an image is its upper.
    assert (axes.images[0].origin, [*axes.images[0].get_extent()]) == ("upper", [0, 20, 0, 20])
    square, ticks = gradient.reshape(28, 28), z[:20, 0]
    rows = [[square + z0 + 10 * z1 for z0 in ticks] for z1 in ticks[::-1]]
    assert np.allclose(axes.images[0].get_array(), np.block(rows))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[0]", "z[1]")
    for axis in (axes.xaxis, axes.yaxis):
        assert list(axis.get_ticklocs()) == [0.5, 3.5, 6.5, 9.5, 12.5, 15.5, 18.5]
        assert texts(axis.get_ticklabels()) == [f"{tick:.2f}" for tick in ticks[::3]]


def test_the_latent_space_shows_each_point_under_its_label_in_a_colour_of_its_own(drawn):
    axes = drawn(display_latent, Z_MEAN, Z_LABELS).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z_mean[0]", "z_mean[1]")
    for label, points in enumerate(axes.collections):
        assert np.array_equal(points.get_offsets(), Z_MEAN[np.equal(Z_LABELS, label)])
    assert len({tuple(points.get_facecolor()[0]) for points in axes.collections}) == 10
    assert texts(axes.get_legend().get_texts()) == [str(i) for i in range(10)]
    sevens = Z_LABELS == 7
    (alone,) = drawn(display_latent, Z_MEAN[sevens], Z_LABELS[sevens]).axes[0].collections
    assert np.array_equal(alone.get_facecolor(), axes.collections[7].get_facecolor())


def test_an_animation_has_a_frame_for_each_pair_with_each_image_where_its_z_is(tmp_path):
    black = np.zeros((4, 784))
    corner = black + (prior_grid(2) > 0).all(axis=1)[:, None]
    # The last is dark in the colours of them all, though not in those of its own range.
    frames = [("before", black), ("after", corner), ("later", corner / 4)]
    save_animation(frames, tmp_path / "manifold.gif")
    with Image.open(str(tmp_path / "manifold.gif")) as gif:
        assert (gif.n_frames, gif.info["duration"]) == (3, 500)
        for i, there in enumerate([False, True, False]):
            gif.seek(i)
            bright = np.asarray(gif.convert("RGB"))[-420:, :, 0] > 160
            assert (bright[40:190, 250:400] == there).all()
            assert not bright[250:400].any() and not bright[:, 40:190].any()


# Losses and KL divergences.


def test_the_curves_are_the_losses_by_epoch(drawn):
    losses = [(200.5, 180.25, np.nan, np.nan), [150, 149, 128, 21], (140.125, 141, 119, 22)]
    axes = drawn(display_losses, losses).axes[0]
    lines = axes.get_lines()
    np.testing.assert_array_equal([line.get_ydata() for line in lines], np.transpose(losses))
    assert [list(line.get_xdata()) for line in lines] == [[0, 1, 2]] * 4
    assert [line.get_marker() for line in lines] == ["o"] * 4  # so a single epoch can be seen
    names = texts(axes.get_legend().get_texts())
    assert [name[:10] for name in names] == ["training, ", "validation", "rec, the r", "reg, the r"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss (nats per image)")
    assert set(axes.get_xticks() % 1) == {0}
    assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize(
    "kl, heights, title",
    [([0.05, np.nan, 0.2, 0, -np.inf, 4], [4, 0.2, 0.05, 0], "2 of 4"), ([np.nan], [], "0 of 0")],
)
def test_the_bars_are_the_kl_divergences_the_largest_first(kl, heights, title, drawn):
    figure = drawn(display_kl, kl)
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == heights
    middles = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    assert np.allclose(middles, np.arange(1, len(heights) + 1))
    assert texts(figure.texts) == [f"{title} latent dimensions have a mean KL above 0.1 nats"]
    assert axes.get_xlabel() == "latent dimension, sorted"
    assert set(axes.get_xticks() % 1) == {0}
    assert axes.get_ylim()[0] == 0


# How a picture is saved.


@pytest.mark.parametrize("name", SAVED)
def test_a_run_draws_over_the_picture_before_the_same_in_any_style(name, earlier):
    SAVED[name](earlier)
    content = earlier.read_bytes()
    with plt.rc_context(STYLE):
        with pictures_of_a_run():
            SAVED[name](str(earlier))
        assert {key: plt.rcParams[key] for key in STYLE} == STYLE
    assert earlier.read_bytes() == content
    assert list(earlier.parent.iterdir()) == [earlier]
    with Image.open(str(earlier)) as image:
        assert image.format == ("GIF" if name == "animation" else "PNG")
        assert len(image.convert("RGB").getcolors(10**6)) > 2


def test_outside_a_run_the_users_style_holds_but_no_image_is_upside_down(tmp_path):
    image = np.repeat([1, 0], 392)
    with plt.rc_context({**STYLE, "text.usetex": False, "figure.constrained_layout.use": True}):
        display_images(image, path=tmp_path / "picture.png")
    pixels = plt.imread(str(tmp_path / "picture.png"))
    middle = pixels[len(pixels) // 4 :: len(pixels) // 2, pixels.shape[1] // 2, :3]
    assert np.allclose(middle, [[0.99, 0.91, 0.14], [0.27, 0, 0.33]], atol=0.01)  # viridis's ends
    assert np.array_equal(pixels[0, 0, :3], [0, 0, 0])


@pytest.mark.parametrize("name", ["kl", "animation"])
def test_a_picture_that_fails_half_way_leaves_the_one_before(name, earlier, monkeypatch):
    def save(self, target, *args, **kwargs):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)  # matplotlib's last step, for PNG and GIF
    with pytest.raises(OSError, match="No space left") as error:
        SAVED[name](earlier)
    assert error.value.filename == earlier
    assert earlier.read_bytes() == b"an earlier picture"
    assert list(earlier.parent.iterdir()) == [earlier]
    assert plt.get_fignums() == []


# The screen.


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_shown_at_once_or_saved_and_shown_at_the_end_of_a_run(draw, shown, tmp_path):
    draw(tmp_path / "picture.png")
    assert (shown, plt.get_fignums()) == ([], [])
    with pictures_of_a_run():
        draw(tmp_path / "picture.png")
        draw(tmp_path / "picture.png")
    # A notebook would show what is returned as well.
    assert draw() is None
    assert (shown, plt.get_fignums()) == ([[1, 2], [1]], [])


@pytest.mark.parametrize("interactive", [False, True])
def test_windows_stay_only_while_one_goes_on_typing(interactive, shown, monkeypatch, tmp_path):
    monkeypatch.setattr(plt, "isinteractive", lambda: interactive)
    plt.figure()
    FIGURES["losses"]()
    with pictures_of_a_run():
        FIGURES["losses"](tmp_path / "picture.png")
    assert plt.get_fignums() == ([1, 2, 3] if interactive else [1])


def test_a_window_has_the_name_of_its_picture(shown, monkeypatch, tmp_path):
    names = []
    monkeypatch.setattr(FigureManagerBase, "set_window_title", lambda _, name: names.append(name))
    with pictures_of_a_run():
        FIGURES["losses"](tmp_path / "picture.png")
    assert names[-1] == "picture"


def test_ctrl_c_closes_the_windows_of_a_run_that_is_over(monkeypatch, tmp_path):
    def press_ctrl_c():
        raise KeyboardInterrupt

    monkeypatch.setattr(plt, "show", press_ctrl_c)
    with pictures_of_a_run():
        FIGURES["losses"](tmp_path / "picture.png")
    assert plt.get_fignums() == []


def test_after_an_error_no_figure_is_shown(shown, tmp_path):
    with pytest.raises(KeyboardInterrupt), pictures_of_a_run():
        FIGURES["losses"](tmp_path / "picture.png")
        raise KeyboardInterrupt
    assert (shown, plt.get_fignums()) == ([], [])


def test_a_screen_is_looked_for_only_once_all_is_saved(monkeypatch, tmp_path):
    there = []

    def fail(*args, **kwargs):
        there.append(sorted(path.name for path in tmp_path.iterdir()))
        raise RuntimeError("cannot connect to display")

    monkeypatch.setattr(plt, "figure", fail)
    with pictures_of_a_run():
        for name, draw in SAVED.items():
            draw(tmp_path / name)
    assert there == [sorted(SAVED)]


@pytest.mark.parametrize("backend", ["module://missing", "pgf"])
def test_a_backend_that_cannot_show_or_draw_leaves_the_pictures(
    backend, monkeypatch, recwarn, capsys, earlier
):
    monkeypatch.setenv("DISPLAY", ":0")  # matplotlib complains only where there could be a window
    monkeypatch.setitem(plt.rcParams, "backend", backend)
    monkeypatch.setattr(plt, "_backend_mod", None)  # as at the first figure of a process
    FIGURES["losses"]()
    FIGURES["losses"](earlier)
    assert np.ptp(plt.imread(str(earlier))) > 0.5
    assert [*recwarn, *capsys.readouterr()] == ["", ""]


def test_an_error_in_an_animations_first_frame_is_told_as_it_is(earlier):
    def frames():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        save_animation(frames(), earlier)
    assert list(earlier.parent.iterdir()) == [earlier]
