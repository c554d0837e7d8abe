"""Progress of work over sequences, and what all displays of progress write alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from bptt._support.screen import Screen

#: Seconds after which a call into Rust returns, so that Python can draw progress and see Ctrl-C.
SLICE = 0.1

#: Seconds after which prediction and evaluation show progress. Most runs are shorter.
PATIENCE = 2.0


def duration(seconds: float) -> str:
    """Return a duration in words: the larger units only."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours} h"


def fitted(parts: list[str], width: int | None) -> str:
    """Join as many of the parts as fit, the first ones first; cut the first if it is too long."""
    text = parts[0]
    for part in parts[1:]:
        if width is None or len(text) + 2 + len(part) <= width:
            text += f", {part}"
    return text if width is None else text[:width]


def bar_html(fraction: float) -> str:
    """Return a bar that is filled to this fraction."""
    return f'<progress value="{fraction:.4f}" max="1" style="width:480px"></progress>'


class SequenceProgress:
    """Shows how many sequences are done, after `PATIENCE` seconds."""

    def __init__(self, doing: str, total: int | None, wanted: bool) -> None:
        self._doing, self._total, self._done, self._ended = doing, total, 0, False
        self._begin = time.perf_counter()
        self._screen = Screen(self, wanted, PATIENCE)

    def advance(self, done: int) -> None:
        """Set how many sequences are done."""
        self._done = done
        if done != self._total:
            self._screen.redraw()

    def end(self) -> None:
        """Show the end, if anything was shown."""
        self._ended = True
        if self._screen.drawn:
            self._screen.end()

    def line(self, width: int | None) -> str:
        """Return the number of sequences and the time left."""
        seconds = time.perf_counter() - self._begin
        if self._ended:
            return f"{self._doing}: {self._done} sequences in {duration(seconds)}"
        if self._total is None:
            return fitted([f"{self._doing}: {self._done} sequences", duration(seconds)], width)
        parts = [f"{self._doing}: {self._done} of {self._total} sequences"]
        if self._done:
            left = seconds * (self._total / self._done - 1)
            parts.append(f"{duration(left)} left")
        return fitted(parts, width)

    def html(self) -> str:
        """Return the same, and a bar until the end."""
        bar = ""
        if self._total is not None and not self._ended:
            bar = f"<br>{bar_html(self._done / self._total)}"
        return f"<div>{escape(self.line(None))}{bar}</div>"


@contextmanager
def sequence_progress(doing: str, total: int | None, wanted: bool) -> Iterator[SequenceProgress]:
    """Show progress over sequences until the end of the block."""
    progress = SequenceProgress(doing, total, wanted)
    try:
        yield progress
    finally:
        progress.end()
