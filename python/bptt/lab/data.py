"""The lab's two data sets: sequences a...ab...bEOS, and airline passengers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Tokens by their numbers.
VOCABULARY = ("a", "b", "EOS", "UNK")


@dataclass(frozen=True)
class TokenSet:
    """Sequences of tokens: `x` each less its last token, `y` each less its first."""

    x: list[Array]
    y: list[Array]


@dataclass(frozen=True)
class SequenceSets:
    """The sequences, split 80/10/10 in their order."""

    train: TokenSet
    validation: TokenSet
    test: TokenSet


def sequence_sets(count: int = 100, seed: int = 2023) -> SequenceSets:
    """Draw the lab's sequences: n times 'a', n times 'b', 'EOS', with n from 1 to 11.

    They come from NumPy's legacy generator, as the lab's do after ``np.random.seed(2023)``; the
    global generator is left alone.

    Parameters
    ----------
    count : int, default 100
        How many sequences.
    seed : int, default 2023
        Of the generator.

    Examples
    --------
    >>> from bptt import lab
    >>> sets = lab.sequence_sets()
    >>> sets.train.x[0]
    array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    >>> len(sets.train.x), len(sets.validation.x), len(sets.test.x)
    (80, 10, 10)
    """
    generator = np.random.RandomState(seed)
    sequences = []
    for _ in range(count):
        n = generator.randint(1, 12)
        sequences.append(np.array([0] * n + [1] * n + [2]))
    ends = [0, int(0.8 * count), int(0.9 * count), count]
    train, validation, test = (
        TokenSet([s[:-1] for s in sequences[a:b]], [s[1:] for s in sequences[a:b]])
        for a, b in pairwise(ends)
    )
    return SequenceSets(train, validation, test)


@dataclass(frozen=True)
class Forecasting:
    """Windows of a series, (N, 4, 1) in float32; `y` is `x` moved by one month."""

    series: Array
    split: int
    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def airline_passengers(window: int = 4) -> Forecasting:
    """Load airline passengers a month from 1949, in thousands, and cut them into windows.

    The first 80 % of the 144 months are for training.

    Parameters
    ----------
    window : int, default 4
        Months in a window.

    Examples
    --------
    >>> from bptt import lab
    >>> data = lab.airline_passengers()
    >>> data.series[:3], data.train_x.shape, data.test_x.shape
    (array([112., 118., 132.], dtype=float32), (111, 4, 1), (25, 4, 1))
    """
    text = files("bptt.lab").joinpath("airline-passengers.csv").read_text(encoding="utf-8")
    series = np.array([line.split(",")[1] for line in text.split()[1:]], dtype=np.float32)
    split = int(0.8 * len(series))

    def windows(part: Array) -> tuple[Array, Array]:
        starts = range(len(part) - window)
        x = np.stack([part[n : n + window] for n in starts])[..., None]
        y = np.stack([part[n + 1 : n + 1 + window] for n in starts])[..., None]
        return x, y

    train_x, train_y = windows(series[:split])
    test_x, test_y = windows(series[split:])
    return Forecasting(series, split, train_x, train_y, test_x, test_y)
