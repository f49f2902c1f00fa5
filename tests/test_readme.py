"""The README in two languages: both show the same, and what both show is what the program has."""

import re
import shlex

import pytest

from conftest import ROOT
from extras.flags import parse_flags

ENGLISH, CHINESE = [
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")
]


def blocks(text):
    """The code between fences, indented or not, with the language that it is in."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.M | re.S)


def prose(text):
    """The text without its fenced code."""
    return re.sub(r"^ *```\w*\n.*?^ *```$", "", text, flags=re.M | re.S)


def commands(text):
    """The command lines in fenced code."""
    return [
        line for language, code in blocks(text) if language == "sh" for line in code.splitlines()
    ]


def tables(text):
    """Each table as rows of cells."""
    found = re.findall(r"(?:^\|.*\|\n)+", prose(text), re.M)
    rows = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()] for table in found]
    return [[[cell.strip() for cell in row] for row in table] for table in rows]


def flags(text):
    return re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose(text))


def numbers(cell):
    """The numbers in a cell that stand by themselves, and are no part of a name."""
    return re.findall(r"(?<![\w.`#-])\d+(?:,\d{3})*(?:\.\d+)*(?![\w`])", cell)


def program_flags(words):
    """What parse_flags() makes of the words of a command that runs the program."""
    return parse_flags(words, n_neurons_z=128)


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(blocks, id="code"),
        pytest.param(commands, id="commands"),
        pytest.param(lambda text: re.findall(r"!\[[^]]*\]\(([^)]*)\)", text), id="pictures"),
        pytest.param(lambda text: re.findall(r"\$\$.*?\$\$|\$[^$\n]+\$", prose(text)), id="maths"),
        pytest.param(lambda text: sorted(flags(text)), id="flags"),
        pytest.param(lambda text: [len(table) for table in tables(text)], id="rows of tables"),
        pytest.param(lambda text: text.count("<details>"), id="exercises"),
        pytest.param(lambda text: re.findall("^#+", prose(text), re.M), id="headings"),
        pytest.param(lambda text: sorted(re.findall(r"\]\((http[^)]*)\)", text)), id="links"),
    ],
)
def test_both_languages_have_the_same(part):
    assert part(ENGLISH) == part(CHINESE)
    assert part(ENGLISH)


def test_both_languages_have_the_same_numbers_and_names_in_the_same_cells():
    for table, other in zip(tables(ENGLISH), tables(CHINESE)):
        for row, other_row in zip(table, other):
            found = [numbers(cell) for cell in row]
            # The Chinese table of steps has one column more, which quotes the page.
            expected = [numbers(cell) for cell in other_row]
            if len(other_row) == len(row) + 1:
                del expected[1], other_row[1]
            assert found == expected
            names = [re.findall("`([^`]*)`", cell) for cell in (*row, *other_row)]
            assert names[: len(row)] == names[len(row) :]


def test_both_languages_tell_the_same_measured_numbers_in_their_text():
    measured = [
        sorted(re.findall(r"\d+\.\d+", re.sub(r"^\|.*$", "", prose(text), flags=re.M)))
        for text in (ENGLISH, CHINESE)
    ]
    assert measured[0] == measured[1]


def test_each_begins_with_a_link_to_the_other():
    assert "(README.zh-CN.md)" in ENGLISH.splitlines()[0]
    assert "(README.md)" in CHINESE.splitlines()[0]


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_the_pictures_and_files_that_are_linked_are_there(text):
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).is_file()] == []


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_the_links_within_a_page_lead_to_its_headings(text):
    headings = re.findall("^#+ (.*)$", prose(text), re.M)
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(anchors)


def test_every_flag_is_in_the_table_of_flags():
    (table,) = [
        table for table in tables(ENGLISH) if any("`--n-neurons-z`" in row for row in table)
    ]
    told = [row[0].strip("`") for row in table[2:]]
    names = ["--" + name.replace("_", "-") for name in vars(program_flags([]))]
    assert sorted(told) == sorted(names)


def test_every_command_and_recipe_has_flags_that_the_program_takes():
    runs = [
        shlex.split(line.split("vae_mnist.py", 1)[1])
        for line in commands(ENGLISH)
        if "vae_mnist.py" in line
    ]
    recipes = [
        shlex.split(words) for words in re.findall(r"^\| `(--[^`]+ [^`]+)` \|", ENGLISH, re.M)
    ]
    assert len(runs) > 5 and len(recipes) > 3
    for words in runs + recipes:
        program_flags(words)


def test_no_result_in_the_text_is_nan():
    for text in (ENGLISH, CHINESE):
        assert not re.search(r"\| *nan *\|", text)
        assert "nan" not in "".join(code for _, code in blocks(text))


def test_the_lines_of_code_that_are_explained_are_in_the_tutorial():
    script = [line.strip() for line in (ROOT / "vae_mnist.py").read_text().splitlines()]
    explained = [code.strip() for language, code in blocks(ENGLISH) if language == "python"]
    lines = [code for code in explained if "\n" not in code]
    assert len(lines) == 4
    assert [line for line in lines if line not in script] == []
