"""The comparison as a figure: times faster than each peer, and shares of the FMA peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bptt._support import palette
from bptt._support.extras import require
from bptt.bench.report import MODES, About
from bptt.bench.runner import Result

#: The colour and the marker of each library, the same for all its contenders.
LOOKS = {
    "torch": (palette.VERMILLION, "o"),
    "ONNX Runtime": (palette.BLUE, "s"),
    "JAX": (palette.GREEN, "^"),
    "NumPy": (palette.GREY, "D"),
    "bptt float32": (palette.PURPLE, "P"),
}
#: The colours of the bars.
INFERENCE, TRAINING = palette.SKY, palette.BLUE


def draw(results: Sequence[Result], about: About) -> Any:
    """Draw a mark for each row and peer; left of the line the peer is faster than bptt.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figures = require("matplotlib.figure", "bench")
    results = [result for result in results if result.timings]
    modes = [mode for mode in MODES if any(r.case.mode == mode for r in results)]
    labels = list(dict.fromkeys((r.case.group, r.case.label) for r in results))
    places, starts = _places(labels)
    ratios = [t.median / r.timings[0].median for r in results for t in r.timings[1:]]
    low, high = min([0.5, *ratios]) / 1.25, max([2.0, *ratios]) * 1.25
    height = 1.6 + 0.27 * (max(places.values(), default=0) + 1)
    figure = figures.Figure(figsize=(12, height), layout="constrained")
    axes = figure.subplots(
        1, len(modes) + 1, sharey=True, squeeze=False, width_ratios=[1.0] * len(modes) + [0.75]
    )[0]
    for axis, mode in zip(axes, modes):
        _peers(axis, [result for result in results if result.case.mode == mode], places, low, high)
        axis.set_title(f"{MODES[mode]}: times faster than a peer", fontsize=10)
    _shares(axes[-1], results, places)
    for axis in axes:
        axis.set_ylim(max(places.values(), default=0) + 0.8, -1.6)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="y", color="0.93", linewidth=0.8)
        axis.set_axisbelow(True)
    axes[0].set_yticks(list(places.values()), [label for _, label in places], fontsize=10)
    for group, place in starts.items():
        axes[0].text(
            -0.02, place, group, ha="right", va="center",
            fontsize=10, fontweight="bold", transform=axes[0].get_yaxis_transform(),
        )  # fmt: skip
    _legend(figure, axes, results)
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    figure.suptitle(f"{about.cpu}, {about.threads} threads. {versions}", fontsize=10, color="0.35")
    return figure


def _places(
    labels: Sequence[tuple[str, str]],
) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """Return the vertical places of the rows and of the headings of their groups."""
    places: dict[tuple[str, str], float] = {}
    starts: dict[str, float] = {}
    place = 0.0
    for group, label in labels:
        if group not in starts:
            place += 1.2 if starts else 0.0
            starts[group] = place - 1.0
        places[group, label] = place
        place += 1.0
    return places, starts


def _peers(
    axis: Any,
    results: Sequence[Result],
    places: dict[tuple[str, str], float],
    low: float,
    high: float,
) -> None:
    for result in results:
        place = places[result.case.group, result.case.label]
        ours = result.timings[0].median
        ratios = {timing.name: timing.median / ours for timing in result.timings[1:]}
        if ratios:
            axis.plot([1, *sorted(ratios.values())], [place] * (len(ratios) + 1), color="0.85",
                      linewidth=1, zorder=1)  # fmt: skip
        for name, value in ratios.items():
            color, marker = _look(name)
            lost = value <= 1
            axis.plot(value, place, marker, color=color, markersize=5.5, zorder=3,
                      markeredgecolor="black" if lost else "white",
                      markeredgewidth=1.2 if lost else 0.5)  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.axvspan(low, 1, color=palette.VERMILLION, alpha=0.12, zorder=0, linewidth=0)
    axis.axvline(1, color="0.2", linewidth=1, zorder=2)
    steps = (1, 2, 5) if high / low < 200 else (1, 3) if high / low < 2000 else (1,)
    ticks = [step * 10.0**power for power in range(-3, 6) for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=10)
    axis.set_xticks([], minor=True)
    middle = low**0.5  # between low and 1, on this scale
    axis.text(middle, -1.5, "slower", color=palette.VERMILLION, fontsize=10, ha="center", va="top")


def _look(name: str) -> tuple[str, str]:
    for library, look in LOOKS.items():
        if name.startswith(library):
            return look
    return "#000000", "x"


def _shares(axis: Any, results: Sequence[Result], places: dict[tuple[str, str], float]) -> None:
    for result in results:
        if result.share is not None:
            place = places[result.case.group, result.case.label]
            train = result.case.mode == "train"
            axis.barh(place + (0.19 if train else -0.19), 100 * result.share, 0.36,
                      color=TRAINING if train else INFERENCE)  # fmt: skip
    axis.axvline(100, color="0.2", linewidth=1)
    axis.set_xlim(0, max([105.0, *(103 * (r.share or 0) for r in results)]))
    axis.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"], fontsize=10)
    axis.set_title("bptt's share of the FMA peak", fontsize=10)


def _legend(figure: Any, axes: Sequence[Any], results: Sequence[Result]) -> None:
    lines, patches = require("matplotlib.lines", "bench"), require("matplotlib.patches", "bench")
    present = {_look(t.name) for result in results for t in result.timings[1:]}
    handles = [
        lines.Line2D([], [], color=color, marker=marker, linestyle="", label=name)
        for name, (color, marker) in LOOKS.items()
        if (color, marker) in present
    ]
    handles += [
        patches.Patch(color=INFERENCE, label="inference"),
        patches.Patch(color=TRAINING, label="training"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
                  fontsize=10)  # fmt: skip
