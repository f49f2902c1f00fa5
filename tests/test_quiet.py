"""The seconds before the program begins, while the large packages are imported.

Cheap packages that fail as the large ones may stand in for them, ahead of them on the path.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys

import pytest

from conftest import ROOT, SCRIPT, command, environment, run_script

# Of TensorFlow, all that the program needs for --help.
TENSORFLOW = {
    "tensorflow/__init__.py": "",
    "tensorflow/compat/__init__.py": "",
    "tensorflow/compat/v1.py": "import math as nn\nSession = object",
}
MATPLOTLIB = {
    "matplotlib/__init__.py": "",
    "matplotlib/pyplot.py": "",
    "matplotlib/animation.py": "PillowWriter = None",
}


@pytest.fixture
def packages(tmp_path):
    """A function that writes the files of packages, and gives the folder that they are in."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / "packages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path / "packages")

    return write


# Settings


@pytest.fixture
def signals(monkeypatch):
    """Ctrl-C as Python handles it, and put back at the end, as are the settings that are made."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "")
    yield
    signal.signal(signal.SIGINT, before)


def imported_by(program, monkeypatch):
    """The module, imported anew by a program of that name."""
    monkeypatch.setattr(sys, "argv", [program])
    spec = importlib.util.spec_from_file_location("quiet", str(ROOT / "harness" / "quiet.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def handlers():
    return signal.getsignal(signal.SIGINT), sys.excepthook


@pytest.mark.parametrize("level, kept", [("0", "0"), ("1", "1"), (None, "3")])
def test_a_log_level_for_tensorflow_is_kept(level, kept, signals, monkeypatch):
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    imported_by("notebook", monkeypatch)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == kept


@pytest.mark.parametrize("program", ["", "pytest", "/home/me/my_vae_mnist.py"])
def test_another_program_keeps_its_ctrl_c_and_its_exceptions(program, signals, monkeypatch):
    before = handlers()
    quiet = imported_by(program, monkeypatch)
    assert handlers() == before
    quiet.end()
    assert handlers() == before


def test_the_program_itself_has_both_back_at_the_end(signals, monkeypatch):
    before = handlers()
    quiet = imported_by("/home/me/vae_mnist.py", monkeypatch)
    assert not set(before) & set(handlers())
    quiet.end()
    assert handlers() == before


def test_a_ctrl_c_that_a_shell_ignores_in_the_background_is_ignored(signals, monkeypatch):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet = imported_by("vae_mnist.py", monkeypatch)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    quiet.end()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


# The program


def help_of(folder, cwd=None, **changes):
    """What --help gives with the packages in folder, where they are not shadowed."""
    return run_script("--help", cwd=cwd, PYTHONPATH=folder, **changes)


def assert_it_fails_in_one_line(result, pattern):
    assert re.fullmatch(f"vae_mnist.py: error: {pattern}\n", result.stderr)
    assert (result.returncode, result.stdout) == (1, "")


@pytest.mark.parametrize(
    "package, reason",
    [
        ("numpy", "No module named 'numpy'"),
        ("tensorflow", "\n  Failed to load the native TensorFlow runtime.\n\n  See the docs."),
        ("matplotlib", "libfreetype.so: cannot open"),
    ],
)
def test_a_package_that_is_missing_or_damaged_ends_it_in_one_line(package, reason, packages):
    folder = packages({**TENSORFLOW, f"{package}/__init__.py": f"raise ImportError({reason!r})"})
    words = re.escape(" ".join(reason.split()))
    assert_it_fails_in_one_line(help_of(folder), f"{words}: pip install -r requirements.txt .*")


def test_a_backend_that_matplotlib_has_not_ends_it_in_one_line(packages):
    result = help_of(packages(TENSORFLOW), MPLBACKEND="nonsense")
    assert_it_fails_in_one_line(result, "MPLBACKEND=nonsense: .*")


def test_another_failure_of_a_package_keeps_its_traceback(packages):
    folder = packages({**TENSORFLOW, "tensorflow/__init__.py": "1 / 0"})
    result = help_of(folder, MPLBACKEND="agg")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert "ZeroDivisionError" in result.stderr


def test_a_home_that_cannot_be_written_is_not_mentioned(packages):
    nowhere = {"HOME": os.devnull, "MPLCONFIGDIR": None, "XDG_CONFIG_HOME": None}
    result = help_of(packages(TENSORFLOW), XDG_CACHE_HOME=None, **nowhere)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python does not know PYTHONSAFEPATH")
def test_its_modules_are_found_where_python_looks_in_no_folder_of_its_own(packages, tmp_path):
    folder = packages({**TENSORFLOW, **MATPLOTLIB})
    result = help_of(folder, cwd=str(tmp_path), PYTHONSAFEPATH="1")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: {SCRIPT.name}")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_ctrl_c_while_a_package_is_imported_ends_it_in_one_line(packages):
    # As large packages do, this one takes every exception for its own.
    importing = """if True:
        import time
        print("importing", flush=True)
        try:
            time.sleep(60)
        except BaseException:
            raise ImportError("half a package")
    """
    folder = packages({**TENSORFLOW, "tensorflow/__init__.py": importing})
    process = subprocess.Popen(
        command("--help"),
        env=environment(PYTHONPATH=folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Even if these tests run in the background of a shell, which ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch("vae_mnist.py: interrupted: .*\n", stderr)
