"""Draws the pictures of the documents again, or compares them with what would be drawn.

`make pictures`, or `python tests/pictures.py [--check]`; needs Matplotlib and two minutes.

- forecast.png and gradients.png come from the lab, which is trained for them.
- benchmark.png comes from the tables of benchmark.md, so page and picture tell the same.

Two pictures are compared as if seen from afar: as the mean colours of squares of 75 x 75 pixels,
half an inch. CPUs with other instructions train other networks, which moves lines a little: between
AVX2 and portable code, forecast.png differs by 0.0034 and gradients.png by 0.0005. A line that is
missing makes 0.009 or more, one in another colour 0.0053 or more.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import matplotlib.image
import numpy as np

from bptt.bench import cases, figure, report, runner
from bptt.lab import parts
from bptt.lab.report import plots

DOCS = Path(__file__).parent.parent / "docs"
#: The side of a square in pixels.
SIDE = 75
#: The most by which pictures of the same may differ: the root mean squared difference of the
#: squares, with black 0 and white 1.
BOUND = 0.005


def draw(folder):
    """Draw all pictures into a folder and return their paths."""
    with tempfile.TemporaryDirectory() as place:
        drawn = {path.name: path for path in plots(list(parts.run(progress=False)), Path(place))}
        for name in ("forecast.png", "gradients.png"):
            (folder / name).write_bytes(drawn[name].read_bytes())
    benchmark(folder / "benchmark.png")
    return [folder / name for name in ("forecast.png", "gradients.png", "benchmark.png")]


def benchmark(path, page=None):
    """Draw the comparison from the tables of its page."""
    page = (DOCS / "benchmark.md").read_text(encoding="utf-8") if page is None else page
    section = re.search(r"^## Beside other libraries: Zen 5\n(.*?)^## ", page, re.M | re.S)[1]
    threads = re.search(r"(\d+) threads", section)[1]
    libraries = ("torch", "ONNX Runtime", "JAX", "NumPy")
    versions = {name: re.search(rf"{name}\s(\d[\d.]*\d)", section)[1] for name in libraries}
    results = []
    for case in cases.grid():
        mode = report.MODES[case.mode]
        counted = case.flops is not None
        title = f"{mode}, GFLOP/s" if counted else "microseconds"
        head, rows = table(section, f"{case.group}: {title}")
        cells = {name: float(cell) for name, cell in zip(head, rows[case.label]) if cell != "-"}
        scale = 1e-9 * case.flops if counted else 1e-6
        seconds = {name: scale / cell if counted else scale * cell for name, cell in cells.items()}
        timings = [runner.Timing(name, [time]) for name, time in seconds.items()]
        peaks = []
        if counted:
            head, rows = table(section, f"{case.group}: how many times faster")
            share = rows[case.label][head.index(f"{mode}: of FMA peak")]
            peaks = [case.flops / timings[0].median / (float(share.rstrip("%")) / 100)]
        results.append(runner.Result(case, timings, peaks))
    about = report.About(versions, [], int(threads), cpu="AMD EPYC, Zen 5")
    figure.draw(results, about).savefig(path, dpi=150)


def table(page, title):
    """Return the names of the columns, and the cells of each row by its label."""
    lines = re.search(rf"^### {re.escape(title)}\n\n((?:\|.*\n)+)", page, re.M)[1].splitlines()
    (_, *head), _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return head, {label: cells for label, *cells in rows}


def squares(picture):
    """Return the mean colours of the squares of a picture (height, width, 3)."""
    height, width = (length // SIDE for length in picture.shape[:2])
    parts = picture[: height * SIDE, : width * SIDE, :3].reshape(height, SIDE, width, SIDE, 3)
    return parts.mean(axis=(1, 3))


def difference(one, other):
    """Return by how much two pictures differ; infinity if their sizes do."""
    if one.shape[:2] != other.shape[:2]:
        return np.inf
    return float(np.sqrt(np.mean((squares(one) - squares(other)) ** 2)))


def main():
    """Draw into docs/, or with --check compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    if not parser.parse_args().check:
        for path in draw(DOCS):
            print(path.relative_to(DOCS.parent))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = {
            path.name: difference(*map(matplotlib.image.imread, (path, DOCS / path.name)))
            for path in draw(Path(folder))
        }
    for name, size in found.items():
        print(f"docs/{name}: differs by {size:.4f}, {'ok' if size <= BOUND else 'draw it again'}")
    return int(max(found.values()) > BOUND)


if __name__ == "__main__":
    sys.exit(main())
