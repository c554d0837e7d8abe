"""The results of the lab: a table and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bptt._support import palette
from bptt._support.extras import require
from bptt.lab.data import airline_passengers, sequence_sets
from bptt.lab.floor import loss_floor
from bptt.lab.parts import Part

COLORS = palette.COLORS | {"library": palette.SKY, "floor": palette.BEST}


def table(parts: Sequence[Part]) -> str:
    """Return a table of the parts: scores, limits, seconds, and examples."""
    rows: list[tuple[str, ...]] = [
        (
            "part",
            "train",
            "validation",
            "train*",
            "validation*",
            "limits*",
            "met",
            "epochs",
            "seconds",
        )
    ]
    for part in parts:
        limits = met = "-"
        if part.limits is not None:
            sign = "<" if part.strict else "<="
            limits = f"{sign} {part.limits[0]:g}, {part.limits[1]:g}"
            met = "yes" if part.met else "NO"
        digits = 2 if part.forecast else 4
        scores = [f"{s:.{digits}f}" for s in (part.train, part.validation, *part.course)]
        history = part.history
        rows.append(
            (part.name, *scores, limits, met, str(len(history.loss)), f"{history.seconds:.2f}")
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells))
    lines.insert(1, "  ".join("-" * width for width in widths))
    sets = sequence_sets()
    seconds = sum(part.history.seconds for part in parts)
    lines += [
        f"total training time: {seconds:.2f} s",
        "",
        "Train and validation, parts 1 to 3: the mean cross-entropy over all tokens, in nats; no",
        f"model can expect less than {loss_floor(sets.train.y):.4f} and "
        f"{loss_floor(sets.validation.y):.4f} for these sequences. Part 4: the error (RMSE) of",
        "forecasts one month ahead, in thousands of passengers, training and test.",
        "* In the course's own measure. Parts 1 and 2: nats per sequence, divided by 4, the size",
        "of the vocabulary. Part 3: the mean over the sequences of each one's own mean. Part 4:",
        "the error at all four steps of the windows.",
        "",
        "A test sequence (its targets before the first b cannot be predicted):",
    ]
    for part in parts:
        if part.example is not None:
            target, predicted = part.example
            lines += [f"  {part.name:<26}target     {target}", f"  {'':<26}predicted  {predicted}"]
    return "\n".join(lines)


def plots(parts: Sequence[Part], folder: Path) -> list[Path]:
    """Draw the plots as PNG files (needs matplotlib) and return their paths."""
    require("matplotlib", "plot").use("Agg")
    pyplot = require("matplotlib.pyplot", "plot")
    folder.mkdir(parents=True, exist_ok=True)
    one_by_one = [part for part in parts[:-1] if not part.in_batches]
    batches = [part for part in parts[:-1] if part.in_batches]
    forecasting = parts[-1]
    drawn = []

    def save(figure: Any, name: str) -> None:
        path = folder / name
        figure.savefig(path, dpi=150)
        pyplot.close(figure)
        drawn.append(path)

    save(_comparison(pyplot, one_by_one), "gradients.png")
    if batches:
        save(_batches(pyplot, one_by_one, batches), "batches.png")

    torch_like = one_by_one[-1]
    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    torch_like.history.plot(axis)
    axis.set(title=torch_like.name, ylabel="cross-entropy (nats per token)", ylim=(0, None))
    _floors(axis, "training", "validation")
    save(figure, "lstm-torch.png")

    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    forecasting.history.plot(axis, log=True)
    axis.set(title=forecasting.name, ylabel="mean squared error")
    save(figure, "forecast-loss.png")

    save(_forecast(pyplot, forecasting), "forecast.png")
    return drawn


def _floors(axis: Any, *kinds: str) -> None:
    """Draw the least loss that the training or the validation sequences allow."""
    sets = sequence_sets()
    for kind in kinds:
        targets = (sets.train if kind == "training" else sets.validation).y
        axis.axhline(loss_floor(targets), color=COLORS["floor"], linewidth=1.5, linestyle=":")


def _comparison(pyplot: Any, parts: Sequence[Part]) -> Any:
    """Draw the losses of all networks on the sequences; those of published gradients are dashed.

    The dotted line is the floor: the least loss that the sequences allow.
    """
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for part in parts:
        color = COLORS["library" if part.limits else "RNN" if "RNN" in part.name else "LSTM"]
        style = "--" if "published" in part.name else "-"
        kinds = ((part.history.loss, "training"), (part.history.validation_loss, "validation"))
        for axis, (losses, kind) in zip(axes, kinds):
            epochs = range(1, len(losses) + 1)
            axis.plot(epochs, losses, style, color=color, label=part.name)
            axis.set(title=f"{kind} sequences", xlabel="epoch", xscale="log", ylim=(0, None))
            axis.spines[["top", "right"]].set_visible(False)
    for axis, kind in zip(axes, ("training", "validation")):
        _floors(axis, kind)
    axes[0].set_ylabel("cross-entropy (nats per token)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _batches(pyplot: Any, one_by_one: Sequence[Part], batches: Sequence[Part]) -> Any:
    """Draw the validation losses over the seconds of training, one axis for each part."""
    figure, axes = pyplot.subplots(
        1, len(batches), figsize=(10, 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, batched in zip(axes[0], batches):
        number = batched.name[0]
        for part in [*(part for part in one_by_one if part.name[0] == number), batched]:
            color = COLORS["library" if part.in_batches else "LSTM" if number != "1" else "RNN"]
            style = "--" if "published" in part.name else "-"
            losses = part.history.validation_loss
            seconds = np.linspace(0, part.history.seconds, len(losses) + 1)[1:]
            axis.plot(seconds, losses, style, color=color, label=part.name[2:])
        _floors(axis, "validation")
        axis.set(title=f"part {number}, validation", xlabel="seconds", xscale="log", ylim=(0, None))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("cross-entropy (nats per token)")
    return figure


def _forecast(pyplot: Any, part: Part) -> Any:
    """Draw the series and the forecast of each month from the four months before it."""
    data = airline_passengers()
    figure, axis = pyplot.subplots(figsize=(10, 4.5), layout="constrained")
    months = 1949 + (0.5 + np.arange(len(data.series))) / 12
    window = data.train_x.shape[1]
    axis.plot(months, data.series, color="0.65", linewidth=2.5, label="passengers")
    starts = {"train": window, "test": data.split + window}
    for (name, start), color in zip(starts.items(), (COLORS["training"], COLORS["validation"])):
        forecast = part.forecast[name]
        label = f"one month ahead, {name}"
        axis.plot(months[start : start + len(forecast)], forecast, color=color, label=label)
    axis.axvline(1949 + data.split / 12, color="0.5", linewidth=1, linestyle=":")
    axis.set(title="Airline passengers and forecasts", xlabel="year", ylabel="thousands a month")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure
