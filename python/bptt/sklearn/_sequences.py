"""Reads X as sequences, with scikit-learn's checks, and scales them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, validate_data

from bptt._support.check import unmasked

Array = NDArray[np.float64]
Sequences = Array | list[Array]  # (n, T, F), or n arrays (T_i, F)

FORMS = "a table (n, T), an array (n, T, F) or a list of n arrays (T_i,) or (T_i, F)"


def read_sequences(estimator: Any, X: Any, *, reset: bool) -> Sequences:
    """Return X as (n, T, F) or n arrays (T_i, F) of finite float64.

    With `reset` the estimator stores n_features_in_: the number of columns of a table, as
    everywhere in scikit-learn, otherwise F. Without it, X must agree with the stored number.
    """
    unmasked("X", _as_list(X))
    is_table = not is_list_of_arrays(X) and rank(X) != 3
    if is_table and (reset or estimator._from_table):
        table: Array = validate_data(estimator, X, dtype=np.float64, reset=reset)
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
    unmasked("X", _as_list(X))
    if is_list_of_arrays(X):
        parts = [_read_one(n, part) for n, part in enumerate(_as_list(X))]
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


def is_list_of_arrays(X: Any) -> bool:
    """Tell whether X is a list of sequences, not a table in the form of a list of lists."""
    X = _as_list(X)
    if not isinstance(X, (list, tuple)) or not X:
        return False
    if any(isinstance(part, (str, bytes, dict)) or not hasattr(part, "__len__") for part in X):
        return False
    # A 0-D array has `__len__`, but no length.
    if any(getattr(part, "ndim", 1) == 0 for part in X):
        return False
    return any(hasattr(part, "__array__") for part in X) or len({len(part) for part in X}) > 1


def _as_list(X: Any) -> Any:
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
    """The mean and the standard deviation of each feature; 0 and 1 without scaling."""

    mean: Array  # (F,)
    std: Array  # (F,)

    @classmethod
    def of(cls, rows: Array, wanted: bool) -> Scale:
        """Return the scale of the columns of an array (rows, F)."""
        features = rows.shape[1]
        if not wanted:
            return cls(np.zeros(features), np.ones(features))
        mean, std = rows.mean(axis=0), rows.std(axis=0)
        # A constant feature has deviation 0, or a little more by rounding: do not divide by it.
        constant = std <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, std))

    def apply(self, rows: Array) -> NDArray[np.float32]:
        """Return (..., F) in the units of the model."""
        return ((rows - self.mean) / self.std).astype(np.float32)

    def undo(self, rows: NDArray[np.float32]) -> Array:
        """Return (..., F) in the units of the user."""
        return rows.astype(np.float64) * self.std + self.mean
