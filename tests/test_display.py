"""display.py: what the figures show, how they are saved, and what needs no screen."""

import errno
import io
import subprocess
import sys
import warnings
from itertools import combinations, product

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT, environment
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.figure import Figure
from PIL import Image

import display
from display import display_compared, display_images, display_latent, display_losses
from display import display_manifold, prior_grid, save_unfolding, show

# The upper half of the quantiles (i + 0.5) / 20 of the standard normal distribution.
HALF = [0.062707, 0.189118, 0.318639, 0.453762, 0.597760]
HALF += [0.755415, 0.934589, 1.150349, 1.439531, 1.959964]
QUANTILES = {
    1: [0.0],
    2: [-0.674490, 0.674490],
    3: [-0.967422, 0.0, 0.967422],
    20: [-value for value in reversed(HALF)] + HALF,
}
Z_MEAN = np.random.default_rng(1).standard_normal((30, 2))
Z_LABELS = np.arange(30) * 7 % 10


@pytest.fixture(autouse=True)
def no_figures_stay_open():
    yield
    plt.close("all")


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def shown(monkeypatch):
    """A screen that is not there: the numbers of the open figures at each call of plt.show."""
    calls = []
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: calls.append(plt.get_fignums()))
    canvas = matplotlib.backends.backend_agg.FigureCanvasAgg
    monkeypatch.setattr(canvas, "required_interactive_framework", "tk", raising=False)
    return calls


@pytest.fixture
def earlier(tmp_path):
    """The path of a picture that is there already, alone in its folder."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"an earlier picture")
    return path


def random_images(n):
    return np.random.default_rng(n).random((n, 28, 28))


def decode_disc(z):
    """For each z, (n, 2), a disc there in a square from -3 to 3, x to the right and y upwards."""
    x, y = np.meshgrid(np.linspace(-3, 3, 28), np.linspace(3, -3, 28))
    distances = np.hypot(x - z[:, :1, None], y - z[:, 1:, None])
    return (distances < 1).astype(np.float32).reshape(-1, 784)


def display_untitled(path):
    return display_images(random_images(1), path=path)


FIGURES = {
    "images": lambda path: display_images(random_images(4), [1, 2, 3, 4], path, "Four"),
    "manifold": lambda path: display_manifold(decode_disc, path, 4),
    "latent": lambda path: display_latent(Z_MEAN, Z_LABELS, path),
    "losses": lambda path: display_losses([(3, 4), (2, 3)], path),
    "compared": lambda path: display_compared({"a": random_images(2)}, [1, 2], path),
}
every_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def texts(artists):
    return [artist.get_text() for artist in artists]


# Images.


@pytest.mark.parametrize(
    "n, rows, columns", [(1, 1, 1), (4, 1, 4), (10, 1, 10), (11, 3, 4), (100, 10, 10)]
)
def test_up_to_ten_images_make_one_row_and_more_a_grid_row_by_row(n, rows, columns):
    boxes = [axes.get_position() for axes in display_images(random_images(n)).axes]
    tops = sorted({round(-box.y1, 4) for box in boxes})
    lefts = sorted({round(box.x0, 4) for box in boxes})
    places = [(tops.index(round(-box.y1, 4)), lefts.index(round(box.x0, 4))) for box in boxes]
    assert places == list(product(range(rows), range(columns)))[:n]


@pytest.mark.parametrize("shape", [(4, 28, 28), (4, 784), (12, 784), (2, 25)])
def test_the_pixels_shown_are_those_given(shape):
    images = np.random.default_rng(1).random(shape)
    side = {784: 28, 28: 28, 25: 5}[shape[-1]]
    for axes, image in zip(display_images(images).axes, images):
        assert np.array_equal(axes.images[0].get_array(), image.reshape(side, side))
        assert axes.images[0].origin == "upper"


def test_images_have_the_default_colours_over_their_own_range_and_no_axes():
    figure = display_images(np.stack([np.linspace(0, 1, 784), np.linspace(-3, 7, 784)]))
    assert [axes.images[0].get_cmap().name for axes in figure.axes] == ["viridis"] * 2
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(0, 1), (-3, 7)]
    assert not any(axes.axison for axes in figure.axes)


@pytest.mark.parametrize("labels", [None, np.array([7, 2, 1, 0]), ["7", "2", "1", "0"]])
@pytest.mark.parametrize("title", [None, "Digits"])
def test_labels_are_over_the_images_in_their_order_and_a_title_over_all(labels, title):
    figure = display_images(random_images(4), labels, title=title)
    expected = [""] * 4 if labels is None else ["7", "2", "1", "0"]
    assert texts(axes.title for axes in figure.axes) == expected
    assert texts(figure.texts) == ([] if title is None else ["Digits"])


def test_what_is_written_in_a_picture_is_seen_at_its_top(tmp_path):
    def black_rows(title):
        display_images(random_images(6), path=tmp_path / "picture.png", title=title)
        # No colour of the default colormap is black.
        black = (plt.imread(str(tmp_path / "picture.png"))[:, :, :3] < 0.1).all(axis=2)
        return np.flatnonzero(black.any(axis=1))

    assert len(black_rows(None)) == 0
    rows = black_rows("Half a dozen")
    assert 5 < len(rows) < 30
    assert 0 < rows.min() < rows.max() < 40


def test_titles_and_labels_are_inside_the_picture_and_do_not_overlap():
    figure = display_images(random_images(12), ["8"] * 12, title="A dozen")
    figure.canvas.draw()
    parts = [*figure.texts, *[axes.title for axes in figure.axes], *figure.axes]
    boxes = [part.get_window_extent() for part in parts]
    assert all(0 <= box.x0 < box.x1 <= figure.bbox.width for box in boxes)
    assert all(0 <= box.y0 < box.y1 <= figure.bbox.height for box in boxes)
    # Half a pixel may be lost in rounding.
    assert not any(box.padded(-0.5).overlaps(other) for box, other in combinations(boxes, 2))


@pytest.mark.parametrize("labels, title", [(None, "Digits"), ([3, 1, 4, 1], None)])
def test_images_are_large_and_no_smaller_for_a_title_or_labels(labels, title):
    widths = []
    for figure in (
        display_images(random_images(4)),
        display_images(random_images(4), labels, title=title),
    ):
        figure.canvas.draw()
        widths.append(figure.axes[0].get_window_extent().width)
        assert 4 * widths[-1] > 0.75 * figure.bbox.width
    assert widths[1] >= widths[0]


# How any figure is saved.


@every_figure
def test_a_figure_is_returned_and_drawn_without_warnings(draw, tmp_path, no_warnings):
    for path in (None, tmp_path / "picture.png"):
        figure = draw(path)
        assert isinstance(figure, Figure)
        assert figure.number in plt.get_fignums()


@every_figure
def test_a_picture_is_saved_whole_and_alone_and_always_the_same(draw, tmp_path):
    path = tmp_path / "picture.png"
    figure = draw(str(path))
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    pixels = plt.imread(str(path))
    assert pixels.shape[:2] == tuple(figure.canvas.get_width_height()[::-1])
    assert len(np.unique(pixels[:, :, 0])) > 20
    draw(str(path))
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_two_programs_may_save_the_same_picture_at_once(tmp_path, monkeypatch):
    code = "import display; display.display_images([[0.0, 1.0, 2.0, 3.0]], path='picture.png')"
    savefig = Figure.savefig

    def interrupted(figure, *args, **kwargs):
        savefig(figure, *args, **kwargs)
        env = environment(PYTHONPATH=str(ROOT))
        subprocess.run([sys.executable, "-c", code], cwd=str(tmp_path), env=env, check=True)

    undisturbed = io.BytesIO()
    images = np.eye(28)[None]
    display_images(images).savefig(undisturbed, format="png")
    monkeypatch.setattr(Figure, "savefig", interrupted)
    display_images(images, path=str(tmp_path / "picture.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    assert (tmp_path / "picture.png").read_bytes() == undisturbed.getvalue()


@pytest.mark.parametrize("name", ["picture.png", "picture", "picture.jpg"])
def test_a_picture_takes_the_place_of_the_one_before_and_is_png_whatever_its_name(name, tmp_path):
    (tmp_path / name).write_bytes(b"an earlier picture")
    display_losses([(3, 4)], tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), ValueError(), KeyboardInterrupt()]
)
def test_a_picture_that_fails_half_way_leaves_the_one_before(failure, earlier, monkeypatch):
    def savefig(self, target, **kwargs):
        with open(str(target), "wb") as file:
            file.write(b"\x89PNG half")
        raise failure

    monkeypatch.setattr(Figure, "savefig", savefig)
    with pytest.raises(type(failure)) as error:
        display_losses([(3, 4)], str(earlier))
    assert earlier.read_bytes() == b"an earlier picture"
    assert list(earlier.parent.iterdir()) == [earlier]
    if isinstance(failure, OSError):
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(earlier))


def test_a_file_that_cannot_grow_leaves_the_picture_before(earlier):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError) as error:
            display_losses([(3, 4)], str(earlier))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(earlier))
    assert earlier.read_bytes() == b"an earlier picture"
    assert list(earlier.parent.iterdir()) == [earlier]


@every_figure
def test_a_missing_folder_is_an_error_that_names_the_path(draw, tmp_path):
    path = str(tmp_path / "missing" / "picture.png")
    with pytest.raises(FileNotFoundError) as error:
        draw(path)
    assert error.value.filename == path
    assert path in str(error.value)


def test_a_folder_in_place_of_the_picture_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "picture.png"
    path.mkdir()
    with pytest.raises(OSError) as error:
        display_losses([(3, 4)], str(path))
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


# The latent space.


@pytest.mark.parametrize("k", [1, 2, 3, 20])
def test_decode_gets_all_pairs_of_the_priors_quantiles(k):
    seen = []

    def decode(z):
        seen.append(np.array(z))
        return decode_disc(z)

    display_manifold(decode, k=k)
    (z,) = seen
    assert z.shape == (k * k, 2)
    expected = [(z0, z1) for z1, z0 in product(QUANTILES[k], repeat=2)]
    assert abs(z[np.lexsort(z.T)] - expected).max() < 1e-5


@pytest.mark.parametrize("shape", [(784,), (28, 28)])
def test_each_image_of_the_manifold_is_where_its_z_is(shape):
    gradient = np.linspace(0, 0.5, 784)

    def decode(z):
        return (gradient + z[:, :1] + 10 * z[:, 1:]).reshape((len(z), *shape))

    (image,) = display_manifold(decode, k=3).axes[0].images
    # The axes go to the right and upwards, and so does z; the first row of an image is its upper.
    assert (image.origin, list(image.get_extent())) == ("upper", [0, 3, 0, 3])
    low, middle, high = QUANTILES[3]
    square = gradient.reshape(28, 28)
    rows = [[square + z0 + 10 * z1 for z0 in (low, middle, high)] for z1 in (high, middle, low)]
    assert image.get_array().shape == (84, 84)
    assert abs(image.get_array() - np.block(rows)).max() < 1e-4


def test_the_manifold_is_labelled_with_z_in_the_middle_of_its_images():
    axes = display_manifold(decode_disc).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[0]", "z[1]")
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 20), (0, 20))
    for axis in (axes.xaxis, axes.yaxis):
        places = axis.get_ticklocs()
        assert len(places) > 5
        assert set(places % 1) == {0.5}
        assert texts(axis.get_ticklabels()) == [f"{QUANTILES[20][int(i)]:.2f}" for i in places]


def test_the_latent_space_shows_each_point_under_its_label_in_the_labels_own_colour():
    axes = display_latent(Z_MEAN, Z_LABELS).axes[0]
    assert [points.get_label() for points in axes.collections] == [str(i) for i in range(10)]
    for label, points in enumerate(axes.collections):
        expected = Z_MEAN[np.equal(Z_LABELS, label)]
        assert np.array_equal(points.get_offsets(), expected)
    assert len({tuple(points.get_facecolor()[0]) for points in axes.collections}) == 10
    assert texts(axes.get_legend().get_texts()) == [str(i) for i in range(10)]
    assert axes.get_legend().get_title().get_text() == "label"


def test_a_label_has_the_same_colour_whatever_other_labels_there_are():
    sevens = Z_LABELS == 7
    (alone,) = display_latent(Z_MEAN[sevens], Z_LABELS[sevens]).axes[0].collections
    among = display_latent(Z_MEAN, Z_LABELS).axes[0].collections[7]
    assert np.array_equal(alone.get_facecolor(), among.get_facecolor())


@pytest.mark.parametrize("n_labels", [10, 62])
def test_the_latent_spaces_axes_and_legend_are_inside_the_picture(n_labels, tmp_path, no_warnings):
    z_mean = np.random.default_rng(2).normal(size=(512, 2))
    figure = display_latent(z_mean, np.arange(512) % n_labels, str(tmp_path / "latent.png"))
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z_mean[0]", "z_mean[1]")
    figure.canvas.draw()
    box = axes.get_legend().get_window_extent()
    assert axes.bbox.x1 <= box.x0 < box.x1 <= figure.bbox.width
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height


# How it unfolds.


def unfolding_frames(path):
    """The frames of an animation, as arrays of colours, and the milliseconds that each is shown."""
    with Image.open(str(path)) as gif:
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
        return frames, gif.info["duration"]


def test_an_animation_has_a_frame_for_each_pair_of_title_and_images(tmp_path):
    black, white = np.zeros((4, 784)), np.ones((4, 784))
    frames = [("before", black), ("after", white), ("later", black)]
    save_unfolding(frames, str(tmp_path / "manifold.gif"), side=112)
    assert [path.name for path in tmp_path.iterdir()] == ["manifold.gif"]
    found, duration = unfolding_frames(tmp_path / "manifold.gif")
    middles = [frame[90, 56].tolist() for frame in found]
    # The ends of the default colours: dark blue and yellow.
    ends = [[68, 1, 84], [253, 231, 37], [68, 1, 84]]
    assert abs(np.subtract(middles, ends)).max() < 12
    assert duration == 500
    assert plt.get_fignums() == []


def test_an_animation_shows_each_image_where_its_z_is(tmp_path):
    z, ticks = prior_grid(2)
    assert np.allclose(ticks, QUANTILES[2], atol=1e-5)
    assert np.allclose(z, [(z0, z1) for z1 in QUANTILES[2] for z0 in QUANTILES[2]], atol=1e-5)
    images = np.repeat((z[:, :1] > 0) & (z[:, 1:] > 0), 784, axis=1).astype(float)
    save_unfolding([("", images)], str(tmp_path / "manifold.gif"), side=112)
    ((frame,), _) = unfolding_frames(tmp_path / "manifold.gif")
    bright = frame[-112:, :112, 0] > 160
    assert bright[10:50, 66:106].all()
    assert not bright[66:106].any() and not bright[:, 10:50].any()


def test_an_animation_of_twenty_epochs_is_smaller_than_a_megabyte(tmp_path):
    rings = [decode_disc(prior_grid(15)[0] * scale) for scale in np.linspace(0, 2, 21)]
    frames = [(str(i), 0.7 * ring + 0.3 * rings[0]) for i, ring in enumerate(rings)]
    save_unfolding(frames, str(tmp_path / "manifold.gif"))
    assert (tmp_path / "manifold.gif").stat().st_size <= 10**6


def test_an_animation_that_fails_half_way_leaves_the_one_before(tmp_path):
    path = tmp_path / "manifold.gif"
    path.write_bytes(b"an earlier animation")

    def frames():
        yield "one", np.zeros((4, 784))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_unfolding(frames(), str(path))
    assert path.read_bytes() == b"an earlier animation"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError) as error:
        save_unfolding([("one", np.zeros((4, 784)))], str(tmp_path / "missing" / "manifold.gif"))
    assert error.value.filename == str(tmp_path / "missing" / "manifold.gif")


# The losses.

LOSSES = [(200.5, 180.25), (150, 149), (140.125, 141)]


@pytest.mark.parametrize("losses", [LOSSES, [list(pair) for pair in LOSSES]], ids=["", "from JSON"])
def test_the_curves_are_the_losses_by_epoch(losses):
    lines = display_losses(losses).axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[200.5, 150, 140.125], [180.25, 149, 141]]
    assert [list(line.get_xdata()) for line in lines] == [[0, 1, 2]] * 2


def test_the_curves_are_told_apart_in_a_legend_in_their_order():
    axes = display_losses(LOSSES).axes[0]
    names = texts(axes.get_legend().get_texts())
    assert [name.split(",")[0] for name in names] == ["training", "validation"]
    assert names == [line.get_label() for line in axes.get_lines()]
    assert len({line.get_color() for line in axes.get_lines()}) == 2


def test_the_losses_are_in_nats_per_image_over_whole_epochs():
    axes = display_losses(LOSSES).axes[0]
    assert axes.get_xlabel() == "epoch"
    assert "nats per image" in axes.get_ylabel()
    assert set(axes.get_xticks() % 1) == {0}


@pytest.mark.parametrize("n", [1, 31, 1000])
def test_any_number_of_epochs_can_be_seen(n, tmp_path, no_warnings):
    figure = display_losses([(2.0, 1.0)] * n)
    figure.axes[0].get_legend().remove()
    figure.savefig(str(tmp_path / "loss.png"))
    pixels = plt.imread(str(tmp_path / "loss.png"))[:, :, :3]
    for colour in ("#1f77b4", "#ff7f0e"):
        near = abs(pixels - matplotlib.colors.to_rgb(colour)).max(axis=2) < 0.02
        assert near.sum() > 5


# The screen.


def test_without_a_screen_show_does_nothing(monkeypatch, no_warnings):
    calls = []
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: calls.append(args))
    plt.figure()
    assert show() is None
    assert calls == []


@pytest.mark.parametrize("n, calls", [(0, []), (1, [[1]]), (2, [[1, 2]])])
def test_show_shows_all_open_figures_at_once_if_there_are_any(shown, n, calls):
    for _ in range(n):
        plt.figure()
    show()
    assert shown == calls


@every_figure
def test_a_figure_is_shown_at_once_if_it_has_no_path_and_later_if_it_has(draw, shown, tmp_path):
    draw(tmp_path / "picture.png")
    assert shown == []
    draw(None)
    assert shown == [[1, 2]]


@pytest.mark.parametrize(
    "draw, file, expected",
    [
        (FIGURES["images"], None, "Four"),
        (FIGURES["images"], "digits.png", "Four"),
        (FIGURES["manifold"], None, "Images decoded from z, at the quantiles of its prior"),
        (FIGURES["latent"], None, "Test images in the latent space"),
        (FIGURES["losses"], "curves.png", "Loss by epoch"),
        (display_untitled, "digits.png", "digits"),
        (display_untitled, "test.digits.png", "test.digits"),
        (display_untitled, "digits", "digits"),
        (display_untitled, None, "Figure 1"),  # matplotlib's own
    ],
)
def test_a_windows_title_is_the_figures_or_else_the_name_of_the_file(
    draw, file, expected, tmp_path, monkeypatch
):
    def note(manager, title):
        titles.append(title)

    titles = []
    monkeypatch.setattr(FigureManagerBase, "set_window_title", note)
    draw(file and tmp_path / file)
    assert titles[-1] == expected


def test_a_backend_without_its_screen_gives_way(monkeypatch):
    new_figure = plt.figure

    def figure(**how):
        if switched:
            return new_figure(**how)
        raise ImportError("headless")

    switched = []
    monkeypatch.setattr(plt, "figure", figure)
    monkeypatch.setattr(plt, "switch_backend", switched.append)
    assert isinstance(display._new_figure(3, 2), Figure)
    assert switched == ["agg"]


SHOW_FOUR = """
import warnings
import numpy as np
from display import display_images
warnings.simplefilter("error")
display_images(np.zeros((4, 784)), [1, 2, 3, 4])
print("on it goes")
"""


@pytest.mark.parametrize("backend", [None, "TkAgg"])
def test_images_and_labels_alone_need_no_screen_do_not_wait_and_do_not_warn(backend):
    result = subprocess.run(
        [sys.executable, "-c", SHOW_FOUR],
        cwd=ROOT,
        env=environment(MPLBACKEND=backend),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout.split()) == (0, [b"on", b"it", b"goes"])
    assert result.stderr == b""
