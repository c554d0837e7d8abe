"""Progress of long work: a tqdm bar over epochs, or over sequences."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bptt._support.extras import require

#: Seconds that a call into Rust works before Python draws progress and hears Ctrl-C.
SLICE = 0.1

#: Seconds after which predicting and evaluating get a bar: mostly they are short, and quiet.
PATIENCE = 2.0


def _tqdm() -> Any:
    """Return tqdm's class, or None with a warning: for want of a bar nobody is kept waiting."""
    try:
        return require("tqdm.auto", "progress").tqdm
    except ImportError as error:
        # Above this: the bar, a loop, predict or evaluate, who called it.
        warnings.warn(f"no progress bar: {error}", stacklevel=5)
        return None


class Bar:
    """A tqdm bar over epochs, or nothing."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def within(self, share: float) -> None:
        """Show how far a long epoch has come."""
        if self._bar is not None and share < 1:
            self._bar.set_postfix_str(f"{share:.0%} of epoch")

    def advance(self, loss: float, validation: float | None = None) -> None:
        """Count an epoch and show its losses."""
        if self._bar is not None:
            text = f"loss {loss:.4g}"
            if validation is not None:
                text += f", validation {validation:.4g}"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()


@contextmanager
def progress_bar(epochs: int, wanted: bool) -> Iterator[Bar]:
    """Open a bar over epochs, if it is wanted and tqdm is there."""
    tqdm = _tqdm() if wanted else None
    if tqdm is None:
        yield Bar(None)
        return
    with tqdm(total=epochs, unit="epoch") as bar:
        yield Bar(bar)


class SequenceBar:
    """A tqdm bar over sequences, once the work has taken long."""

    def __init__(self, total: int | None, wanted: bool) -> None:
        self._total, self._wanted = total, wanted
        self._start, self._bar = time.perf_counter(), None

    def advance(self, done: int) -> None:
        """Tell how many sequences are done."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif self._wanted and done != self._total and time.perf_counter() - self._start > PATIENCE:
            if (tqdm := _tqdm()) is None:
                self._wanted = False
                return
            self._bar = tqdm(total=self._total, initial=done, unit="sequence")

    def close(self) -> None:
        """End the bar, if there is one."""
        if self._bar is not None:
            self._bar.close()


#: No bar at all.
QUIET = SequenceBar(None, False)


@contextmanager
def sequence_bar(total: int | None, wanted: bool) -> Iterator[SequenceBar]:
    """Give a bar over sequences for work that may become long."""
    bar = SequenceBar(total, wanted)
    try:
        yield bar
    finally:
        bar.close()
