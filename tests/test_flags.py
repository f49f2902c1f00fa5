"""The command line: what is taken, what is refused in one line, and what --help says of it."""

import re
import sys
from functools import partial

import pytest
import tensorflow.compat.v1 as tf

from extras import flags
from extras.flags import shared_flags
from program import call

ACTIVATIONS = ["tanh", "relu", "sigmoid", "elu", "softplus", "swish"]

REFUSED = {
    "--learning-rate": ["many", "nan", "inf", "0", "-0.001", "1e31"],
    "--n-epochs": ["1.5", "0", "1000001"],
    "--batch-size": ["0", "1000001"],
    "--n-neurons": ["0", "10001"],
    "--n-neurons-z": ["0", "10001"],
    "--activation": ["gelu"],
    "--max-log-var": ["nan", "31", "-30.5"],
    "--seed": ["-1", "2147483648"],
    "--data-dir": ["", "gs://bucket/data"],
    "--figures-dir": ["", "gs://bucket/figures"],
    "--checkpoint-dir": ["", "file:///tmp/saved"],
    "--log-dir": ["", "ram://log"],
}

TAKEN = {
    "--learning-rate": {"1e-30": 1e-30, "1e30": 1e30},
    "--n-epochs": {"1": 1, "1000000": 1000000},
    "--batch-size": {"1": 1, "1000000": 1000000},
    "--n-neurons": {"1": [1], "10000": [10000], "3 2 2": [3, 2, 2]},
    "--n-neurons-z": {"1": 1, "10000": 10000},
    "--activation": {name: getattr(tf.nn, name) for name in ACTIVATIONS},
    "--max-log-var": {"-30": -30, "0": 0, "30": 30},
    "--seed": {"0": 0, "2147483647": 2147483647},
    # A name is the file system's matter: a no-break space, a joiner, a right-to-left mark.
    "--data-dir": {name: name for name in ("für/数字", "a\u00a0b", "x\u200dy", "\u200fz")},
}


def parse(words, **defaults):
    return flags.parse_flags(words, **{"activation": tf.nn.tanh, **defaults})


def cases(table):
    return [
        pytest.param(flag, v, id=f"{flag} {v or 'empty'}") for flag in table for v in table[flag]
    ]


@pytest.fixture
def refusal(monkeypatch, capsys):
    """A function that gives the line in which words of a command line are refused."""
    # As in a notebook.
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py"])

    def refusal(*words):
        with pytest.raises(SystemExit) as end:
            parse(words)
        assert end.value.code == 2
        stdout, stderr = capsys.readouterr()
        (line,) = stderr.splitlines()
        assert line.startswith("vae_mnist.py: error: ")
        assert stdout == ""
        return line

    return refusal


@pytest.mark.parametrize("flag, value", cases(REFUSED))
def test_a_value_without_sense_is_named_with_its_flag(flag, value, refusal):
    # As a word of its own: the 0 of a limit is not the 0 that was given.
    assert re.search(rf"{flag}: .*(?<![\w.]){re.escape(value)}(?!\w)", refusal(f"{flag}={value}"))


@pytest.mark.parametrize(
    "words, named",
    [
        (["--n-neurons"], "--n-neurons: "),
        (["--n-neurons", "16", "0"], "--n-neurons: .*not 0"),
        (["--n-epochs", "--denoise"], "--n-epochs: "),
        (["--n-layers", "3"], "--n-layers"),
        (["--denoise", "--mixed-noise"], "--mixed-noise: .*--denoise"),
        (["--n-ne", "3"], "--n-ne.*--n-neurons.*--n-neurons-z"),
        # Names that are not UTF-8, which TensorFlow cannot make.
        (["--checkpoint-dir", "a\udcff"], r"--checkpoint-dir: .*a\\udcff"),
        (["--log-dir", "a\udcff"], r"--log-dir: .*a\\udcff"),
    ],
)
def test_a_command_line_without_sense_is_refused(words, named, refusal):
    assert re.search(named, refusal(*words))


@pytest.mark.parametrize("flag, value", cases(TAKEN))
def test_a_value_at_a_limit_is_taken(flag, value):
    args = parse([flag, *value.split(" ")])
    assert getattr(args, flag[2:].replace("-", "_")) == TAKEN[flag][value]


def test_a_tilde_stands_for_the_home_folder(monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, "/home/me")
    words = "--data-dir ~/a --figures-dir ~/b --checkpoint-dir=~/c --log-dir ~/d"
    args = parse(words.split())
    folders = [args.data_dir, args.figures_dir, args.checkpoint_dir, args.log_dir]
    assert folders == ["/home/me/a", "/home/me/b", "/home/me/c", "/home/me/d"]


def test_a_default_of_the_programs_holds_where_the_flag_is_not_given():
    args = parse(["--batch-size", "7"], n_epochs=5, batch_size=6)
    assert (args.n_epochs, args.batch_size) == (5, 7)


def swish(x):
    """Another than TensorFlow's."""


@pytest.mark.parametrize(
    "activation, name", [(swish, "swish"), (partial(tf.nn.leaky_relu, alpha=0.1), "partial")]
)
def test_an_activation_of_ones_own_stays_as_it_is_and_is_on_record_by_a_name(activation, name):
    args = parse([], activation=activation)
    assert args.activation is activation
    assert shared_flags(args)["activation"] == name


def test_help_names_every_flag_with_its_default(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1000")
    assert call("--help") == 0
    described = re.findall(r"^  (--[a-z-]+)[^(]*\(default: (.*)\)$", capsys.readouterr().out, re.M)
    defaults = "learning-rate 0.001, n-epochs 20, batch-size 100, n-neurons [512; 256]"
    defaults += ", n-neurons-z 128, activation tanh, max-log-var None, cosine-decay False"
    defaults += ", denoise False, mixed-noise False, xla False, seed 123, data-dir MNIST_data"
    defaults += ", figures-dir figures, checkpoint-dir None, log-dir None"
    expected = dict(pair.replace(";", ",").split(" ", 1) for pair in defaults.split(", "))
    assert {name[2:]: default for name, default in described} == expected


def test_a_run_that_goes_on_shares_all_flags_that_decide_on_the_model_and_its_losses():
    words = "--learning-rate 0.1 --n-epochs 2 --batch-size 3 --n-neurons 4 5 --n-neurons-z 6"
    words += " --activation relu --denoise --seed 7 --xla"
    words += " --data-dir a --figures-dir b --checkpoint-dir c --log-dir d"
    numbers = {"learning_rate": 0.1, "n_epochs": 2, "batch_size": 3, "n_neurons": [4, 5]}
    network = {"n_neurons_z": 6, "activation": "relu", "max_log_var": None}
    task = {"cosine_decay": False, "denoise": True, "mixed_noise": False}
    assert shared_flags(parse(words.split())) == {**numbers, **network, **task}
