"""How the program is laid out, read from its source: what imports what, and what only defines."""

import ast
import sys
import sysconfig
from importlib.util import find_spec

import pytest
from conftest import ROOT

# What each module may import besides the standard library. The arrows run one way, from
# vae_mnist.py to extras to data.py and display.py, and nothing imports vae_mnist.py.
MAY_IMPORT = {
    "data.py": {"numpy"},
    "display.py": {"numpy", "matplotlib"},
    "extras/*": {"numpy", "tensorflow", "data", "display", "extras"},
    "vae_mnist.py": {"numpy", "tensorflow", "data", "display", "extras"},
}
PATHS = [*ROOT.glob("*.py"), *ROOT.glob("extras/**/*.py")]
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PATHS)


def parse(module):
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imported(tree):
    """The packages that are imported anywhere, also inside a function."""
    nodes = list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def in_standard_library(package):
    """Whether Python itself has package. (sys.stdlib_module_names needs Python 3.10.)"""
    if package in sys.builtin_module_names:
        return True
    folders = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    origin = find_spec(package).origin or ""
    return origin == "frozen" or (origin.startswith(folders) and "site-packages" not in origin)


def only_defines(statement):
    """Whether a statement imports, defines or names something; to name it, os.path may be asked."""
    if isinstance(statement, ast.Assign):
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        asked = [getattr(getattr(call.func, "value", None), "attr", None) for call in calls]
        names = [isinstance(target, ast.Name) for target in statement.targets]
        return all(names) and all(module == "path" for module in asked)
    return isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_nothing_but_the_standard_library_and_what_it_may(module):
    row = module if module in MAY_IMPORT else module.split("/")[0] + "/*"
    others = imported(parse(module)) - MAY_IMPORT[row]
    assert [name for name in others if not in_standard_library(name)] == []


@pytest.mark.parametrize("module", [name for name in MODULES if name != "vae_mnist.py"])
def test_importing_a_module_does_nothing_but_define(module):
    tree = parse(module)
    statements = tree.body[1:] if ast.get_docstring(tree) else tree.body
    assert [statement.lineno for statement in statements if not only_defines(statement)] == []
