"""display.py: what the figures show, how they are saved, and what needs no screen."""

import errno
import io
import subprocess
import sys
import warnings

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT, environment
from matplotlib.figure import Figure

import display
from display import display_images, display_latent, display_losses, display_manifold
from display import display_progress, show

# The upper half of the quantiles (i + 0.5) / 20 of the standard normal distribution.
HALF = [0.062707, 0.189118, 0.318639, 0.453762, 0.597760]
HALF += [0.755415, 0.934589, 1.150349, 1.439531, 1.959964]
QUANTILES = {
    1: [0.0],
    2: [-0.674490, 0.674490],
    3: [-0.967422, 0.0, 0.967422],
    20: [-value for value in reversed(HALF)] + HALF,
}


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


def random_images(n):
    return np.random.default_rng(n).random((n, 28, 28))


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def headings(figure):
    return [text.get_text() for text in figure.texts]


def places(figure):
    """Where the axes are, in their order: (row, column), counted from the upper left."""
    corners = [axes.get_position() for axes in figure.axes]
    tops = sorted({round(-corner.y1, 4) for corner in corners})
    lefts = sorted({round(corner.x0, 4) for corner in corners})
    return [(tops.index(round(-c.y1, 4)), lefts.index(round(c.x0, 4))) for c in corners]


def black_pixels(path):
    """Where a picture is black, which no colour of the default colormap is."""
    return (plt.imread(str(path))[:, :, :3] < 0.1).all(axis=2)


# Images.


def test_four_images_make_one_row():
    assert places(display_images(random_images(4))) == [(0, 0), (0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("n, rows, columns", [(1, 1, 1), (10, 1, 10), (100, 10, 10)])
def test_images_fill_a_grid_row_by_row(n, rows, columns):
    expected = [(row, column) for row in range(rows) for column in range(columns)]
    assert places(display_images(random_images(n))) == expected


def test_the_last_row_of_a_grid_may_be_short():
    assert places(display_images(random_images(11))) == [
        *[(0, 0), (0, 1), (0, 2), (0, 3)],
        *[(1, 0), (1, 1), (1, 2), (1, 3)],
        *[(2, 0), (2, 1), (2, 2)],
    ]


@pytest.mark.parametrize("n, shape", [(4, (28, 28)), (4, (784,)), (12, (784,))])
def test_the_pixels_shown_are_those_given(n, shape):
    images = random_images(n)
    figure = display_images(images.reshape((n, *shape)))
    for axes, image in zip(figure.axes, images):
        assert np.array_equal(axes.images[0].get_array(), image)
        assert axes.images[0].origin == "upper"


def test_images_may_have_another_size():
    figure = display_images(np.arange(50.0).reshape(2, 25))
    assert np.array_equal(figure.axes[1].images[0].get_array(), np.arange(25, 50).reshape(5, 5))


def test_images_have_the_default_colours_over_their_own_range_and_no_axes():
    images = np.stack([np.linspace(0, 1, 784), np.linspace(-3, 7, 784)])
    figure = display_images(images)
    assert [axes.images[0].get_cmap().name for axes in figure.axes] == ["viridis"] * 2
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(0, 1), (-3, 7)]
    assert not any(axes.axison for axes in figure.axes)


@pytest.mark.parametrize("labels", [np.array([7, 2, 1, 0]), ["7", "2", "1", "0"]])
def test_labels_are_the_titles_in_their_order(labels):
    assert titles(display_images(random_images(4), labels)) == ["7", "2", "1", "0"]


def test_without_labels_there_are_no_titles_and_without_a_title_no_heading():
    figure = display_images(random_images(4))
    assert titles(figure) == [""] * 4
    assert headings(figure) == []


def test_a_title_is_the_one_heading():
    assert headings(display_images(random_images(4), title="Digits")) == ["Digits"]


def test_what_is_written_in_a_picture_is_seen_at_its_top(tmp_path):
    images = random_images(6)
    display_images(images, path=tmp_path / "bare.png")
    assert not black_pixels(tmp_path / "bare.png").any()
    display_images(images, path=tmp_path / "titled.png", title="Half a dozen")
    rows = np.flatnonzero(black_pixels(tmp_path / "titled.png").any(axis=1))
    assert 5 < len(rows) < 30
    assert 0 < rows.min() < rows.max() < 40


def test_titles_and_labels_are_inside_the_picture_and_do_not_overlap():
    figure = display_images(random_images(12), ["8"] * 12, title="A dozen")
    figure.canvas.draw()
    texts = [*figure.texts, *[axes.title for axes in figure.axes]]
    boxes = [text.get_window_extent() for text in texts]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= figure.bbox.width for box in boxes)
    assert all(0 <= box.y0 < box.y1 <= figure.bbox.height for box in boxes)
    low, high = (
        np.array([[getattr(b, k) for k in ks] for b in boxes])
        for ks in (("x0", "y0"), ("x1", "y1"))
    )
    overlap = (low[:, None] < high - 0.5).all(axis=2) & (low < high[:, None] - 0.5).all(axis=2)
    assert np.array_equal(overlap, np.eye(len(boxes), dtype=bool))


@pytest.mark.parametrize("labels, title", [(None, "Digits"), ([3, 1, 4, 1], None)])
def test_images_are_large_and_no_smaller_for_a_title_or_labels(labels, title):
    bare = display_images(random_images(4))
    written = display_images(random_images(4), labels, title=title)
    sizes = []
    for figure in (bare, written):
        figure.canvas.draw()
        sizes.append(figure.axes[0].get_window_extent().width)
        assert 4 * sizes[-1] > 0.75 * figure.bbox.width
    assert sizes[1] >= sizes[0]


# What all figures have in common.

Z_MEAN = np.random.default_rng(1).standard_normal((30, 2))
Z_LABELS = np.arange(30) * 7 % 10


def decode_disc(z):
    """For each z, (n, 2), a disc there in a square from -3 to 3, x to the right and y upwards."""
    x, y = np.meshgrid(np.linspace(-3, 3, 28), np.linspace(3, -3, 28))
    distances = np.hypot(x - z[:, :1, None], y - z[:, 1:, None])
    return (distances < 1).astype(np.float32).reshape(-1, 784)


FIGURES = {
    "images": lambda path: display_images(random_images(4), [1, 2, 3, 4], path, "Four"),
    "manifold": lambda path: display_manifold(decode_disc, path, 4),
    "latent": lambda path: display_latent(Z_MEAN, Z_LABELS, path),
    "losses": lambda path: display_losses([(3, 4), (2, 3)], path),
}
every_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


@every_figure
def test_a_figure_is_returned_and_drawn_without_warnings(draw, tmp_path, no_warnings):
    for path in (None, tmp_path / "picture.png"):
        figure = draw(path)
        assert isinstance(figure, Figure)
        assert figure.number in plt.get_fignums()


@every_figure
def test_a_picture_is_saved_whole_and_alone(draw, tmp_path):
    figure = draw(str(tmp_path / "picture.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    content = (tmp_path / "picture.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    pixels = plt.imread(str(tmp_path / "picture.png"))
    assert pixels.shape[:2] == tuple(figure.canvas.get_width_height()[::-1])
    assert len(np.unique(pixels[:, :, 0])) > 20


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


@every_figure
def test_the_same_input_gives_the_same_bytes(draw, tmp_path):
    for name in ("one.png", "other.png"):
        draw(str(tmp_path / name))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_a_picture_takes_the_place_of_the_one_before(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"an earlier picture")
    display_losses([(3, 4)], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["picture", "picture.jpg"])
def test_a_picture_is_png_whatever_its_name(name, tmp_path):
    display_losses([(3, 4)], str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), ValueError(), KeyboardInterrupt()]
)
def test_a_picture_that_fails_half_way_leaves_the_one_before(failure, tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"an earlier picture")

    def savefig(self, target, **kwargs):
        with open(str(target), "wb") as file:
            file.write(b"\x89PNG half")
        raise failure

    monkeypatch.setattr(Figure, "savefig", savefig)
    with pytest.raises(type(failure)) as error:
        display_losses([(3, 4)], str(path))
    assert path.read_bytes() == b"an earlier picture"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(failure, OSError):
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))


def test_a_file_that_cannot_grow_leaves_the_picture_before(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "picture.png"
    path.write_bytes(b"an earlier picture")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError) as error:
            display_losses([(3, 4)], str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"an earlier picture"
    assert list(tmp_path.iterdir()) == [path]


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


def manifold_axes(decode=decode_disc, k=20):
    return display_manifold(decode, k=k).axes[0]


@pytest.mark.parametrize("k", [1, 2, 3, 20])
def test_decode_gets_all_pairs_of_the_priors_quantiles(k):
    seen = []

    def decode(z):
        seen.append(np.array(z))
        return decode_disc(z)

    manifold_axes(decode, k)
    (z,) = seen
    assert z.shape == (k * k, 2)
    found = z[np.lexsort(z.T)]
    expected = np.array([(z0, z1) for z1 in QUANTILES[k] for z0 in QUANTILES[k]])
    assert abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("shape", [(784,), (28, 28)])
def test_each_image_of_the_manifold_is_where_its_z_is(shape):
    def decode(z):
        images = np.tile(np.linspace(0, 0.5, 784), (len(z), 1))
        return (images + z[:, :1] + 10 * z[:, 1:]).reshape((len(z), *shape))

    (image,) = manifold_axes(decode, 3).images
    pixels = np.asarray(image.get_array())
    assert pixels.shape == (84, 84)
    assert image.origin == "upper"
    for row, z1 in enumerate([0.967422, 0.0, -0.967422]):
        for column, z0 in enumerate([-0.967422, 0.0, 0.967422]):
            found = pixels[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]
            expected = np.linspace(0, 0.5, 784).reshape(28, 28) + z0 + 10 * z1
            assert abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("i", [0, 1])
def test_in_the_picture_z0_grows_to_the_right_and_z1_upwards(i, tmp_path):
    display_manifold(lambda z: np.repeat(z[:, i : i + 1], 784, axis=1), tmp_path / "m.png", 4)
    green = plt.imread(str(tmp_path / "m.png"))[:, :, 1]  # grows along the default colormap
    middle = green[300:500, 300:500]
    low, high = (middle[:, 0], middle[:, -1]) if i == 0 else (middle[-1], middle[0])
    assert low.max() < high.min() - 0.2


def test_the_manifold_is_labelled_with_z_in_the_middle_of_its_images():
    axes = manifold_axes()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[0]", "z[1]")
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 20), (0, 20))
    for axis in (axes.xaxis, axes.yaxis):
        assert len(axis.get_ticklocs()) > 5
        texts = [text.get_text() for text in axis.get_ticklabels()]
        assert texts == [f"{QUANTILES[20][int(i)]:.2f}" for i in axis.get_ticklocs()]
        assert set(axis.get_ticklocs() % 1) == {0.5}


def test_each_point_of_the_latent_space_is_shown_under_its_label():
    axes = display_latent(Z_MEAN, Z_LABELS).axes[0]
    assert len(axes.collections) == 10
    for points in axes.collections:
        expected = Z_MEAN[np.equal(Z_LABELS, int(points.get_label()))]
        assert np.array_equal(points.get_offsets(), expected)


def test_the_latent_space_has_a_legend_of_each_label_once_in_colours_of_their_own():
    axes = display_latent(Z_MEAN, Z_LABELS).axes[0]
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [str(i) for i in range(10)]
    assert legend.get_title().get_text() == "label"
    colours = [tuple(points.get_facecolor()[0]) for points in axes.collections]
    assert len(set(colours)) == 10


def test_a_label_has_the_same_colour_whatever_other_labels_there_are():
    alone, among = (display_latent(Z_MEAN[rows], Z_LABELS[rows]) for rows in (Z_LABELS == 7, ...))
    colours = [
        figure.axes[0].collections[i].get_facecolor() for figure, i in [(alone, 0), (among, 7)]
    ]
    assert np.array_equal(*colours)


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


# The losses.

LOSSES = [(200.5, 180.25), (150, 149), (140.125, 141)]


def test_the_curves_are_the_losses_by_epoch():
    lines = display_losses(LOSSES).axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[200.5, 150, 140.125], [180.25, 149, 141]]
    assert [list(line.get_xdata()) for line in lines] == [[0, 1, 2]] * 2


def test_the_curves_are_told_apart_in_a_legend_in_their_order():
    axes = display_losses(LOSSES).axes[0]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [text.split(",")[0] for text in texts] == ["training", "validation"]
    assert texts == [line.get_label() for line in axes.get_lines()]
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


def test_losses_that_are_lists_as_in_json_are_drawn_too():
    lines = display_losses([[3, 4], [2, 3]]).axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[3, 2], [4, 3]]


# Progress.


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("n_steps", [0, 1, 25])
def test_progress_counts_and_is_silent_where_there_is_no_terminal(n_steps, capfd):
    assert list(display_progress(n_steps, "epoch 0003")) == list(range(n_steps))
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_on_a_terminal_on_one_line_of_stderr(capfd, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(display_progress(25, "epoch 0003")) == list(range(25))
    lines = terminal.getvalue().split("\r")
    assert lines == ["epoch 0003:  0/25", "epoch 0003: 10/25", "epoch 0003: 20/25", ""]
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_before_the_step_it_names(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    steps = display_progress(25, "epoch 0003")
    assert terminal.getvalue() == ""
    next(steps)
    assert terminal.getvalue() == "epoch 0003:  0/25\r"


# The screen.


def test_without_a_screen_show_does_nothing(monkeypatch, no_warnings):
    calls = []
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: calls.append(args))
    plt.figure()
    assert show() is None
    assert calls == []


def test_show_shows_all_open_figures_at_once(shown):
    plt.figure(1)
    plt.figure(2)
    show()
    assert shown == [[1, 2]]


def test_without_a_figure_show_does_nothing(shown):
    show()
    assert shown == []


@every_figure
def test_a_figure_is_shown_at_once_if_it_has_no_path_and_later_if_it_has(draw, shown, tmp_path):
    draw(tmp_path / "picture.png")
    assert shown == []
    draw(None)
    assert shown == [[1, 2]]


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
