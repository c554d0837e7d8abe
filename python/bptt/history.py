"""`History`, which `fit` returns: the losses of every epoch, their curves and their plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bptt._support.curves import training_html
from bptt._support.extras import require
from bptt._support.progress import duration
from bptt._support.screen import is_shown


@dataclass
class History:
    """Losses of a training run.

    Attributes
    ----------
    loss : list of float
        The training loss of every finished epoch: the mean over all steps, computed while training.
    validation_loss : list of float
        The same mean over the validation data after every epoch; empty without validation data.
    metrics : dict of str to list of float
        The requested metrics of every epoch by name, such as "accuracy" and, with validation data,
        "validation_accuracy". Each is also an attribute: ``history.accuracy``.
    lr : list of float
        The learning rate at the start of every epoch.
    seconds : float
        The duration of training.
    interrupted : bool
        Whether Ctrl-C ended training early.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    lr: list[float] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    def __getattr__(self, name: str) -> list[float]:
        metrics: dict[str, list[float]] = self.__dict__.get("metrics", {})
        if name in metrics:
            return metrics[name]
        known = f"; its metrics are {', '.join(metrics)}" if metrics else ""
        raise AttributeError(f"the history has no {name!r}{known}")

    def _append(self, logs: dict[str, float], lr: float) -> None:
        """Add the numbers of an epoch."""
        for name, value in logs.items():
            if name in ("loss", "validation_loss"):
                getattr(self, name).append(value)
            else:
                self.metrics.setdefault(name, []).append(value)
        self.lr.append(lr)

    def _last(self) -> dict[str, float]:
        """Return the numbers of the last epoch."""
        numbers = {"loss": self.loss, "validation_loss": self.validation_loss} | self.metrics
        return {name: values[-1] for name, values in numbers.items() if values}

    def __repr__(self) -> str:
        text = f"{len(self.loss)} epochs in {self.seconds:.2f} s"
        if self.loss:
            text += f", loss {self.loss[-1]:.4g}"
        if self.validation_loss:
            text += f", validation_loss {self.validation_loss[-1]:.4g}"
        for name, values in self.metrics.items():
            text += f", {name} {values[-1]:.4g}"
        if self.interrupted:
            text += ", interrupted"
        return f"<History: {text}>"

    def _repr_html_(self) -> str | None:
        """Return numbers and curves; None where the cell's display of the training has them."""
        if is_shown(self):
            return None
        epochs = f"{len(self.loss)} epoch{'' if len(self.loss) == 1 else 's'}"
        head = f"<b>{epochs} in {duration(self.seconds)}</b>"
        return training_html(head + (", interrupted" if self.interrupted else ""), self)

    def plot(self, ax: Any = None, *, log: bool = False) -> Any:
        """Plot the losses over the epochs. Needs matplotlib (``pip install "bptt[plot]"``).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            The axes to draw on; by default those of a new figure.
        log : bool, default False
            Whether the scale of the losses is logarithmic.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            ax = require("matplotlib.pyplot", "plot").subplots(layout="constrained")[1]
        epochs = range(1, len(self.loss) + 1)
        ax.plot(epochs, self.loss, label="training")
        if self.validation_loss:
            ax.plot(epochs[: len(self.validation_loss)], self.validation_loss, label="validation")
        ax.set(xlabel="epoch", ylabel="loss", yscale="log" if log else "linear")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return ax


class DivergedError(ArithmeticError):
    """A loss or a parameter became NaN or infinite during training.

    The model keeps the parameters of the end of the previous epoch, or with `EarlyStopping` of the
    best one.

    Attributes
    ----------
    history : History
        The losses of the finished epochs.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history

    def __reduce__(self) -> tuple[Any, ...]:
        return DivergedError, (str(self), self.history)
