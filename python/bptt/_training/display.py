"""The display of a training run: its numbers and curves, in a notebook, a terminal or as lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from bptt._support.curves import best_epoch, training_html
from bptt._support.progress import bar_html, duration, fitted
from bptt._support.screen import Screen, mark_shown
from bptt.history import DivergedError, History

#: Seconds until the first drawing: shorter runs are shown when they have ended.
PATIENCE = 0.2


class Display:
    """Shows a run while it trains, and how it ended.

    Parameters
    ----------
    history : History
        The history of the run, which grows.
    epochs : int
        The number of epochs of the whole run.
    wanted : bool
        Whether to show anything.
    trained : int, default 0
        For how many epochs the model was trained before this run.
    """

    def __init__(self, history: History, epochs: int, wanted: bool, trained: int = 0) -> None:
        self._history, self._epochs, self._trained = history, epochs, trained
        self._resumed = self._epoch = len(history.loss)  # epochs
        self._begin = time.perf_counter()
        self._fraction: float | None = 0.0  # of the epoch that runs; None if it is not known
        self._loss: float | None = None  # of that epoch so far
        self._validating: str | None = None  # how far the validation is
        self._end: str | None = None
        self._stretches: list[tuple[float, float]] = []
        self._before = 0.0, 0.0  # sum of losses and count at the end of the last stretch
        self._screen = Screen(self, wanted and epochs > self._resumed, PATIENCE)

    # What happens.

    def within(self, fraction: float | None, loss_sum: float, count: float) -> None:
        """Take what fraction of an epoch is done, and the sum and the count of its losses."""
        self._fraction, self._loss = fraction, loss_sum / count if count else None
        if self._screen.due:
            self._stretch(loss_sum, count)
            self._screen.redraw()

    def _stretch(self, loss_sum: float, count: float) -> None:
        """Keep the mean loss since the last drawing."""
        sum_before, count_before = self._before
        if count < count_before:  # another epoch has begun
            sum_before = count_before = 0.0
        if self._fraction is not None and count > count_before:
            loss = (loss_sum - sum_before) / (count - count_before)
            self._stretches.append((self._epoch + self._fraction, loss))
        self._before = loss_sum, count

    def validating(self, done: int, total: int | None) -> None:
        """Take how many sequences of the validation data are evaluated."""
        self._validating = f" {done / total:.0%}" if total else ""
        self._screen.redraw()

    def advance(self) -> None:
        """See an epoch that the history has."""
        self._epoch = len(self._history.loss)
        self._fraction, self._loss, self._validating = 0.0, None, None
        self._before = 0.0, 0.0
        self._screen.redraw()

    def end(self, error: BaseException | None) -> None:
        """Show how the run ended."""
        done, history = len(self._history.loss), self._history
        if isinstance(error, DivergedError):
            self._end = f"diverged in epoch {done + 1} of {self._epochs}"
        elif history.interrupted:
            self._end = f"interrupted after {done} of {self._epochs} epochs"
        elif error is not None:
            self._end = f"ended by an error after {done} of {self._epochs} epochs"
        elif done < self._epochs:
            self._end = f"stopped after {done} of {self._epochs} epochs"
        else:
            self._end = f"{done} epoch{'s' if done != 1 else ''}"
        self._end += f" in {duration(history.seconds)}"
        if self._screen.end():
            mark_shown(history)

    # What is drawn.

    def _done(self) -> float:
        """Return how many epochs are done, the one that runs by its fraction."""
        return self._epoch + (self._fraction or 0.0)

    def _left(self) -> list[str]:
        """Return the time that is left, at the pace of this run, if it can be known."""
        seconds, done = time.perf_counter() - self._begin, self._done() - self._resumed
        if done <= 0 or (seconds < 1 and self._epoch == self._resumed):
            return []
        return [f"{duration(seconds * (self._epochs - self._done()) / done)} left"]

    def _head(self) -> str:
        """Return which epoch runs, and how much of it is done."""
        text = f"epoch {min(self._epoch + 1, self._epochs)} of {self._epochs}"
        if self._validating is not None:
            return f"{text}, validating{self._validating}"
        return f"{text}, {self._fraction:.0%} done" if self._fraction else text

    def _note(self) -> str:
        """Return what the run started from, where that is not a new model."""
        if self._resumed:
            return f"resumed at epoch {self._resumed + 1}"
        return f"continues at epoch {self._trained + 1}" if self._trained else ""

    def _numbers(self) -> list[str]:
        """Return the losses, the time left and the best epoch, and then the metrics."""
        history, numbers = self._history, []
        if self._loss is not None and self._end is None:
            numbers.append(f"loss {self._loss:.4g}")
        elif history.loss:
            numbers.append(f"loss {history.loss[-1]:.4g}")
        if history.validation_loss:
            numbers.append(f"validation {history.validation_loss[-1]:.4g}")
        if self._end is None:
            numbers += self._left()
        best = best_epoch(history)
        if best is not None and len(history.loss) > 1:
            losses = history.validation_loss or history.loss
            numbers.append(f"best {losses[best - 1]:.4g} in epoch {best}")
        metrics = history.metrics.items()
        return numbers + [f"{name} {values[-1]:.4g}" for name, values in metrics if values]

    def line(self, width: int | None) -> str:
        """Return the numbers as a line; the first ones matter most."""
        begins = self._end is not None or self._epoch == self._resumed
        note = [self._note()] if begins and self._note() else []
        return fitted([self._end or self._head(), *note, *self._numbers()], width)

    def html(self) -> str:
        """Return the numbers, a bar until the end, and the curves."""
        history, note, reach = self._history, self._note(), None
        head = f"<b>{escape(self._end or self._head())}</b>"
        if self._end is None:
            if self._loss is not None:
                head += f", loss so far {self._loss:.4g}"
            head = ", ".join([head, *self._left()])
            head += f"<br>{bar_html(self._done() / self._epochs)}"
            reach = _reach(self._epoch + 1, self._epochs)
        if self._trained and not self._resumed:
            note += f": this model was trained for {self._trained} epochs before"
        if note:
            head += f"<br>{escape(note)}"
        few = len(self._stretches) > 2 * len(history.loss)  # epochs, with much to see in each
        return training_html(head, history, reach, self._stretches if few else ())


def _reach(epoch: int, epochs: int) -> int:
    """Return the right end of the curves: room to grow, and a new one now and then only."""
    size = 10
    while size < epoch:
        size = size * 2 if str(size)[0] in "15" else size * 5 // 2
    return min(size, epochs)


@contextmanager
def training_display(
    history: History, epochs: int, wanted: bool, trained: int = 0
) -> Iterator[Display]:
    """Show the training of the block."""
    display = Display(history, epochs, wanted, trained)
    try:
        yield display
    except BaseException as error:
        display.end(error)
        raise
    display.end(None)
