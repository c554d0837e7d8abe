"""Progress bars (tqdm) over epochs or sequences."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bptt._support.extras import require
from bptt._support.warn import warn

#: Seconds after which a call into Rust returns, so that Python can draw progress and see Ctrl-C.
SLICE = 0.1

#: Seconds after which prediction and evaluation show a bar. Most runs are shorter.
PATIENCE = 2.0


def _tqdm() -> Any:
    """Return tqdm's class; without tqdm, warn and return None, so that the work goes on."""
    try:
        return require("tqdm.auto", "progress").tqdm
    except ImportError as error:
        warn(f"no progress bar: {error}")
        return None


class Bar:
    """A tqdm bar over epochs, or nothing."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def within(self, fraction: float) -> None:
        """Show what fraction of an epoch is done."""
        if self._bar is not None and fraction < 1:
            self._bar.set_postfix_str(f"{fraction:.0%} of epoch")

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
    """Open a bar over epochs, if one is wanted and tqdm is installed."""
    tqdm = _tqdm() if wanted else None
    if tqdm is None:
        yield Bar(None)
        return
    with tqdm(total=epochs, unit="epoch") as bar:
        yield Bar(bar)


class SequenceBar:
    """A tqdm bar over sequences, which appears after `PATIENCE` seconds."""

    def __init__(self, total: int | None, wanted: bool) -> None:
        self._total, self._wanted = total, wanted
        self._start, self._bar = time.perf_counter(), None

    def advance(self, done: int) -> None:
        """Set how many sequences are done."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif self._wanted and done != self._total and time.perf_counter() - self._start > PATIENCE:
            if (tqdm := _tqdm()) is None:
                self._wanted = False
                return
            self._bar = tqdm(total=self._total, initial=done, unit="sequence")

    def close(self) -> None:
        """Close the bar, if there is one."""
        if self._bar is not None:
            self._bar.close()


#: A bar that is never shown.
QUIET = SequenceBar(None, False)


@contextmanager
def sequence_bar(total: int | None, wanted: bool) -> Iterator[SequenceBar]:
    """Give a bar over sequences, which is closed at the end of the block."""
    bar = SequenceBar(total, wanted)
    try:
        yield bar
    finally:
        bar.close()
