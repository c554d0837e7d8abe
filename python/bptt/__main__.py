"""Command line: ``python -m bptt lab``, ``python -m bptt bench`` and ``python -m bptt info``."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import numpy as np

import bptt


def info() -> None:
    """Print what a bug report needs."""
    print(f"bptt        {bptt.__version__}")
    print(f"simd level  {bptt.simd_level()}")
    print(f"threads     {bptt.get_num_threads()}")
    print(f"Python      {platform.python_version()} ({platform.python_implementation()})")
    print(f"NumPy       {np.__version__}")
    print(f"machine     {platform.machine()}, {platform.system()}")


def lab(folder: Path, seed: int, progress: bool) -> int:
    """Train the four parts of the lab, print a table of the results and draw the plots."""
    from bptt.lab import parts, report

    trained = list(parts.run(seed=seed, progress=progress))
    print(report.table(trained))
    print("\nplots:")
    for path in report.plots(trained, folder):
        print(f"  {path}")
    missed = [part.name for part in trained if part.met is False]
    if missed:
        print(f"\nnot met: {', '.join(missed)}")
    return 1 if missed else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    from bptt.bench import cli as bench

    parser = argparse.ArgumentParser(
        prog="python -m bptt", description=bptt.__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, SIMD level and threads")
    command = commands.add_parser(
        "lab", help="train the four models of the lab, print and plot the results"
    )
    command.add_argument(
        "--plots", type=Path, default=Path("lab-plots"), help="folder for PNG files"
    )
    command.add_argument("--seed", type=int, default=2023)
    command.add_argument("--no-progress", action="store_true", help="do not show the training")
    bench.add_options(
        commands.add_parser(
            "bench", help="compare bptt with PyTorch and the other libraries that are installed"
        )
    )
    options = parser.parse_args(arguments)
    if options.command == "info":
        info()
        return 0
    if options.command == "bench":
        return bench.main(options)
    return lab(options.plots, options.seed, not options.no_progress)


if __name__ == "__main__":
    sys.exit(main())
