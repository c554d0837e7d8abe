"""The two data sets of the lab: sequences a...ab...bEOS, and airline passengers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._support import check

Array = NDArray[Any]

#: The tokens in the order of their numbers.
VOCABULARY = ("a", "b", "EOS", "UNK")

#: A sequence of tokens, as names or numbers.
Tokens = Sequence[str] | Sequence[int] | NDArray[Any]


def generate_data(num_sequences: int = 100) -> list[list[str]]:
    """Draw sequences: n times 'a', n times 'b', 'EOS', with n from 1 to 11.

    The draws come from NumPy's global generator: after ``np.random.seed(2023)`` they are the
    sequences of the notebook.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import lab
    >>> np.random.seed(2023)
    >>> "".join(lab.generate_data()[0])
    'aaaaaaaabbbbbbbbEOS'
    """
    count = check.size("num_sequences", num_sequences, least=0)
    return _draw(np.random, count)


def _draw(generator: Any, count: int) -> list[list[str]]:
    numbers = (int(generator.randint(1, 12)) for _ in range(count))
    return [["a"] * n + ["b"] * n + ["EOS"] for n in numbers]


def seqs_to_dicts(
    sequences: Sequence[Sequence[str]],
) -> tuple[dict[str, int], dict[int, str], int, int]:
    """Give numbers to the tokens by descending frequency, the last number to 'UNK'.

    Returns
    -------
    word_to_idx, idx_to_word : dict
        From tokens to numbers, and from numbers to tokens.
    num_sequences, vocab_size : int
        The number of sequences and of different tokens, including 'UNK'.

    Examples
    --------
    >>> from bptt import lab
    >>> lab.seqs_to_dicts([["a", "a", "b", "EOS"], ["a", "b", "EOS"]])[0]
    {'a': 0, 'b': 1, 'EOS': 2, 'UNK': 3}
    """
    counts = Counter(token for sequence in sequences for token in sequence)
    words = [
        word for word, _ in counts.most_common()
    ]  # of equal counts, the first seen comes first
    words.append("UNK")
    word_to_idx = {word: n for n, word in enumerate(words)}
    return word_to_idx, dict(enumerate(words)), len(sequences), len(words)


class PairSet(list[tuple[Tokens, Tokens]]):
    """A list of pairs (inputs, targets): the default class of `create_datasets`.

    Parameters
    ----------
    inputs, targets : sequence of sequences
        Each sequence without its last token, and without its first token.
    """

    def __init__(self, inputs: Sequence[Tokens], targets: Sequence[Tokens]) -> None:
        super().__init__(zip(inputs, targets, strict=True))


def create_datasets(
    sequences: Sequence[Tokens],
    dataset_class: Callable[[list[Tokens], list[Tokens]], Any] = PairSet,
    p_train: float = 0.8,
    p_val: float = 0.1,
    p_test: float = 0.1,
) -> tuple[Any, Any, Any]:
    """Split sequences, in their order, into three data sets of inputs and targets.

    The input is a sequence without its last token, the target the sequence without its first token.

    Parameters
    ----------
    sequences : sequence of sequences
        As from `generate_data`.
    dataset_class : callable, default `PairSet`
        Called with inputs and targets, such as a subclass of torch.utils.data.Dataset.
    p_train, p_val, p_test : float, default 0.8, 0.1, 0.1
        The fractions of the three sets; they add up to 1.

    Returns
    -------
    training_set, validation_set, test_set
        Each a `dataset_class`.

    Examples
    --------
    >>> from bptt import lab
    >>> train, validation, test = lab.create_datasets(lab.generate_data(100))
    >>> len(train), len(validation), len(test)
    (80, 10, 10)
    """
    fractions = [
        check.real(n, p) for n, p in (("p_train", p_train), ("p_val", p_val), ("p_test", p_test))
    ]
    if not (min(fractions) >= 0 and abs(sum(fractions) - 1) <= 1e-9):
        raise ValueError(
            f"p_train, p_val and p_test must be at least 0 and add up to 1, got {fractions}"
        )
    ends = [0, *(round(fraction * len(sequences)) for fraction in np.cumsum(fractions))]
    train, validation, test = (
        dataset_class([s[:-1] for s in part], [s[1:] for s in part])
        for part in (sequences[start:end] for start, end in pairwise(ends))
    )
    return train, validation, test


def token_numbers(tokens: Tokens, word_to_idx: Mapping[str, int] | None = None) -> Array:
    """Return tokens as numbers; a name that is not in the vocabulary becomes 'UNK'."""
    if not isinstance(tokens, (list, tuple, str)):
        array = check.array_of("a sequence of tokens", tokens)
        if array.dtype.kind not in "OU":  # names
            return array
        if array.ndim != 1:
            raise ValueError(f"a sequence of tokens must be (T,), got shape {array.shape}")
        tokens = array.tolist()
    if word_to_idx is None:
        word_to_idx = _WORD_TO_IDX
    unknown = word_to_idx.get("UNK")
    numbers = [
        word_to_idx.get(token, unknown) if isinstance(token, str) else token for token in tokens
    ]
    if None in numbers:
        raise ValueError(
            f"{tokens[numbers.index(None)]!r} is not in word_to_idx, and neither is 'UNK'"
        )
    return np.array(numbers, dtype=np.intp if not numbers else None)


_WORD_TO_IDX = {word: n for n, word in enumerate(VOCABULARY)}


def one_hot_encode_sequence(
    sequence: Tokens, vocab_size: int = 4, word_to_idx: Mapping[str, int] | None = None
) -> Array:
    """Return the one-hot columns of a sequence.

    Parameters
    ----------
    sequence : sequence of str or int
        T tokens, as names or numbers.
    vocab_size : int, default 4
        The number of different tokens (V).
    word_to_idx : mapping of str to int, optional
        The numbers of the names; by default a=0, b=1, EOS=2, UNK=3.

    Returns
    -------
    ndarray
        (T, V, 1), float64.

    Examples
    --------
    >>> from bptt import lab
    >>> lab.one_hot_encode_sequence(["a", "EOS"], 4)[..., 0]
    array([[1., 0., 0., 0.],
           [0., 0., 1., 0.]])
    """
    size = check.size("vocab_size", vocab_size)
    numbers = check.classes("sequence", token_numbers(sequence, word_to_idx), size)
    if numbers.ndim != 1:
        raise ValueError(f"sequence must be one sequence of tokens, got shape {numbers.shape}")
    encoding = np.zeros((len(numbers), size, 1))
    encoding[np.arange(len(numbers)), numbers] = 1
    return encoding


@dataclass(frozen=True)
class TokenSet:
    """Sequences of tokens: `x` without their last tokens, `y` without their first tokens."""

    x: list[Array]
    y: list[Array]


@dataclass(frozen=True)
class SequenceSets:
    """The sequences of the lab, split 80/10/10 in their order."""

    train: TokenSet
    validation: TokenSet
    test: TokenSet


def sequence_sets(count: int = 100, seed: int = 2023) -> SequenceSets:
    """Draw the sequences of the lab: n times 'a', n times 'b', 'EOS', with n from 1 to 11.

    The draws are those of NumPy's legacy generator, as in the lab after ``np.random.seed(2023)``.
    The global generator does not change.

    Parameters
    ----------
    count : int, default 100
        The number of sequences.
    seed : int, default 2023
        The seed of the generator.

    Examples
    --------
    >>> from bptt import lab
    >>> sets = lab.sequence_sets()
    >>> sets.train.x[0]
    array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    >>> len(sets.train.x), len(sets.validation.x), len(sets.test.x)
    (80, 10, 10)
    """
    count = check.size("count", count, least=0)
    pairs = create_datasets(
        [token_numbers(tokens) for tokens in _draw(np.random.RandomState(seed), count)]
    )
    train, validation, test = (
        TokenSet([x for x, _ in part], [y for _, y in part]) for part in pairs
    )
    return SequenceSets(train, validation, test)


@dataclass(frozen=True)
class Forecasting:
    """Windows of a series, (N, 4, 1) in float32; `y` is `x` shifted by one month."""

    series: Array
    split: int
    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def airline_passengers(window: int = 4) -> Forecasting:
    """Load the airline passengers per month from 1949, in thousands, and cut them into windows.

    The first 80 % of the 144 months are training data.

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
    window = check.size("window", window)
    text = files("bptt.lab").joinpath("airline-passengers.csv").read_text(encoding="utf-8")
    series = np.array([line.split(",")[1] for line in text.split()[1:]], dtype=np.float32)
    split = int(0.8 * len(series))
    longest = len(series) - split - 1
    if window > longest:
        raise ValueError(f"window must be at most {longest}, got {window}")

    def windows(part: Array) -> tuple[Array, Array]:
        starts = range(len(part) - window)
        x = np.stack([part[n : n + window] for n in starts])[..., None]
        y = np.stack([part[n + 1 : n + 1 + window] for n in starts])[..., None]
        return x, y

    train_x, train_y = windows(series[:split])
    test_x, test_y = windows(series[split:])
    return Forecasting(series, split, train_x, train_y, test_x, test_y)
