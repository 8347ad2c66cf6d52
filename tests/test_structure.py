"""The shape of the package, read from its source and compared with the tables of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import defender_logging

PACKAGE = Path(defender_logging.__file__).parent
ARCHITECTURE = Path(__file__).parent.parent / "docs" / "architecture.md"

NOTHING = "\N{EN DASH}"

PROGRAMS_OF_THEIR_OWN = ("testing", "cli", "examples", "__main__")
"""Servers and commands: they use the package as anybody does."""

OWNERS = {
    "starts threads": (
        r"threading\.(Thread|Timer)|_thread\..*|concurrent\.futures.*|multiprocessing(\.process)?\.Process|subprocess.*"
    ),
    "opens outgoing sockets": (
        r"socket\.(?!gethostname).*|ssl.*|http\.client.*|urllib3.*|urllib\.request.*|asyncio.*|select.*"
    ),
    "touches process hooks": (
        r"atexit.*|os\.register_at_fork|signal\.(signal|set_.*)|sys\.\w*hook"
        r"|threading\.(\w*hook|_register_atexit)|multiprocessing\.util.*"
    ),
    "logs from inside the pipeline": (
        r"logging\.(getLogger|Logger|log|debug|info|warning|error|exception|critical)|warnings.*"
    ),
}
"""Of each job in the table of single owners: what gives it away, as dotted names."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, by its name below it; the package itself is ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name != "examples.service":  # Not a part of ours: it shows how users write theirs.
            found[name if name == "__init__" else name.removesuffix(".__init__")] = ast.parse(
                path.read_text("utf-8")
            )
    return found


def absolute_imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports, at its top, in functions, for types only, or by ``import_module``: dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def own_imports(name: str) -> set[str]:
    """The modules of the package that a module imports."""
    found = set()
    for target in absolute_imports(modules()[name]):
        top, _, below = target.partition(".")
        if top == "defender_logging":
            inner = below if below in modules() else below.rpartition(".")[0]
            found.add(inner or "__init__")
    return found - {name}


def dotted_uses(tree: ast.Module) -> set[str]:
    """Every outside name that a module uses, spelled from its top package, however it was imported."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {
                a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    uses = {name for name in absolute_imports(tree) if "." in name}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in known:
                uses.add(f"{known[first]}.{rest}")
    return uses


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading of the architecture page, without its first two lines."""
    section = re.split(rf"^## {heading}$", ARCHITECTURE.read_text("utf-8"), flags=re.MULTILINE)[1].split(
        "\n## "
    )[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    return rows[2:]


def code_words(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


@cache
def layers() -> dict[str, tuple[list[str], set[str]]]:
    """Layer to its module patterns and the layers that it may import from, bottom first."""
    return {
        name: (code_words(patterns), set() if allowed == NOTHING else set(allowed.split(", ")))
        for name, patterns, allowed in table("Who imports whom")
    }


def layers_of(module: str) -> list[str]:
    """The layers that name a module; those that name it exactly win over patterns."""
    exact = [layer for layer, (patterns, _) in layers().items() if module in patterns]
    return exact or [
        layer for layer, (patterns, _) in layers().items() if any(fnmatchcase(module, p) for p in patterns)
    ]


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_module_has_one_layer(module):
    """The table of layers names every module of the package exactly once."""
    assert 1 == len(layers_of(module)), f"{module} is in {layers_of(module)}"


def test_every_name_in_the_table_is_a_module():
    """The table of layers names nothing that is not there."""
    names = [pattern for patterns, _ in layers().values() for pattern in patterns]

    assert [] == [name for name in names if not any(fnmatchcase(module, name) for module in modules())]


def test_layers_import_downwards_only():
    """A layer imports from layers that stand above it in the table, which goes from the bottom up."""
    seen: set[str] = set()
    for layer, (_, allowed) in layers().items():
        assert allowed <= seen, layer
        seen.add(layer)


def test_imports_are_those_of_the_table():
    """Each layer imports from exactly the layers that the table allows it."""
    actual: dict[str, set[str]] = {layer: set() for layer in layers()}
    for module in modules():
        (layer,) = layers_of(module)
        actual[layer] |= {other for target in own_imports(module) for other in layers_of(target)} - {layer}

    assert {layer: allowed for layer, (_, allowed) in layers().items()} == actual


def test_no_module_imports_itself_by_a_detour():
    """The graph of imports has no cycle, those in functions and for types included."""
    # A package's own __init__ re-exports its modules, and every one of them loads it first: no detour of ours.
    graph = {
        name: {target for target in own_imports(name) if not name.startswith(f"{target}.")}
        for name in modules()
    }

    order = list(TopologicalSorter(graph).static_order())  # Raises CycleError, which names the cycle.

    assert set(modules()) == set(order)


@pytest.mark.parametrize(("job", "owner"), table("Who alone does it"))
def test_one_module_alone_does_it(job, owner):
    """Threads, outgoing sockets, process hooks and the pipeline's own logging are in one module or package each."""
    suspects = {
        name: tree
        for name, tree in modules().items()
        if not name.startswith(PROGRAMS_OF_THEIR_OWN)
        and (job != "logs from inside the pipeline" or name.startswith("_pipeline"))
    }

    owners = code_words(owner)
    doers = {
        next((each for each in owners if f"{name}.".startswith(f"{each}.")), name)
        for name, tree in suspects.items()
        if any(re.fullmatch(OWNERS[job], use) for use in dotted_uses(tree))
    }

    assert 1 == len(owners)
    assert set(owners) == doers


def test_every_owner_is_in_the_table():
    """The table of single owners has every job that is watched here."""
    assert list(OWNERS) == [job for job, _ in table("Who alone does it")]


def test_the_journey_names_files_that_exist():
    """Every file that the architecture page names is there."""
    text = ARCHITECTURE.read_text("utf-8")
    paths = {path.name for path in PACKAGE.rglob("*.py")}

    assert set() == {Path(name).name for name in re.findall(r"\*\*`([^`]+\.py)`\*\*", text)} - paths
