"""The program and the display helpers in a notebook, with a real kernel."""

import sys

import pytest

from program import ROOT, small_net

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytestmark = pytest.mark.slow


@pytest.fixture
def run_cells(tmp_path):
    """A function that runs cells one after the other in a new kernel, and returns their outputs."""

    def run_cells(*cells):
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
        )
        client = nbclient.NotebookClient(
            notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(ROOT)}}
        )
        client.execute()
        return [cell.outputs for cell in notebook.cells]

    return run_cells


def texts(outputs, name):
    """What a cell sent to the stream of that name."""
    found = [o.text for o in outputs if o.output_type == "stream" and o.name == name]
    return "".join(found)


def n_pictures(outputs):
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_a_notebook_runs_the_program_again_and_again_and_goes_on_after_a_failure(
    run_cells, small_data, tmp_path
):
    words = small_net(small_data, "--figures-dir", tmp_path / "figures", "--n-epochs", 1)
    run = "%run vae_mnist.py " + " ".join(map(str, words))
    (tmp_path / "file").touch()
    words = small_net(small_data, "--figures-dir", tmp_path / "shell", "--n-epochs", 1)
    shell_run = f"!{sys.executable} vae_mnist.py " + " ".join(map(str, words))
    first, second, own, failing, after, shell = run_cells(
        run,
        run,
        "import matplotlib.pyplot as plt; plt.plot([1, 2]);",
        f"{run} --log-dir {tmp_path}/file",
        "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)",
        shell_run,
    )
    for outputs in (first, second):
        assert "test loss = " in texts(outputs, "stdout")
        assert n_pictures(outputs) == 11
    assert n_pictures(own) == 1  # a notebook's plots still appear after a run
    assert f"vae_mnist.py: error: {tmp_path}/file" in texts(failing, "stderr")
    assert texts(after, "stdout") == "True\n"
    # It inherits a backend that works only in a notebook.
    assert f"pictures in {tmp_path}" in texts(shell, "stdout")
    assert "Figure(" not in texts(shell, "stdout")


def test_a_cell_shows_a_picture_for_each_call_of_display_images(run_cells):
    one, two = run_cells(
        "import numpy as np\nfrom display import display_images\n"
        "images, labels = np.random.rand(4, 784), [7, 2, 1, 0]\ndisplay_images(images, labels)",
        "display_images(images, labels)\ndisplay_images(images, labels)",
    )
    assert (n_pictures(one), n_pictures(two)) == (1, 2)
