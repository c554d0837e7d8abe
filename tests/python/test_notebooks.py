"""The notebooks of examples/ as files: stored outputs, figures in the prose, the two languages.

`make check-notebooks` runs them (tests/notebooks.py).
"""

import ast
import json
from pathlib import Path

import notebooks
import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "Makefile").exists())

EVERY = pytest.mark.parametrize("path", notebooks.EXAMPLES, ids=lambda path: path.stem)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


def cells(path, kind):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == kind]


@EVERY
def test_outputs_are_stored_and_of_this_code(path):
    notebook = read(path)
    assert notebook["metadata"].get(notebooks.MADE_BY) == notebooks.digest(notebook)
    assert path.stat().st_size < notebooks.MOST_BYTES
    outputs = [output for cell in cells(path, "code") for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert [cell["execution_count"] for cell in cells(path, "code")] == [
        *range(1, len(cells(path, "code")) + 1)
    ]


@EVERY
def test_figures_in_the_prose_are_held_against_the_cells(path):
    for cell in cells(path, "markdown"):
        text = source(cell)
        figures = notebooks.figures_of(cell)
        for number, expression, within in figures:
            assert number in text, f"{number} is not in: {text[:60]}"
            ast.parse(expression, mode="eval")
            assert 0 <= within <= max(0.5 * abs(float(number)), 0.01)
        loose = set(notebooks.decimals(text)) - {number for number, _, _ in figures}
        assert loose == set(), f"no expression says where {loose} comes from: {text[:60]}"


@EVERY
def test_teaching_cells_hold_no_marks_for_tools(path):
    for cell in cells(path, "code"):
        for mark in ("noqa", "fmt: ", "type: ignore", "assert "):
            assert mark not in source(cell)


def test_the_lab_has_the_same_cells_in_both_languages():
    english, spanish = (ROOT / "examples" / f"{name}.ipynb" for name in ("lab", "laboratorio"))
    kinds = [[cell["cell_type"] for cell in read(path)["cells"]] for path in (english, spanish)]
    assert kinds[0] == kinds[1]
    assert [*map(source, cells(english, "code"))] == [*map(source, cells(spanish, "code"))]
    for one, other in zip(cells(english, "markdown"), cells(spanish, "markdown"), strict=True):
        assert source(one) != source(other)
        assert notebooks.figures_of(one) == notebooks.figures_of(other)


def test_numbers_in_code_formulas_and_links_are_no_figures():
    text = "It is 0.25, not `0.5`, $0.125$ or [1](0.75). From 2 to 12.5 %, v1.2, 3.4.5."
    assert notebooks.decimals(text) == ["0.25", "12.5"]
