"""The pages in two languages: both show the same, and what they show is what the program has."""

import re
import shlex
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from program import ROOT, call
from extras.flags import parse_flags

NAMES = ["README", "docs/idea", "docs/listing", "docs/results"]
PAIRS = [(ROOT / f"{name}.md", ROOT / f"{name}.zh-CN.md") for name in NAMES]
ENGLISH = [english for english, _ in PAIRS]
both_languages = pytest.mark.parametrize("english, chinese", PAIRS, ids=NAMES)
every_page = pytest.mark.parametrize("path", sum(PAIRS, ()), ids=lambda path: path.name)


def parse(words):
    return parse_flags(words, activation=abs, n_neurons_z=128)


def read(*paths):
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def blocks(text):
    """The code between fences, indented or not, with the language that it is in."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.M | re.S)


def prose(text):
    """The text without its fenced code."""
    return re.sub(r"^ *```\w*\n.*?^ *```$", "", text, flags=re.M | re.S)


def tables(text):
    """Each table as rows of cells."""
    found = re.findall(r"(?:^\|.*\|\n)+", prose(text), re.M)
    rows = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()] for table in found]
    return [[[cell.strip() for cell in row] for row in table] for table in rows]


def flags(text):
    return sorted(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose(text)))


def links(text):
    """What is linked or shown, without the place within a page and the language."""
    return sorted(re.findall(r"\]\(([^)#]+)[^)]*\)", text.replace(".zh-CN.md", ".md")))


def anchors(text):
    """The places in a page that its headings make, as GitHub names them."""
    titles = re.findall("^#+ (.*)$", prose(text), re.M)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def numbers(cell):
    """The numbers in a cell that stand by themselves, and are no part of a name."""
    return re.findall(r"(?<![\w.`#-])\d+(?:,\d{3})*(?:\.\d+)*(?![\w`])", cell)


def decimals(text):
    """The numbers with decimals outside code and tables."""
    return sorted(re.findall(r"\d+\.\d+", re.sub(r"^\|.*$", "", prose(text), flags=re.M)))


PARTS = {
    "code": blocks,
    "pictures": lambda text: re.findall(r"!\[[^]]*\]\(([^)]*)\)", text),
    "maths": lambda text: re.findall(r"\$\$.*?\$\$|\$[^$\n]+\$", prose(text), re.S),
    "flags": flags,
    "rows of tables": lambda text: [len(table) for table in tables(text)],
    "exercises": lambda text: re.findall("</?details>", text),
    "headings": lambda text: re.findall("^#+(?= )", prose(text), re.M),
    "links": links,
    "decimals": decimals,
}


@pytest.mark.parametrize("part", list(PARTS.values()), ids=list(PARTS))
@both_languages
def test_both_languages_have_the_same(english, chinese, part):
    assert part(read(english)) == part(read(chinese))
    assert part(read(*ENGLISH))  # it is not the check that finds nothing


@both_languages
def test_both_languages_have_the_same_numbers_and_names_in_the_same_cells(english, chinese):
    for table, other in zip(tables(read(english)), tables(read(chinese))):
        for row, other_row in zip(table, other):
            if len(other_row) == len(row) + 1:
                del other_row[1]  # the Chinese table of steps quotes the section here
            assert [numbers(cell) for cell in row] == [numbers(cell) for cell in other_row]
            names = [
                [re.findall("`([^`]*)`", cell) for cell in cells] for cells in (row, other_row)
            ]
            assert names[0] == names[1]


@every_page
def test_the_files_and_places_that_are_linked_are_there(path):
    for target, place in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", read(path)):
        if "://" not in target:
            linked = path.parent / target if target else path
            assert linked.is_file(), target
            assert not place or place in anchors(read(linked)), f"{target}#{place}"


def test_the_table_of_flags_has_every_flag_and_the_pages_name_no_other():
    args = parse([])
    names = ["--" + name.replace("_", "-") for name in vars(args)]
    found = tables(read(ROOT / "docs/results.md"))
    (table,) = [table for table in found if table[0][0] == "flag"]
    assert sorted(row[0].strip("`") for row in table[2:]) == sorted(names)
    assert set(flags(read(*ENGLISH))) <= {*names, "--help", "--logdir"}


def test_every_command_and_recipe_has_flags_that_the_program_takes():
    text = read(*ENGLISH)
    code = "".join(code for language, code in blocks(text) if language == "sh")
    runs = re.findall(r"vae_mnist\.py(.*)", code)
    recipes = re.findall(r"^\| `(--[^`]+ [^`]+)` \|", text, re.M)
    assert len(runs) > 5 and len(recipes) > 3
    for words in runs + recipes:
        parse(shlex.split(words))


def test_the_lines_of_code_that_are_explained_are_in_the_program():
    program = [line.strip() for line in read(ROOT / "vae_mnist.py").splitlines()]
    code = [
        code.strip() for kind, code in blocks(read(ROOT / "docs" / "idea.md")) if kind == "python"
    ]
    lines = [text for text in code if "\n" not in text]
    assert len(lines) == 4
    assert [line for line in lines if line not in program] == []


# The programs on the pages


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder beside the program's files, with the checkpoints of a run of one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("vae_mnist.py", "data.py", "display.py", "extras", "MNIST_data"):
        (folder / name).symlink_to(ROOT / name)
    words = ["--n-epochs", "1", "--checkpoint-dir", folder / "checkpoints"]
    assert call(*words, "--figures-dir", folder / "figures") == 0
    return folder


def programs():
    """The programs for a trained model, as they stand on the pages."""
    code = [code for path in ENGLISH for kind, code in blocks(read(path)) if kind == "python"]
    return [text for text in code if text.startswith("from vae_mnist import VAE")]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(programs())))
def test_each_program_runs_as_it_stands_and_shows_what_it_says(number, trained):
    text = programs()[number]
    (trained / "program.py").write_text(text, encoding="utf-8")
    pipes = {"stdout": subprocess.PIPE, "universal_newlines": True}
    words = [sys.executable, "program.py"]
    done = subprocess.run(words, cwd=str(trained), timeout=600, check=True, **pipes)
    pictures = re.findall(r'path="(.*?\.png)"', text)
    for name in pictures:
        assert np.ptp(matplotlib.image.imread(str(trained / name))) > 0.5
    printed = [float(number) for number in re.findall(r"\d+\.\d+", done.stdout)]
    # After one epoch the loss is about 147, and above minus the logarithm of p(y).
    assert pictures or 120 < printed[1] < printed[0] < 160
