"""Imports run one way (docs/architecture.md), so that each room can be read without those above it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "a2r"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")  # a2r itself shows all rooms
ROOMS = ("errors", "engines", "road", "training", "results", "studies", "lab", "cli")
ALLOWED = {room: set(ROOMS[:i]) for i, room in enumerate(ROOMS)} | {"results": {"errors", "engines", "road"}}
MODULES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in FILES}


def room(module: str) -> str:
    """The room of a module "a2r.<...>": its folder, or at the top level "errors", "cli" and, of all others, "road"."""
    first = module.split(".")[1]
    return first if first in ROOMS else "road"


def imported(source: str) -> set[str]:
    """The modules of a2r that a module imports, wherever in it: "a2r" itself where it takes a name from there."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    return {name for name in found if name.split(".")[0] == "a2r"}


def backward(module: str, source: str) -> list[str]:
    """The imports of a module that run back, each as "a2r.x imports a2r.y"."""
    own, wrong = room(module), []
    for name in sorted(imported(source)):
        if name == "a2r" or not (room(name) in ALLOWED[own] or room(name) == own != "studies"):
            wrong.append(f"{module} imports {name}")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    assert not backward(module, path.read_text())


@pytest.mark.parametrize(
    ("module", "source", "named"),
    [
        ("a2r.results.tables", "def f():\n    from a2r.studies import grid", "a2r.studies.grid"),
        ("a2r.store", "from a2r.results.stats import interval", "a2r.results.stats"),
        ("a2r.engines.local", "import a2r.pipeline", "a2r.pipeline"),
        ("a2r.training.rl", "from a2r.results import tables", "a2r.results.tables"),
        ("a2r.studies.cost", "from a2r.studies.grid import cells", "a2r.studies.grid"),
        ("a2r.lab.runner", "from a2r import cli", "a2r.cli"),
        ("a2r.methods", "from a2r import UserError", "a2r"),
    ],
)
def test_an_import_that_runs_back_is_named(module, source, named):
    assert backward(module, source) == [f"{module} imports {named}"]
