"""The rules of the comparison: what a case, a library and a contender are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Results = dict[str, Array]


class UnsupportedError(Exception):
    """A library cannot compute a case; the message says why."""


@dataclass(frozen=True)
class Contender:
    """One way to compute a case.

    Parameters
    ----------
    name : str
        The name of the library, with the way if it has several.
    run : callable
        Does the work and nothing else, and returns when all of it is done.
    results : callable
        Does the work once from the start and returns all results as arrays by name. The runner
        compares the results of all contenders; it does not time this.
    units : int, default 1
        How many times `run` does the work.
    """

    name: str
    run: Callable[[], object]
    results: Callable[[], Results]
    units: int = 1


class Case(Protocol):
    """A row of a table in one mode; `cases` has the kinds of cases."""

    @property
    def group(self) -> str:
        """The table of this row."""

    @property
    def label(self) -> str:
        """The name of the row, the same in all modes."""

    @property
    def mode(self) -> str:
        """``"infer"`` or ``"train"``."""

    @property
    def double(self) -> bool:
        """Whether the numbers are float64."""

    @property
    def tolerance(self) -> float:
        """The largest difference between results, relative to the largest number of an array."""

    @property
    def flops(self) -> int | None:
        """The number of floating-point operations; None if they are not counted."""

    @property
    def required(self) -> set[str]:
        """The names of the results that every contender must compute."""

    def data(self) -> Any:
        """Return the data of the case, the same in every call."""

    def ask(self, library: Any, data: Any) -> list[Contender]:
        """Return the contenders of a library, or raise an UnsupportedError."""


class Library(Protocol):
    """A package that takes part. Its other methods are those that cases call."""

    name: str
    version: str
