"""Imports within the package go down a written order and never in a circle.

Imports in functions and those for type checkers alone count, too. The extension module `_core` is
below everything. Names come from it as ``from bptt._core import Trainer``: ``from bptt import
_core`` counts as an import of the package's own __init__.
"""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import bptt

#: The parts of the package, from the bottom up: a module or a folder of them. A part imports from
#: the rows below its own; within its folder, whatever makes no circle.
ORDER = [
    {"_support"},
    {"layers", "_history"},
    {"losses", "optimizers", "schedules", "history"},
    {"callbacks", "plot"},
    {"_data"},
    {"_training"},
    {"model"},
    {"bptt"},  # the package's own __init__
    {"torch", "sklearn", "lab"},
    {"bench"},
    {"__main__"},
]


def part_of(module):
    return module.split(".")[1] if "." in module else module


def row_of(module):
    """The number of a module's row; None if its part is in no row."""
    rows = [n for n, parts in enumerate(ORDER) if part_of(module) in parts]
    return rows[0] if len(rows) == 1 else None


def ancestors(module):
    names = module.split(".")
    return {".".join(names[:n]) for n in range(1, len(names))}


def dependencies(graph, module):
    """What a module imports, and the packages whose __init__ runs before that."""
    imported = set(graph.find_modules_directly_imported_by(module))
    for name in list(imported):
        imported |= ancestors(name) - ancestors(module) - {module}
    return imported


def faults(graph):
    """All that is wrong with the imports, one line for each."""
    found = [
        f"{module} must be in one row of the order"
        for module in graph.modules
        if not is_placed(module)
    ]
    for module in filter(is_placed, graph.modules):
        for imported in filter(is_placed, graph.find_modules_directly_imported_by(module)):
            within = part_of(module) == part_of(imported)
            if not within and row_of(imported) >= row_of(module):
                found.append(f"{module} imports {imported}, which is not below it")
    try:
        TopologicalSorter({m: dependencies(graph, m) for m in graph.modules}).prepare()
    except CycleError as error:
        found.append(f"circle: {' <- '.join(error.args[1])}")
    return sorted(found)


def is_placed(module):
    return row_of(module) is not None


def test_imports_go_down_the_order():
    graph = grimp.build_graph("bptt", cache_dir=None)
    root = Path(bptt.__file__).parent
    files = {path.relative_to(root) for path in root.rglob("*.py")}
    assert len(graph.modules) == len(files), "a folder without __init__.py is not seen"
    assert faults(graph) == []


def graph_of(*imports):
    graph = grimp.ImportGraph()
    for importer, imported in imports:
        for module in (importer, imported):
            graph.add_module(f"bptt.{module}")
        graph.add_import(importer=f"bptt.{importer}", imported=f"bptt.{imported}")
    return graph


@pytest.mark.parametrize(
    ("imports", "fault"),
    [
        ([("layers.lstm", "model.sequential")], "layers.lstm imports bptt.model.sequential"),
        ([("losses", "history")], "losses imports bptt.history, which is not below it"),
        ([("news", "losses")], "news must be in one row"),
        ([("layers.a", "layers.b"), ("layers.b", "layers.a")], "circle"),
        ([("layers.a", "layers"), ("layers", "layers.a")], "circle"),
    ],
    ids=["up", "beside", "no row", "circle", "through the folder"],
)
def test_the_check_finds(imports, fault):
    found = faults(graph_of(*imports))
    assert len(found) == 1 and fault in found[0]


def test_the_check_lets_pass_what_goes_down():
    imports = [("layers.a", "layers.b"), ("layers", "layers.a"), ("model.c", "layers.a")]
    assert faults(graph_of(*imports)) == []
