"""`History`, which `fit` returns: the numbers of every epoch, their curves and their plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bptt._history.figure import plot
from bptt._history.frame import frame_of
from bptt._history.steps import Steps
from bptt._history.summary import summary
from bptt._support import names
from bptt._support.curves import training_html
from bptt._support.progress import duration
from bptt._support.screen import is_shown


@dataclass
class History(Mapping[str, list[float]]):
    """The numbers of a training run, epoch by epoch, as attributes and by their names.

    ``history["loss"]`` is ``history.loss``; ``history.keys()`` are the names of all numbers that
    every epoch has: "loss", "validation_loss" with validation data, the metrics, and "lr".

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
    steps : Steps
        The loss, the gradient norm and the learning rate of every step of the optimiser.
    loss_name : str
        The name of the loss, such as "mse", for the axes of plots.
    seconds : float
        The duration of training.
    interrupted : bool
        Whether Ctrl-C ended training early.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> model = bptt.Sequential(bptt.Linear(1, 1, rng=0))
    >>> x = np.ones((4, 3, 1))
    >>> history = model.fit(x, x, loss="mse", optimizer=bptt.SGD(0.1), epochs=3, metrics=["rmse"],
    ...                     validation=(x, x), progress=False)
    >>> list(history.keys())
    ['loss', 'validation_loss', 'rmse', 'validation_rmse', 'lr']
    >>> history["loss"] == history.loss and history["rmse"] == history.rmse
    True
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    lr: list[float] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    steps: Steps = field(default_factory=Steps, compare=False)
    loss_name: str = field(default="", compare=False)

    def __getattr__(self, name: str) -> list[float]:
        if "metrics" not in vars(self) or name.startswith("__"):  # not there yet, or asked by copy
            raise AttributeError(name)
        if name in self.metrics:
            return self.metrics[name]
        raise AttributeError(self._missing(name))

    def __getitem__(self, name: str) -> list[float]:
        numbers = self._numbers()
        if name not in numbers:
            raise KeyError(self._missing(name, 'history["{}"]'))
        return numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers())

    def __len__(self) -> int:
        return len(self._numbers())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the attributes of a pickle; one of version 0.1.0 lacks those that came later."""
        vars(self).update(vars(History()) | state)

    def _numbers(self) -> dict[str, list[float]]:
        """Return what every epoch has, by name."""
        validated = {"validation_loss": self.validation_loss} if self.validation_loss else {}
        return {"loss": self.loss} | validated | self.metrics | {"lr": self.lr}

    def _missing(self, name: object, form: str = "history.{}") -> str:
        """Return why there is no such number, and what to type."""
        ours = names.answer("HISTORY", name)
        if ours is not None and ours in self._numbers():
            return f"the history has no {name!r}: type {form.format(ours)}"
        known = f"the history has no {name!r}, it has {', '.join(self._numbers())}"
        if str(name).startswith("val") and not self.validation_loss:
            return f"{known}: for validation, give fit validation=(x, y)"
        return f"{known}: more numbers come from metrics=[...] of fit"

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
        numbers = self._numbers().items()
        return {name: values[-1] for name, values in numbers if values and name != "lr"}

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame: a row for each epoch, a column for each number.

        Returns
        -------
        pandas.DataFrame
            Its columns are those of `keys`. Its index, "epoch", counts from 1.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> import bptt
        >>> bptt.History(loss=[0.5, 0.25], lr=[0.1, 0.1]).to_frame()  # doctest: +SKIP
               loss   lr
        epoch
        1      0.50  0.1
        2      0.25  0.1
        """
        return frame_of(self, "epoch", range(1, len(self.loss) + 1))

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

    def summary(self) -> str:
        """Return what happened in training, and what to do about it, in a sentence or two.

        It tells of over-fitting, of losses that hardly move, rise, jump or still fall, and why
        validation may be below training. Epochs are counted from 1.

        Examples
        --------
        >>> import bptt
        >>> history = bptt.History(loss=[0.9, 0.5, 0.3, 0.2, 0.1, 0.05],
        ...                        validation_loss=[0.9, 0.6, 0.5, 0.55, 0.6, 0.7])
        >>> history.summary().split(",")[0]
        'Validation was best at epoch 3 (0.5) and rises since (to 0.7)'
        """
        return summary(self.loss, self.validation_loss, self.interrupted)

    def plot(
        self,
        ax: Any = None,
        *,
        metrics: Sequence[str] = (),
        label: str | None = None,
        log: bool = False,
    ) -> Any:
        """Plot the losses over the epochs, and metrics beside them. Needs matplotlib.

        The epoch with the lowest validation loss is marked. In a figure of its own, a small panel
        below shows the learning rate, if it changes. NaN and infinity are gaps.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or sequence of them, optional
            The axes to draw on: those of the losses, then one for each of the metrics. By default
            they are those of a new figure.
        metrics : list of str, default none
            The names of metrics to draw beside the losses, such as "accuracy".
        label : str, optional
            The name of the run, for several runs on the same axes: its curves have one colour,
            the next one or that of "RNN", "LSTM" and "GRU", and validation is dashed.
        log : bool, default False
            Whether the scale of the losses is logarithmic.

        Returns
        -------
        matplotlib.axes.Axes
            Those of the losses; its ``figure`` has all of them.

        Raises
        ------
        ValueError, TypeError
            If there is no such metric, or not one of the axes for each panel.
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bptt
        >>> history = bptt.History(loss=[3, 2, 1], validation_loss=[3, 1, 2], lr=[0.1, 0.1, 0.01])
        >>> ax = history.plot()
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['training', 'validation', 'best epoch 2']
        """
        return plot(self, self.loss_name, ax, metrics, label, log)


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
