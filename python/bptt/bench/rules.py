"""The rules of the comparison: what a row, a library that takes part and its contenders are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Results = dict[str, Array]


class UnsupportedError(Exception):
    """A library does not have what a row asks for; the message says what."""


@dataclass(frozen=True)
class Contender:
    """One way of doing the work of a row.

    Parameters
    ----------
    name : str
        The library, and where it has several ways, which.
    run : callable
        The work, and nothing else; returns when all of it is done.
    results : callable
        Does the work once from the beginning and gives everything that it computes, as arrays by
        name. Not timed: the runner compares the results of all contenders.
    units : int, default 1
        How many times `run` does the work.
    """

    name: str
    run: Callable[[], object]
    results: Callable[[], Results]
    units: int = 1


class Case(Protocol):
    """A row of a table in one mode; cases.py has the kinds of them."""

    @property
    def group(self) -> str:
        """The table."""

    @property
    def label(self) -> str:
        """What the row is called, the same in all modes."""

    @property
    def mode(self) -> str:
        """``"infer"`` or ``"train"``."""

    @property
    def double(self) -> bool:
        """Whether the numbers are float64."""

    @property
    def tolerance(self) -> float:
        """How far results may be apart, as a share of the largest number of an array."""

    @property
    def flops(self) -> int | None:
        """Floating-point operations of the work; None if they are not counted."""

    @property
    def required(self) -> set[str]:
        """Names of the results that every contender must compute."""

    def data(self) -> Any:
        """Return what the work is done on, the same every time."""

    def ask(self, library: Any, data: Any) -> list[Contender]:
        """Return a library's contenders, or raise an UnsupportedError."""


class Library(Protocol):
    """A package that takes part. What else it must have is what the cases ask it for."""

    name: str
    version: str
