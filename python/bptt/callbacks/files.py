"""Callbacks that write files: `ModelCheckpoint` saves models, `CSVLogger` a table of the epochs."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import IO, Any

from bptt._support import check
from bptt._support.entry import entry
from bptt.callbacks.base import Callback, Logs, Monitor
from bptt.layers._files import path_of


@entry
class ModelCheckpoint(Monitor):
    """Save the model after every epoch that is the best so far, as in Keras.

    The file is one of `Sequential.save`, for `bptt.load`: at any moment the old or the new file
    exists as a whole. To resume training, use ``fit(checkpoint=path, resume=True)``, which keeps
    the state of training, too. The first epoch counts as the best one so far; NaN is never better
    than a number.

    Parameters
    ----------
    path : str or path
        The file, in an existing directory. It may have the epoch, counted from 1, and numbers of
        the history in it, as Python's `str.format` writes them:
        ``"{epoch:03d}-{validation_loss:.2f}.safetensors"``.
    monitor : str, optional
        The name of the number in the history; by default "validation_loss", without validation data
        "loss".
    mode : {"auto", "min", "max"}, default "auto"
        Whether a lower or a higher number is better. With "auto" a higher accuracy is better; of
        all other numbers, a lower one.
    best_only : bool, default True
        Whether to save the best epochs only; otherwise, every epoch. (In Keras the option is named
        save_best_only and is False by default.)

    Attributes
    ----------
    best : float
        The best number of the last training.
    best_epoch : int or None
        The epoch of the best number, counted from 0.
    saved : pathlib.Path or None
        The file that was written last.

    Examples
    --------
    >>> import os, tempfile, numpy as np, bptt
    >>> path = os.path.join(tempfile.mkdtemp(), "best.safetensors")
    >>> x = np.random.default_rng(0).standard_normal((20, 5, 1))
    >>> model = bptt.Sequential(bptt.GRU(1, 4, rng=0), bptt.Linear(4, 1, rng=0))
    >>> history = model.fit(x[:10], -x[:10], loss="mse", optimizer=bptt.Adam(0.1), epochs=50,
    ...                     validation=(x[10:], -x[10:]), rng=0, progress=False,
    ...                     callbacks=[bptt.ModelCheckpoint(path)])
    >>> best = bptt.load(path).evaluate(x[10:], -x[10:], loss="mse")
    >>> best == min(history.validation_loss)
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str | None = None,
        mode: str = "auto",
        best_only: bool = True,
    ) -> None:
        super().__init__(monitor, mode)
        self.path = os.fspath(path_of(path))
        try:
            self._fields = {
                name for _, name, _, _ in Formatter().parse(self.path) if name is not None
            }
        except ValueError as error:
            raise ValueError(
                f"path must be a text for str.format, which has {{{{ for a brace, got "
                f"{self.path!r}: {error}"
            ) from None
        self.best_only = check.flag("best_only", best_only)

    def check_names(self, names: list[str]) -> None:
        """Refuse a path with other names in it than "epoch" and those of the history."""
        known = ["epoch", *names, "lr"]
        if unknown := sorted(self._fields - {*known}):
            raise ValueError(
                f"path of ModelCheckpoint may have {', '.join(known)} in braces, got "
                f"{unknown[0]!r}: add it to metrics, or give validation data"
            )

    def on_train_begin(self) -> None:
        """Forget the previous training; see whether the directory exists."""
        folder = Path(self.path).parent
        if not self._fields and not folder.is_dir():
            raise FileNotFoundError(
                f"path of ModelCheckpoint must be in an existing directory, got {self.path!r}"
            )
        super().on_train_begin()

    def _forget(self) -> None:
        super()._forget()
        self.saved: Path | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save the model, if this is the best epoch so far."""
        now = self._now(logs)
        improves = self._improves(now)
        if improves or not self.best_only:
            path = Path(self.path.format(epoch=epoch + 1, **logs))
            self.model.save(path)
            self.saved = path
        if improves:
            self.best, self.best_epoch = now, epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint of `fit`."""
        saved = None if self.saved is None else os.fspath(self.saved)
        return {"best": self.best, "best_epoch": self.best_epoch, "saved": saved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from this state when training begins."""
        best, best_epoch = self._checked(state, set(self.state_dict()))
        saved = None if state["saved"] is None else path_of(state["saved"])
        self.best, self.best_epoch, self.saved = best, best_epoch, saved
        self._resumed = True


@entry
class CSVLogger(Callback):
    """Write a row for every epoch to a CSV file: the epoch, counted from 1, and its numbers.

    The columns are those of `History.to_frame`: "epoch", "loss", "validation_loss" with validation
    data, the metrics, and "lr". Every row is in the file as soon as its epoch is over.

    Parameters
    ----------
    path : str or path
        The file, in an existing directory.
    append : bool, default False
        Whether to add rows to an existing file; otherwise every `fit` begins a new one. A run that
        is resumed writes the epochs after its checkpoint, also those that the file has already.

    Examples
    --------
    >>> import os, tempfile, numpy as np, bptt
    >>> path = os.path.join(tempfile.mkdtemp(), "run.csv")
    >>> model = bptt.Sequential(bptt.Linear(1, 1, bias=False, rng=0))
    >>> model.layers[0].parameters["weight"][:] = 0.0
    >>> x = np.ones((1, 1, 1))
    >>> history = model.fit(x, x, loss="mse", optimizer=bptt.SGD(0.25), epochs=2, progress=False,
    ...                     callbacks=[bptt.CSVLogger(path)])
    >>> print(open(path).read())
    epoch,loss,lr
    1,1.0,0.25
    2,0.25,0.25
    <BLANKLINE>
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path = os.fspath(path_of(path))
        self.append = check.flag("append", append)
        self._file: IO[str] | None = None
        self._columns: list[str] = []

    def on_train_begin(self) -> None:
        """Open the file."""
        self._columns = []
        if self.append and os.path.exists(self.path):
            with open(self.path, encoding="utf-8", newline="") as file:
                self._columns = next(csv.reader(file), [])
        mode = "a" if self.append else "w"
        self._file = open(self.path, mode, encoding="utf-8", newline="")  # noqa: SIM115

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a row, before the first one the names of the columns."""
        assert self._file is not None
        writer, row = csv.writer(self._file, lineterminator="\n"), {"epoch": epoch + 1, **logs}
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        if self._columns != list(row):
            raise ValueError(
                f"{self.path!r} has the columns {', '.join(self._columns)}, this training has "
                f"{', '.join(row)}: give CSVLogger another path, or append=False"
            )
        writer.writerow(row.values())
        self._file.flush()

    def on_train_end(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": None}  # an open file has no copy
