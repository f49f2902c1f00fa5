"""display.py: what the figures show, how they are saved, and what needs no screen."""

import errno
import math
from itertools import combinations, product

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from display import closing_figures, display_compared, display_images, display_kl, display_latent
from display import display_losses, display_manifold, prior_grid, save_unfolding, show

pytestmark = pytest.mark.filterwarnings("error")

Z_MEAN = np.random.default_rng(1).standard_normal((30, 2))
Z_LABELS = np.arange(30) * 7 % 10


@pytest.fixture(autouse=True)
def no_figures_stay_open():
    yield
    plt.close("all")


@pytest.fixture
def drawn(tmp_path):
    """Has a function save a figure, and returns the figure."""

    def drawn(draw, *args, **kwargs):
        draw(*args, path=tmp_path / "drawn.png", **kwargs)
        return plt.gcf()

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


FIGURES = {
    "images": lambda path=None: display_images(random_images(4), [1, 2, 3, 4], path, "Four"),
    "compared": lambda path=None: display_compared({"a": random_images(2)}, [1, 2], path),
    "manifold": lambda path=None: display_manifold(lambda z: random_images(len(z)), path, 4),
    "latent": lambda path=None: display_latent(Z_MEAN, Z_LABELS, path),
    "losses": lambda path=None: display_losses([(3, 4), (2, 3)], path),
    "kl": lambda path=None: display_kl([3, 4], path),
}
every_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
SAVED = {**FIGURES, "unfolding": lambda path: save_unfolding([("one", np.eye(784)[:4])], path)}
everything_saved = pytest.mark.parametrize("draw", SAVED.values(), ids=SAVED)


# Images.


@pytest.mark.parametrize("n, rows, columns", [(1, 1, 1), (10, 1, 10), (11, 3, 4), (50, 7, 8)])
def test_up_to_ten_images_make_one_row_and_more_a_grid_row_by_row(n, rows, columns, drawn):
    boxes = [axes.get_position() for axes in drawn(display_images, random_images(n)).axes]
    tops = sorted({round(-box.y1, 4) for box in boxes})
    lefts = sorted({round(box.x0, 4) for box in boxes})
    places = [(tops.index(round(-box.y1, 4)), lefts.index(round(box.x0, 4))) for box in boxes]
    assert places == list(product(range(rows), range(columns)))[:n]


@pytest.mark.parametrize("shape", [(4, 28, 28), (12, 784), (2, 25)])
def test_the_pixels_shown_are_those_given_in_colours_over_their_own_range(shape, drawn):
    images = np.random.default_rng(1).uniform(-3, 7, shape)
    side = {784: 28, 28: 28, 25: 5}[shape[-1]]
    figure = drawn(display_images, images)
    for axes, image in zip(figure.axes, images):
        (picture,) = axes.images
        assert np.array_equal(picture.get_array(), image.reshape(side, side))
        assert (picture.origin, picture.get_cmap().name) == ("upper", "viridis")
        assert picture.get_clim() == (image.min(), image.max())
        assert not axes.axison


def test_labels_and_title_are_optional(drawn):
    figure = drawn(display_images, random_images(2))
    assert texts([*figure.texts, *[axes.title for axes in figure.axes]]) == ["", ""]


@pytest.mark.parametrize("n", [9, 12])
def test_labels_are_over_the_images_in_their_order_and_a_title_over_all(n, drawn):
    figure = drawn(display_images, random_images(n), np.arange(n) / 8, title="Many of them")
    assert texts(figure.texts) == ["Many of them"]
    assert texts(axes.title for axes in figure.axes) == [str(i / 8) for i in range(n)]
    parts = [*figure.texts, *[axes.title for axes in figure.axes], *figure.axes]
    boxes = [part.get_window_extent() for part in parts]
    assert all(0 <= box.x0 < box.x1 <= figure.bbox.width for box in boxes)
    assert all(0 <= box.y0 < box.y1 <= figure.bbox.height for box in boxes)
    # Half a pixel may be lost in rounding.
    assert not any(box.padded(-0.5).overlaps(other) for box, other in combinations(boxes, 2))


def test_compared_images_are_in_rows_with_names_in_columns_with_labels_in_one_scale(drawn):
    above, below = random_images(3), random_images(2) - 0.5
    below[1] = np.inf
    figure = drawn(display_compared, {"above": above, "below": below}, [7, 2, 1])
    assert texts(axes.title for axes in figure.axes) == ["7", "2", "1", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["above", "", "", "below", ""]
    boxes = [axes.get_position() for axes in figure.axes]
    assert boxes[0].x0 == pytest.approx(boxes[3].x0)
    assert boxes[0].x1 < boxes[1].x0 < boxes[1].x1 < boxes[2].x0
    assert boxes[3].y1 < boxes[0].y0
    pictures = [picture for axes in figure.axes for picture in axes.images]
    assert np.array_equal([picture.get_array() for picture in pictures], [*above, below[0]])
    assert {picture.get_clim() for picture in pictures} == {(0, 1)}


def test_the_place_of_an_image_that_is_not_finite_stays_empty(drawn):
    images = random_images(3)
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


@pytest.mark.parametrize("shape", [(784,), (28, 28)])
def test_each_image_of_the_manifold_is_where_its_z_is(shape, drawn):
    gradient = np.linspace(0, 0.5, 784)

    def decode(z):
        return (gradient + z[:, :1] + 10 * z[:, 1:]).reshape((len(z), *shape))

    (image,) = drawn(display_manifold, decode, k=3).axes[0].images
    # The axes go to the right and upwards, and so does z; the first row of an image is its upper.
    assert (image.origin, list(image.get_extent())) == ("upper", [0, 3, 0, 3])
    low, middle, high = prior_grid(3)[:3, 0]
    square = gradient.reshape(28, 28)
    rows = [[square + z0 + 10 * z1 for z0 in (low, middle, high)] for z1 in (high, middle, low)]
    assert np.allclose(image.get_array(), np.block(rows), atol=1e-4)


def test_the_manifold_is_labelled_with_z_in_the_middle_of_its_images(drawn):
    axes = drawn(display_manifold, lambda z: np.zeros((len(z), 784))).axes[0]
    ticks = prior_grid(20)[:20, 0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[0]", "z[1]")
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 20), (0, 20))
    for axis in (axes.xaxis, axes.yaxis):
        places = axis.get_ticklocs()
        assert len(places) > 5
        assert set(places % 1) == {0.5}
        assert texts(axis.get_ticklabels()) == [f"{ticks[int(i)]:.2f}" for i in places]


def test_the_latent_space_shows_each_point_under_its_label_in_the_labels_own_colour(drawn):
    axes = drawn(display_latent, Z_MEAN, Z_LABELS).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z_mean[0]", "z_mean[1]")
    for label, points in enumerate(axes.collections):
        assert np.array_equal(points.get_offsets(), Z_MEAN[np.equal(Z_LABELS, label)])
    assert len({tuple(points.get_facecolor()[0]) for points in axes.collections}) == 10
    assert texts(axes.get_legend().get_texts()) == [str(i) for i in range(10)]
    sevens = Z_LABELS == 7
    (alone,) = drawn(display_latent, Z_MEAN[sevens], Z_LABELS[sevens]).axes[0].collections
    assert np.array_equal(alone.get_facecolor(), axes.collections[7].get_facecolor())


@pytest.mark.parametrize("n_labels", [10, 62])
def test_the_latent_spaces_axes_and_legend_are_inside_the_picture(n_labels, drawn):
    z_mean = np.random.default_rng(2).normal(size=(512, 2))
    figure = drawn(display_latent, z_mean, np.arange(512) % n_labels)
    box = figure.axes[0].get_legend().get_window_extent()
    assert figure.axes[0].bbox.x1 <= box.x0 < box.x1 <= figure.bbox.width
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height


def test_an_animation_has_a_frame_for_each_pair_with_each_image_where_its_z_is(tmp_path):
    z = prior_grid(2)
    black = np.zeros((4, 784))
    corner = black + (z > 0).all(axis=1)[:, None]
    frames = [("before", black), ("after", corner), ("later", black)]
    save_unfolding(frames, tmp_path / "manifold.gif", side=112)
    bright = []
    with Image.open(str(tmp_path / "manifold.gif")) as gif:
        assert (gif.n_frames, gif.info["duration"]) == (3, 500)
        for i in range(3):
            gif.seek(i)
            pixels = np.asarray(gif.convert("RGB"))[-112:]
            bright.append(pixels[:, :, 0] > 160)
            # The lower end of the default colours: dark blue.
            assert np.allclose(pixels[80:, :40].astype(int), [68, 1, 84], atol=12)
    assert bright[1][10:50, 66:106].all()
    assert not bright[1][66:106].any() and not bright[1][:, 10:50].any()
    assert not bright[0].any() and not bright[2].any()
    assert plt.get_fignums() == []


# Losses and KL divergences.


def test_the_curves_are_the_losses_by_epoch(drawn):
    axes = drawn(display_losses, [(200.5, 180.25), [150, 149], (140.125, 141)]).axes[0]
    lines = axes.get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[200.5, 150, 140.125], [180.25, 149, 141]]
    assert [list(line.get_xdata()) for line in lines] == [[0, 1, 2]] * 2
    names = texts(axes.get_legend().get_texts())
    assert names == ["training, mean over the epoch", "validation, after the epoch"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss (nats per image)")
    assert set(axes.get_xticks() % 1) == {0}


def test_a_single_epoch_can_be_seen(drawn):
    lines = drawn(display_losses, [(2.0, 1.0)]).axes[0].get_lines()
    assert [line.get_marker() for line in lines] == ["o", "o"]


@pytest.mark.parametrize(
    "kl, heights, title",
    [
        ([0.05, 2.5, 0.0, 4], [4, 2.5, 0.05, 0], "2 of 4"),
        ([np.nan, 1, np.inf, 3, -np.inf], [3, 1], "2 of 2"),
        ([0.0], [0], "0 of 1"),
        ([np.nan], [], "0 of 0"),
    ],
)
def test_the_bars_are_the_kl_divergences_the_largest_first(kl, heights, title, drawn):
    figure = drawn(display_kl, kl)
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == heights
    middles = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    assert np.allclose(middles, np.arange(1, len(heights) + 1))
    assert texts(figure.texts) == [f"{title} latent dimensions carry more than 0.1 nats"]
    labels = (axes.get_xlabel(), axes.get_ylabel())
    assert labels == ("latent dimension, sorted", "KL (nats per image)")
    assert set(axes.get_xticks() % 1) == {0}
    assert axes.get_ylim()[0] == 0


# How a picture is saved.


@everything_saved
def test_a_picture_takes_the_place_of_the_one_before_alone_and_always_the_same(draw, earlier):
    draw(earlier)
    content = earlier.read_bytes()
    pixels = plt.imread(str(earlier))
    assert len(np.unique(pixels[:, :, 0])) > 2
    draw(str(earlier))
    assert earlier.read_bytes() == content
    assert list(earlier.parent.iterdir()) == [earlier]


@pytest.mark.parametrize("name", ["picture.png", "picture", "picture.jpg"])
def test_a_picture_is_png_whatever_its_name(name, tmp_path):
    display_losses([(3, 4)], tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")


@everything_saved
@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_picture_that_fails_half_way_leaves_the_one_before(draw, failure, earlier, monkeypatch):
    def save(self, target, *args, **kwargs):
        with open(str(target), "wb") as file:
            file.write(b"half")
        raise failure

    monkeypatch.setattr(Image.Image, "save", save)  # matplotlib's last step, for PNG and GIF
    with pytest.raises(type(failure)) as error:
        draw(earlier)
    assert earlier.read_bytes() == b"an earlier picture"
    assert list(earlier.parent.iterdir()) == [earlier]
    if isinstance(failure, OSError):
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, earlier)


@everything_saved
def test_a_missing_folder_is_an_error_that_names_the_path(draw, tmp_path):
    path = str(tmp_path / "missing" / "picture.gif")
    with pytest.raises(FileNotFoundError) as error:
        draw(path)
    assert error.value.filename == path


# The screen.


@pytest.mark.parametrize("backend", ["agg", "pdf"])
def test_without_a_screen_show_does_nothing(backend, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")  # matplotlib tells only those who could have a window
    plt.switch_backend(backend)
    plt.figure()
    show()
    assert plt.get_fignums() == [1]
    plt.switch_backend("agg")


@every_figure
def test_a_figure_is_shown_at_once_if_it_has_no_path_and_later_if_it_has(draw, shown, tmp_path):
    assert draw(tmp_path / "picture.png") is None
    assert (shown, plt.get_fignums()) == ([], [1])
    # A notebook would show what is returned as well.
    assert draw() is None
    assert (shown, plt.get_fignums()) == ([[1, 2]], [1])
    show()
    assert shown[1:] == [[1]]


@pytest.mark.parametrize("interactive", [False, True])
def test_windows_stay_only_while_one_goes_on_typing(interactive, shown, monkeypatch):
    monkeypatch.setattr(plt, "isinteractive", lambda: interactive)
    FIGURES["losses"]()
    with closing_figures():
        plt.figure()
    assert len(plt.get_fignums()) == 2 * interactive


def test_the_figures_of_a_block_are_closed_at_its_end_whatever_happened_and_no_others(tmp_path):
    mine = plt.figure()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), closing_figures():
            for draw in FIGURES.values():
                draw(tmp_path / "picture.png")
            raise KeyboardInterrupt
    assert plt.get_fignums() == [1]
    assert plt.gcf() is mine


def test_a_backend_that_is_not_there_gives_way(monkeypatch, tmp_path):
    monkeypatch.setitem(plt.rcParams, "backend", "module://missing_inline.backend_inline")
    monkeypatch.setattr(plt, "_backend_mod", None)  # as at the first figure of a process
    FIGURES["losses"](tmp_path / "picture.png")
    assert plt.get_backend() == "agg"
