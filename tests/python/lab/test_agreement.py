"""The lab's numbers are the same wherever they stand: make lab, docs/lab.md and the notebooks."""

import json
import math
import re
from pathlib import Path

import pytest

from bptt import lab
from bptt.lab import parts, report

ROOT = next(folder for folder in Path(__file__).parents if (folder / "Makefile").exists())

#: How far training on another CPU may end from the numbers in the documents, as a share. The
#: forecasts of part 4 are more sensitive than the rest.
WITHIN = 0.03
WITHIN_FORECASTS = 0.15


def rows_of_the_page():
    """Return the scores of docs/lab.md by part: train, validation, and the course's."""
    text = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    table = text.split("## What `make lab` trains")[1].split("\n\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {row[0]: [float(score) for score in row[1:5]] for row in rows[2:]}


def rows_of_the_notebook(name):
    """Return train and validation by part, from the stored output of the last summary."""
    notebook = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == "summary"]
    lines = "".join(cell["outputs"][0]["text"]).splitlines()
    found = (re.fullmatch(r"(.*?\S) +([\d.]+) +([\d.]+)", line) for line in lines)
    return {m[1]: [float(m[2]), float(m[3])] for m in found if m}


def assert_near(part, scores, others):
    within = WITHIN_FORECASTS if part.startswith("4") else WITHIN
    for score, other in zip(scores, others):
        assert math.isclose(score, other, rel_tol=within), (part, scores, others)


@pytest.mark.parametrize("name", ["lab", "laboratorio"])
def test_the_notebooks_have_the_numbers_of_the_page(name):
    page, notebook = rows_of_the_page(), rows_of_the_notebook(name)
    floor = notebook.pop("floor")
    sets = lab.sequence_sets()
    assert floor == [round(lab.loss_floor(part.y), 4) for part in (sets.train, sets.validation)]
    assert {*notebook} == {part for part in page if "batches" not in part}
    for part, scores in notebook.items():
        assert_near(part, scores, page[part])


def test_the_page_has_the_floors_of_the_code():
    text = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    sets = lab.sequence_sets()
    assert f"{lab.loss_floor(sets.train.y):.4f} on the training sequences" in text
    assert f"{lab.loss_floor(sets.validation.y):.4f} on the validation sequences" in text


def test_make_lab_has_the_numbers_of_the_page():
    page, trained = rows_of_the_page(), list(parts.run(progress=False))
    assert [part.name for part in trained] == [*page]
    table = report.table(trained)
    for part in trained:
        assert_near(part.name, page[part.name], [part.train, part.validation, *part.course])
        digits = 2 if part.name.startswith("4") else 4
        assert f" {part.train:.{digits}f} " in table  # as the command prints it
        assert part.met is not False
