"""The comparison of the pictures of the documents; tests/pictures.py draws those of the lab."""

import importlib.util
from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "Makefile").exists())
SPEC = importlib.util.spec_from_file_location("pictures", ROOT / "tests" / "pictures.py")
pictures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pictures)


def picture(name):
    return matplotlib.image.imread(pictures.DOCS / name)[..., :3]


def test_the_comparison_is_that_of_its_page(tmp_path):
    pictures.benchmark(tmp_path / "now.png")
    now = matplotlib.image.imread(tmp_path / "now.png")
    assert pictures.difference(now, picture("benchmark.png")) <= pictures.BOUND


def test_other_figures_on_the_page_are_another_picture(tmp_path):
    page = (pictures.DOCS / "benchmark.md").read_text(encoding="utf-8")
    twice = page.replace(
        "| 7.40 | 1.03 (ONNX Runtime) | 6% |", "| 7.40 | 1.03 (ONNX Runtime) | 96% |"
    )
    assert twice != page
    pictures.benchmark(tmp_path / "now.png", twice)
    now = matplotlib.image.imread(tmp_path / "now.png")
    assert pictures.difference(now, picture("benchmark.png")) > pictures.BOUND


@pytest.mark.parametrize("name", ["forecast.png", "gradients.png"])
def test_a_missing_line_and_another_size_are_seen(name):
    drawn = picture(name)
    assert pictures.difference(drawn, drawn) == 0
    assert pictures.difference(drawn, drawn[:-1]) == np.inf
    # The colour of the first line: of all pixels with a strong colour, the most frequent one.
    strong = drawn[drawn.max(axis=-1) - drawn.min(axis=-1) > 0.4]
    colors, counts = np.unique(strong.round(2), axis=0, return_counts=True)
    line = np.abs(drawn - colors[counts.argmax()]).sum(axis=-1) < 0.3
    without = np.where(line[..., None], np.float32(1), drawn)
    assert pictures.difference(drawn, without) > pictures.BOUND
