"""Reads X as sequences, with scikit-learn's checks, and scales them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, validate_data

from bptt._support.check import unmasked
from bptt.sklearn._frames import check_table, is_labelled, is_panel, panel_sequences, read_one

Array = NDArray[np.float64]
Sequences = Array | list[Array]  # (n, T, F), or n arrays (T_i, F)

#: Numbers so many deviations from the mean of the training data do not share their scale.
FAR = 1000.0

FORMS = "a table (n, T), an array (n, T, F) or a list of n arrays (T_i,) or (T_i, F)"


def read_sequences(estimator: Any, X: Any, *, reset: bool, y: Any = None) -> Sequences:
    """Return X as (n, T, F) or n arrays (T_i, F) of finite float64.

    With `reset` the estimator stores n_features_in_: the number of columns of a table, as
    everywhere in scikit-learn, otherwise F. Without it, X must agree with the stored number.
    """
    unmasked("X", as_list(X))
    if (reset or not estimator._from_table) and is_panel(X) and not _has_length(y, len(X)):
        X = panel_sequences(X, y)
    is_table = not is_list_of_arrays(X) and rank(X) != 3
    if is_table and (reset or estimator._from_table):
        if is_labelled(X) and X.shape[0] != X.shape[1] and _has_length(y, X.shape[1]):
            raise ValueError(
                f"X has {X.shape[0]} rows and {X.shape[1]} columns, y has {X.shape[1]} entries: "
                f"each row of a table is a sequence; for {X.shape[1]} sequences in columns, give "
                "X.to_numpy().T"
            )
        table: Array = validate_data(estimator, check_table(X), dtype=np.float64, reset=reset)
        if reset:
            estimator._from_table, estimator._input_size = True, 1
        return table[:, :, None]
    sequences = to_sequences(X)
    learn_features(estimator, sequences, reset=reset)
    return sequences


def learn_features(estimator: Any, sequences: Sequences, *, reset: bool) -> None:
    """Store the number of features of a step, or check that it is the stored number."""
    features = sequences[0].shape[1]
    if reset:
        estimator._from_table, estimator._input_size = False, features
        estimator.n_features_in_ = features
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif features != estimator._input_size:
        raise ValueError(
            f"X has {features} features a step, but {type(estimator).__name__} is expecting "
            f"{estimator._input_size} features a step as in fit"
        )


def to_sequences(X: Any) -> Sequences:
    """Return X as (n, T, F) or n arrays (T_i, F) of finite float64."""
    unmasked("X", as_list(X))
    if is_list_of_arrays(X):
        parts = [_read_one(n, part) for n, part in enumerate(as_list(X))]
        features = parts[0].shape[1]
        for n, part in enumerate(parts):
            if part.shape[1] != features:
                raise ValueError(
                    f"all sequences must have the same number of features, got {features} in X[0] "
                    f"and {part.shape[1]} in X[{n}]"
                )
        return parts
    array: Array = check_array(X, dtype=np.float64, allow_nd=True, input_name="X")
    if array.ndim > 3:
        raise ValueError(f"X must be {FORMS}, got an array of shape {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"X must have steps and features, got shape {array.shape}")
    return array if array.ndim == 3 else array[:, :, None]


def _has_length(y: Any, length: int) -> bool:
    return hasattr(y, "__len__") and len(y) == length


def is_list_of_arrays(X: Any) -> bool:
    """Tell whether X is a list of sequences, not a table in the form of a list of lists."""
    X = as_list(X)
    if not isinstance(X, (list, tuple)) or not X:
        return False
    if any(isinstance(part, (str, bytes, dict)) or not hasattr(part, "__len__") for part in X):
        return False
    # A 0-D array has `__len__`, but no length.
    if any(getattr(part, "ndim", 1) == 0 for part in X):
        return False
    return any(hasattr(part, "__array__") for part in X) or len({len(part) for part in X}) > 1


def as_list(X: Any) -> Any:
    """Return an array or pandas Series of objects as a list; other X as it is."""
    kind = getattr(getattr(X, "dtype", None), "kind", None)
    objects = kind == "O" and getattr(X, "ndim", None) == 1
    return list(X) if objects else X


def rank(X: Any) -> int | None:
    """Return the number of dimensions; None if there is none, which scikit-learn then refuses."""
    if hasattr(X, "ndim"):
        return int(X.ndim)
    try:
        return np.asarray(X).ndim
    except ValueError:
        return None


def _read_one(n: int, part: Any) -> Array:
    name = f"X[{n}]"
    if is_labelled(part):
        part = read_one(part, name)[0]
    array: Array = check_array(
        part, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name=name
    )
    if array.ndim not in (1, 2):
        raise ValueError(f"X must be {FORMS}, got {name} of shape {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"{name} must have steps and features, got shape {array.shape}")
    return array if array.ndim == 2 else array[:, None]


def take(sequences: Sequences, rows: NDArray[np.intp]) -> Sequences:
    """Return some of the sequences."""
    if isinstance(sequences, list):
        return [sequences[row] for row in rows]
    return sequences[rows]


@dataclass(frozen=True)
class Scale:
    """The mean and the standard deviation of each feature; 0 and 1 without scaling.

    Data are first divided by a power of two, which is exact, so that sums and squares of numbers
    near the ends of float64's range stay within it. Mean and deviation are those of the quotients.
    """

    mean: Array  # (F,)
    std: Array  # (F,); for a constant feature its size, or 1
    exponent: Any = 0  # (F,), of two
    constant: Any = False  # (F,)

    @classmethod
    def of(cls, rows: Array, wanted: bool = True) -> Scale:
        """Return the scale of the columns of an array (rows, F)."""
        if not wanted:
            return cls.none(rows.shape[1])
        exponent = exponent_of(rows)
        rows = np.ldexp(rows, -exponent)
        mean, std = rows.mean(axis=0), rows.std(axis=0)
        # A constant feature has deviation 0, or a little more by rounding: do not divide by it.
        constant = std <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        mean = np.where(constant, rows[0], mean)
        std = np.where(constant, np.where(mean == 0, 1.0, np.abs(mean)), std)
        return cls(mean, std, exponent, constant)

    @classmethod
    def none(cls, features: int) -> Scale:
        """Return the scale that changes nothing."""
        return cls(np.zeros(features), np.ones(features))

    @property
    def deviation(self) -> Array:
        """The standard deviations in the units of the user."""
        deviation: Array = np.ldexp(self.std, self.exponent)
        return deviation

    def standard(self, rows: Array) -> Array:
        """Return (..., F), how many deviations the rows are from the mean."""
        with np.errstate(over="ignore"):  # infinite, if float64 cannot hold it
            standard: Array = (np.ldexp(rows, -self.exponent) - self.mean) / self.std
        return standard

    def restore(self, rows: Array) -> Array:
        """Return (..., F) in the units of the user."""
        restored: Array = np.ldexp(rows * self.std + self.mean, self.exponent)
        return restored

    def apply(self, rows: Array, name: str = "X") -> NDArray[np.float32]:
        """Return (..., F) in the units of the model."""
        standard = self.standard(rows)
        if standard.size and not np.abs(standard).max() <= np.finfo(np.float32).max:
            worst = rows.flat[np.abs(standard).argmax()]
            raise ValueError(
                f"{name} holds {worst:g}, which is too large for the float32 of the network in the "
                "scale of the training data: give data in the units of the training data"
            )
        return standard.astype(np.float32)

    def undo(self, rows: NDArray[np.float32]) -> Array:
        """Return (..., F) in the units of the user, from those of the model."""
        return self.restore(rows.astype(np.float64))


def exponent_of(rows: Array) -> NDArray[np.intc]:
    """Return, for each column, the power of two that brings its largest number to [0.5, 1)."""
    exponent: NDArray[np.intc] = np.frexp(np.abs(rows).max(axis=0))[1]
    return exponent


def r_squared(targets: Array, predictions: Array, sample_weight: Any = None) -> float:
    """Return R^2, for numbers of any size."""
    exponent = exponent_of(targets)
    targets, predictions = np.ldexp(targets, -exponent), np.ldexp(predictions, -exponent)
    return float(r2_score(targets, predictions, sample_weight=sample_weight))
