"""What tests/notebooks.py finds wrong with a notebook. Needs nbclient and ipykernel."""

import json

import notebooks
import pytest

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


def written(path, figures, code="value = 0.25\nprint(value)"):
    """Write a notebook of a code cell and a text cell with figures."""
    cells = [
        {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "source": code},
        {"cell_type": "markdown", "id": "b", "metadata": {"figures": figures}, "source": "It is."},
    ]
    cells[0]["execution_count"] = None
    path.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


@pytest.mark.parametrize(
    "figures, wrong",
    [
        ({"0.25": ["value", 0.0]}, 0),
        ({"0.26": ["value", 0.02]}, 0),
        ({"0.26": ["value", 0.001]}, 1),
        ({"0.26": ["float('nan')", 1.0]}, 1),
    ],
)
def test_a_figure_must_be_what_the_cells_compute(tmp_path, figures, wrong):
    notebook, found = notebooks.run(written(tmp_path / "a.ipynb", figures))
    assert len(found) == wrong
    assert notebook.cells[0].outputs[0].text == "0.25\n"


def test_an_expression_that_fails_is_named(tmp_path):
    path = written(tmp_path / "a.ipynb", {"0.25": ["nothing_of_this_name", 1.0]})
    with pytest.raises(SystemExit, match="nothing_of_this_name"):
        notebooks.run(path)


def test_a_check_sees_outputs_of_older_code(tmp_path, monkeypatch, capsys):
    path = written(tmp_path / "a.ipynb", {})

    def run(*options):
        monkeypatch.setattr("sys.argv", ["notebooks.py", *options, str(path)])
        return notebooks.main()

    assert run("--check") == 1  # no outputs are stored
    assert run() == 0
    stored = path.read_text()
    assert run("--check") == 0 and path.read_text() == stored
    path.write_text(stored.replace("0.25", "0.50"))
    assert run("--check") == 1
    assert "make notebooks" in capsys.readouterr().err


def test_outputs_that_hold_a_path_or_an_address_are_faults(tmp_path):
    path = written(tmp_path / "a.ipynb", {}, "print(object())\nprint('/tmp/of/somebody')")
    notebook, _ = notebooks.run(path)
    assert len(list(notebooks.faults(notebook))) == 2
