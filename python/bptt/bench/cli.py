"""``python -m bptt bench``: options, a line for each row while it runs, and a report."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bptt._core import fma_peak, get_num_threads
from bptt._support.extras import require
from bptt.bench import figure, report, runner
from bptt.bench.cases import grid
from bptt.bench.contenders import available
from bptt.bench.rules import Case, Library

#: --quick skips rows with more operations.
QUICK_FLOPS = 1e9

#: Measurements of the FMA peak in every round, and seconds of each; the best one counts.
PEAK_WINDOWS = 6
PEAK_SECONDS = 0.01


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    parser.add_argument(
        "--quick", action="store_true", help="two rounds of the smaller rows, as a test"
    )
    parser.add_argument("--only", metavar="REGEX", help="rows to measure, such as 'GRU.*train'")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all medians to this file")
    parser.add_argument(
        "--figure", type=Path, metavar="PATH", help="draw the ratios to this file (PNG)"
    )
    parser.add_argument("--threads", type=int, help="number of threads of every contender")


def select(cases: Sequence[Case], quick: bool, only: str | None) -> list[Case]:
    """Return the rows that the options select.

    Examples
    --------
    >>> from bptt.bench.cases import grid
    >>> from bptt.bench.cli import select
    >>> [f"{case.label}, {case.mode}" for case in select(grid(), False, "GRU.*256.*train")]
    ['GRU, 100, 64, 128, 256, train']
    """
    chosen = [case for case in cases if not quick or (case.flops or 0) <= QUICK_FLOPS]
    if only is None:
        return chosen
    return [c for c in chosen if re.search(only, f"{c.group}: {c.label}, {c.mode}")]


def _peak(double: bool) -> float:
    return max(fma_peak(double, PEAK_SECONDS) for _ in range(PEAK_WINDOWS))


def measure(
    cases: Sequence[Case], libraries: Sequence[Library], plan: runner.Plan
) -> tuple[list[runner.Result], bool]:
    """Measure rows and print a line for each; return the results, and whether they are complete."""
    results: list[runner.Result] = []
    start = time.perf_counter()
    try:
        for result in runner.run(cases, libraries, plan, _peak):
            results.append(result)
            best = result.best_peer
            print(
                f"[{len(results)}/{len(cases)}] {time.perf_counter() - start:4.0f} s  "
                f"{result.case.label}, {result.case.mode}: "
                + (f"{report.ratio(result.over_best)} x {best.name}" if best else "no peer"),
                file=sys.stderr,
                flush=True,
            )
    except KeyboardInterrupt:
        print("interrupted: these are the results so far", file=sys.stderr)
        return results, False
    return results, True


def main(options: argparse.Namespace) -> int:
    """Measure and report; return the exit status, which is 1 if a contender was wrong."""
    threads = get_num_threads() if options.threads is None else options.threads
    if threads < 1:
        raise SystemExit(f"--threads must be at least 1, got {threads}")
    if threads > (os.cpu_count() or threads):
        print(f"{threads} threads share {os.cpu_count()} cores", file=sys.stderr)
    cases = select(grid(), options.quick, options.only)
    if not cases:
        raise SystemExit(f"--only {options.only!r} matches no row")
    for path in (options.json, options.figure):  # fail now instead of after minutes
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if options.figure is not None:
        require("matplotlib.figure", "bench")
    libraries, missing = available(threads)
    about = report.About.of(libraries, missing, threads)
    plan = runner.QUICK if options.quick else runner.Plan()
    results, complete = measure(cases, libraries, plan)
    print(report.markdown(results, about))
    if options.json is not None:
        text = json.dumps(report.as_json(results, about), indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.figure is not None and results:
        figure.draw(results, about).savefig(options.figure, dpi=150)
    if not complete:
        return 130
    return 1 if any(result.wrong for result in results) else 0
