"""What users give as X and y: sequences, read as scikit-learn reads tables, and their scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, validate_data

Array = NDArray[np.float64]
Sequences = Array | list[Array]  # (n, T, F), or n arrays (T_i, F)

FORMS = "a table (n, T), an array (n, T, F) or a list of n arrays (T_i,) or (T_i, F)"


def read_sequences(estimator: Any, X: Any, *, reset: bool) -> Sequences:
    """Return X as (n, T, F) or n arrays (T_i, F) of finite float64.

    With `reset` the estimator learns what it is given: n_features_in_ is the number of a table's
    columns, as everywhere in scikit-learn, else F. Without, X must agree with that.
    """
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
    """Have the estimator learn how many features a step has, or see that they are as many."""
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
    if is_list_of_arrays(X):
        parts = [_read_one(n, part) for n, part in enumerate(_as_list(X))]
        features = parts[0].shape[1]
        for n, part in enumerate(parts):
            if part.shape[1] != features:
                raise ValueError(
                    f"all sequences must have as many features, got {features} in X[0] and "
                    f"{part.shape[1]} in X[{n}]"
                )
        return parts
    array: Array = check_array(X, dtype=np.float64, allow_nd=True, input_name="X")
    if array.ndim > 3:
        raise ValueError(f"X must be {FORMS}, got an array of shape {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"X of shape {array.shape} has no steps or no features")
    return array if array.ndim == 3 else array[:, :, None]


def is_list_of_arrays(X: Any) -> bool:
    """Tell whether X is a list of sequences rather than a table written as a list of lists."""
    X = _as_list(X)
    if not isinstance(X, (list, tuple)) or not X:
        return False
    if any(isinstance(part, (str, bytes, dict)) or not hasattr(part, "__len__") for part in X):
        return False
    # Without a length: what has no dimensions, as NumPy's numbers.
    if any(getattr(part, "ndim", 1) == 0 for part in X):
        return False
    return any(hasattr(part, "__array__") for part in X) or len({len(part) for part in X}) > 1


def _as_list(X: Any) -> Any:
    """Return an array or a pandas Series of objects, which may be arrays, as a list."""
    kind = getattr(getattr(X, "dtype", None), "kind", None)
    objects = kind == "O" and getattr(X, "ndim", None) == 1
    return list(X) if objects else X


def rank(X: Any) -> int | None:
    """Return the number of dimensions; what has none is for scikit-learn to refuse."""
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
        raise ValueError(f"{name} of shape {array.shape} has no steps or no features")
    return array if array.ndim == 2 else array[:, None]


def take(sequences: Sequences, rows: NDArray[np.intp]) -> Sequences:
    """Return some of the sequences."""
    if isinstance(sequences, list):
        return [sequences[row] for row in rows]
    return sequences[rows]


@dataclass(frozen=True)
class Scale:
    """The mean and the standard deviation of every feature; 0 and 1 where nothing is scaled."""

    mean: Array  # (F,)
    std: Array  # (F,)

    @classmethod
    def of(cls, rows: Array, wanted: bool) -> Scale:
        """Return the scale of the columns of (rows, F)."""
        features = rows.shape[1]
        if not wanted:
            return cls(np.zeros(features), np.ones(features))
        mean, std = rows.mean(axis=0), rows.std(axis=0)
        # What is constant stays so, whatever rounding left of it.
        constant = std <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, std))

    def apply(self, rows: Array) -> NDArray[np.float32]:
        """Return (..., F) as what the model is trained with."""
        return ((rows - self.mean) / self.std).astype(np.float32)

    def undo(self, rows: NDArray[np.float32]) -> Array:
        """Return (..., F) of the model in the units of the user."""
        return rows.astype(np.float64) * self.std + self.mean
