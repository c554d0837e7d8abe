"""The report of a comparison: Markdown for people, JSON for programs. It shows all losses."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bptt
from bptt.bench.rules import Library
from bptt.bench.runner import Result, Timing

#: On a quiet machine, the quartiles of the FMA peak differ by less than this.
QUIET = 0.05

MODES = {"infer": "inference", "train": "training"}


@dataclass
class About:
    """The machine and the versions of a measurement."""

    versions: dict[str, str]
    missing: list[str]
    threads: int
    simd: str = field(default_factory=bptt.simd_level)
    cpu: str = field(default_factory=lambda: _cpu())
    system: str = field(default_factory=lambda: f"{platform.system()} {platform.machine()}")
    python: str = field(default_factory=platform.python_version)
    #: The load average of the last minute: other work of the machine.
    load: float | None = field(default_factory=lambda: _load())

    @classmethod
    def of(cls, libraries: Sequence[Library], missing: list[str], threads: int) -> About:
        """Describe this machine and these libraries."""
        return cls({library.name: library.version for library in libraries}, missing, threads)


def _cpu() -> str:
    """Return the name of the processor, on Linux with its family and model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    known = {name.strip(): value.strip() for name, value in fields.items()}
    name = known.get("model name", platform.machine())
    if "cpu family" in known:
        name += f" (family {known['cpu family']}, model {known.get('model', '?')})"
    return name


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def markdown(results: Sequence[Result], about: About) -> str:
    """Write ratios, figures and the conditions of their measurement.

    Examples
    --------
    >>> from bptt.bench import cases, report, runner
    >>> case = cases.LayerCase("LSTM", (4, 2, 3, 5), train=False)
    >>> timings = [runner.Timing("bptt", [2e-6]), runner.Timing("torch", [1e-6])]
    >>> about = report.About({"bptt": "1", "torch": "2"}, [], threads=1)
    >>> text = report.markdown([runner.Result(case, timings)], about)
    >>> "bptt is the fastest in 0 of 1 rows" in text
    True
    """
    parts = [_introduction(results, about)]
    groups = list(dict.fromkeys(result.case.group for result in results))
    for group in groups:
        parts.append(f"## {group}: how many times faster\n\n{_ratios(_of(results, group))}")
    for group in groups:
        rows = _of(results, group)
        if not _counted(rows):
            parts.append(f"## {group}: microseconds\n\n{_figures(rows)}")
            continue
        for mode, name in MODES.items():
            of_mode = [result for result in rows if result.case.mode == mode]
            if of_mode:
                parts.append(f"## {group}: {name}, GFLOP/s\n\n{_figures(of_mode)}")
    parts.append(_verdict(results))
    return "\n\n".join(part for part in parts if part) + "\n"


def _of(results: Iterable[Result], group: str) -> list[Result]:
    return [result for result in results if result.case.group == group]


def _counted(results: Iterable[Result]) -> bool:
    """Tell whether operations are counted: only such rows have two modes and shares of the peak."""
    return any(result.case.flops is not None for result in results)


def _introduction(results: Sequence[Result], about: About) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    lines = [
        f"{about.cpu}, {about.threads} threads, {about.simd}; {about.system}",
        f"Python {about.python}, {versions}",
    ]
    for double, name in ((False, "float32"), (True, "float64")):
        peaks = [p for result in results if result.case.double == double for p in result.peaks]
        if peaks:
            middle = Timing("peak", peaks)
            low, high = middle.quartiles
            lines.append(
                f"FMA peak, {name}: {middle.median / 1e9:.0f} GFLOP/s, half of {len(peaks)} "
                f"measurements between {low / 1e9:.0f} and {high / 1e9:.0f}"
            )
            if high - low > QUIET * middle.median:
                lines.append("the machine was not quiet: the peak should hardly vary")
    if about.load is not None:
        lines.append(f"load average of the minute before: {about.load}")
    rounds = [len(result.timings[0].seconds) for result in results if result.timings]
    if rounds:
        lines.append(
            f"medians of {min(rounds)} to {max(rounds)} rounds, all contenders of a row in turn"
        )
    return "\n".join(f"- {line}" for line in lines + about.missing)


def _ratios(results: Sequence[Result]) -> str:
    """Write a line for each label, with its modes side by side."""
    columns = ["bptt / torch", "bptt / best peer", "of FMA peak"]
    if not _counted(results):
        rows = [[result.case.label, *_ratio_cells(result)[:2]] for result in results]
        return _table(["", *columns[:2]], rows)
    modes = [mode for mode in MODES if any(result.case.mode == mode for result in results)]
    rows = []
    for label in dict.fromkeys(result.case.label for result in results):
        found = {result.case.mode: result for result in results if result.case.label == label}
        cells = (_ratio_cells(found[mode]) if mode in found else ["-"] * 3 for mode in modes)
        rows.append([label, *(cell for three in cells for cell in three)])
    head = [f"{MODES[mode]}: {column}" for mode in modes for column in columns]
    return _table(["T, B, I, H", *head], rows)


def _ratio_cells(result: Result) -> list[str]:
    torch, best, share = result.times_faster("torch"), result.best_peer, result.share
    return [
        "-" if torch is None else ratio(torch),
        "-" if best is None else f"{ratio(result.over_best)} ({best.name})",
        "-" if share is None else f"{share:.0%}",
    ]


def ratio(value: float | None) -> str:
    """Write a ratio with a sensible number of digits.

    Examples
    --------
    >>> from bptt.bench.report import ratio
    >>> ratio(0.876), ratio(1.234), ratio(12.34), ratio(123.4)
    ('0.88', '1.23', '12.3', '123')
    """
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _figures(results: Sequence[Result]) -> str:
    """Write the measurements: GFLOP/s, or microseconds where no operations are counted."""
    names = list(dict.fromkeys(t.name for result in results for t in result.timings))
    rows = []
    for result in results:
        flops = result.case.flops
        cells = {
            t.name: f"{1e6 * t.median:.3g}" if flops is None else f"{flops / t.median / 1e9:.3g}"
            for t in result.timings
        }
        rows.append([result.case.label, *(cells.get(name, "-") for name in names)])
    return _table(["T, B, I, H" if _counted(results) else "", *names], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _verdict(results: Sequence[Result]) -> str:
    """Write wins, losses, the differences of results, the spread of times, and absences."""
    met = [result for result in results if result.over_best is not None]
    lost = [result for result in met if (result.over_best or 0) <= 1]
    lines = [f"bptt is the fastest in {len(met) - len(lost)} of {len(met)} rows that have peers."]
    if lost:
        lines.append("\nA peer is as fast or faster in:\n")
        for result in sorted(lost, key=lambda result: result.over_best or 0):
            best = result.best_peer
            assert best is not None
            lines.append(f"- {_name(result)}: {best.name}, {ratio(result.over_best)}")
    errors = [(t.error, t.name, result) for result in results for t in result.timings[1:]]
    by_tolerance = sorted({result.case.tolerance for _, _, result in errors})
    if by_tolerance:
        lines.append(
            "\nBefore the timing all contenders computed the same: outputs, final states and, in "
            "training, dx and the gradients of all weights. The largest differences from bptt, "
            "relative to the largest number of the array:\n"
        )
    for tolerance in by_tolerance:
        of_it = [item for item in errors if item[2].case.tolerance == tolerance]
        error, name, result = max(of_it, key=lambda item: item[0])
        lines.append(f"- {error:.1e} of at most {tolerance:.0e}: {name}, {_name(result)}")
    spreads = [
        (t.quartiles[1] - t.quartiles[0]) / t.median for result in results for t in result.timings
    ]
    if spreads:
        lines.append(
            f"\nThe quartiles of the times differ by {statistics.median(spreads):.1%} of the "
            f"median; in the worst row by {max(spreads):.0%}."
        )
    cores = [(statistics.median(t.cores), t.name) for r in results for t in r.timings if t.cores]
    if cores:
        most, name = max(cores)
        lines.append(f"The largest number of busy processors: {most:.1f} ({name}).")
    lines += _notes(results)
    return "\n".join(lines)


def _name(result: Result) -> str:
    case = result.case
    return f"{'LSTM, ' * case.label[0].isdigit()}{case.label}, {MODES[case.mode]}"


def _notes(results: Sequence[Result]) -> list[str]:
    wrong = [
        f"- {name}, {_name(result)}: {problem}"
        for result in results
        for name, problem in result.wrong.items()
    ]
    reasons: dict[str, None] = dict.fromkeys(
        f"- {name}: {reason}" for result in results for name, reason in result.absent.items()
    )
    lines = ["\nNot timed, because of an error:\n", *wrong] if wrong else []
    return lines + (["\nAbsent from some rows:\n", *reasons] if reasons else [])


def as_json(results: Sequence[Result], about: About) -> dict[str, Any]:
    """Return all results for json.dump: times in seconds, rates in operations per second."""
    return {"about": vars(about), "rows": [_row(result) for result in results]}


def _row(result: Result) -> dict[str, Any]:
    case, best = result.case, result.best_peer
    contenders = {
        t.name: {
            "median": t.median,
            "quartiles": t.quartiles,
            "rounds": len(t.seconds),
            "repeats": t.repeats,
            "error": t.error,
            "cores": statistics.median(t.cores) if t.cores else None,
        }
        for t in result.timings
    }
    return {
        "group": case.group,
        "label": case.label,
        "mode": case.mode,
        "flops": case.flops,
        "peak": statistics.median(result.peaks) if result.peaks else None,
        "share_of_peak": result.share,
        "torch_over_bptt": result.times_faster("torch"),
        "best_peer": best.name if best else None,
        "best_peer_over_bptt": result.over_best,
        "contenders": contenders,
        "absent": result.absent,
        "wrong": result.wrong,
    }
