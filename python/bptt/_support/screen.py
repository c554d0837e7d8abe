"""Where progress is shown: an output of a notebook that is updated, a line of a terminal, or lines.

Drawing never ends the work that it shows: a place that fails is replaced by a simpler one. It takes
about half a hundredth of the time at most: after a drawing of t seconds, the next waits for 200 t.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import weakref
from typing import Any, Protocol, TextIO

#: How many times as long as a drawing took the next one waits.
CARE = 200


class Picture(Protocol):
    """What is drawn, again and again, with the numbers of the moment."""

    def line(self, width: int | None) -> str:
        """Return the numbers as a line of ASCII, of at most so many characters."""

    def html(self) -> str:
        """Return the numbers as HTML that needs no script and survives in a saved notebook."""


class Place(Protocol):
    """Somewhere to draw."""

    def draw(self, picture: Picture, last: bool) -> None:
        """Draw the picture in the place of the one before; `last` ends it."""

    def pause(self, seconds: float) -> float:
        """Return after how many seconds to draw again in a run that has taken `seconds`."""

    def instead(self) -> Place | None:
        """Return where to draw after this place has failed."""


class Notebook:
    """One output of a notebook's cell, updated by IPython: in JupyterLab, VS Code, Colab alike."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, picture: Picture, last: bool) -> None:
        """Show HTML, with the line for what shows text alone."""
        bundle = {"text/plain": picture.line(None), "text/html": picture.html()}
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def pause(self, seconds: float) -> float:
        """Return 0.25 s, in long runs up to 1 s."""
        return min(max(0.25, seconds / 100), 1.0)

    def instead(self) -> Place | None:
        """Go on with lines."""
        return _lines()


class Terminal:
    """One line of a terminal, which is written over itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._shown = stream, 0  # characters

    def draw(self, picture: Picture, last: bool) -> None:
        """Write the line over the one before; the last one may be longer than a row."""
        text = picture.line(None if last else self._width())
        self._stream.write("\r" + text.ljust(self._shown) + ("\n" if last else ""))
        self._stream.flush()
        self._shown = len(text)

    def _width(self) -> int:
        """Return how many characters fit: the last column stays empty, where cursors wrap."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError, AttributeError):
            columns = 0
        return (columns or 80) - 1

    def pause(self, seconds: float) -> float:
        """Return 0.1 s."""
        return 0.1

    def instead(self) -> Place | None:
        """Go on in silence: the stream takes nothing."""
        return None


class Lines:
    """Line after line, sparingly: for files, pipes and terminals that cannot go back."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def draw(self, picture: Picture, last: bool) -> None:
        """Write a line."""
        self._stream.write(picture.line(None) + "\n")
        self._stream.flush()

    def pause(self, seconds: float) -> float:
        """Return 5 s, in long runs a tenth of the time so far."""
        return max(5.0, seconds / 10)

    def instead(self) -> Place | None:
        """Go on in silence: the stream takes nothing."""
        return None


def _shell() -> Any:
    """Return IPython's shell if it is that of a notebook's kernel, otherwise None."""
    try:
        shell = sys.modules["IPython"].get_ipython()
    except Exception:  # there is none, or one that does not work
        return None
    return None if getattr(shell, "kernel", None) is None else shell


def _lines() -> Place | None:
    return None if sys.stderr is None else Lines(sys.stderr)


def _terminal() -> Place | None:
    stream = sys.stderr
    try:
        redraws = stream.isatty() and os.environ.get("TERM") != "dumb"
    except Exception:  # no stream, a closed one, or one that has no isatty
        redraws = False
    return Terminal(stream) if redraws else None


def _place() -> Place | None:
    return Notebook() if _shell() is not None else _terminal() or _lines()


def redraws() -> bool:
    """Tell whether what is shown can be updated: in a notebook or a terminal."""
    return isinstance(_place(), (Notebook, Terminal))


class Screen:
    """Shows a picture and redraws it when it is time.

    Parameters
    ----------
    picture : Picture
        What to show.
    wanted : bool
        Whether to show anything.
    patience : float
        Seconds until the first drawing.
    """

    def __init__(self, picture: Picture, wanted: bool, patience: float) -> None:
        self._picture = picture
        self._place = _place() if wanted else None
        self._begin = time.perf_counter()
        wait = patience
        if isinstance(self._place, Lines):
            wait = max(patience, self._place.pause(0.0))
        self._next = self._begin + wait
        self.drawn = False

    @property
    def due(self) -> bool:
        """Whether it is time to draw."""
        return self._place is not None and time.perf_counter() >= self._next

    def redraw(self) -> None:
        """Draw, if it is time."""
        if self.due:
            self._draw(last=False)

    def end(self) -> bool:
        """Draw for the last time; tell whether a notebook shows the picture now."""
        self._draw(last=True)
        in_notebook, self._place = isinstance(self._place, Notebook), None
        return in_notebook

    def _draw(self, last: bool) -> None:
        begin = time.perf_counter()
        while self._place is not None:
            try:
                self._place.draw(self._picture, last)
                self.drawn = True
                break
            except Exception:
                self._place = self._place.instead()
        if self._place is not None:
            now = time.perf_counter()
            pause = self._place.pause(now - self._begin)
            self._next = now + max(pause, CARE * (now - begin))


#: The number of the last cell of the notebook that has shown something, and the objects shown.
_shown: tuple[int, list[weakref.ref[Any]]] = (0, [])


def mark_shown(thing: object) -> None:
    """Remember that the cell that runs has shown this object."""
    global _shown
    if (shell := _shell()) is not None:
        cell, shown = _shown
        earlier = shown if cell == shell.execution_count else []
        _shown = shell.execution_count, [*earlier, weakref.ref(thing)]


def is_shown(thing: object) -> bool:
    """Tell whether the cell that runs has shown this object already."""
    shell, (cell, shown) = _shell(), _shown
    if shell is None or cell != shell.execution_count:
        return False
    return any(known() is thing for known in shown)
