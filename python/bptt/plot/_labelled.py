"""Values of a series, and the times and names that objects of pandas and polars give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._support import check
from bptt._support.times import PandasTime, PolarsTime, is_time, pandas, polars

Array = NDArray[np.float64]
Moments = NDArray[Any]


@dataclass(frozen=True)
class Labelled:
    """Values, and what is known about them."""

    values: Array
    index: Any = None  # a pandas index or a polars column of times; None without times
    name: str = ""

    @property
    def moments(self) -> Moments | None:
        """The times as numbers or datetime64, if there are any."""
        return None if self.index is None else _moments(self.index)

    def moments_until(self, end: int) -> Moments | None:
        """Return the times of `end` steps; those after the last value continue the index."""
        index, known = self.index, self.moments
        if known is None or end <= len(known):
            return known
        time = PandasTime if hasattr(index, "is_monotonic_increasing") else PolarsTime
        more = _moments(time(index, "series").after(end - len(known)))
        return None if more is None else np.concatenate([known, more.astype(known.dtype)])


def read(name: str, values: Any) -> Labelled:
    """Return one series, given as an array, a Series, or a frame with one column of numbers."""
    index, title, column = None, "", values
    pd, pl = pandas(), polars()
    if pd is not None and isinstance(values, (pd.Series, pd.DataFrame)):
        index, column = values.index, values
        if isinstance(values, pd.DataFrame):
            dates = [n for n in range(values.shape[1]) if is_time(pd.Index(values.iloc[:, n]))]
            if len(dates) == 1:
                index = pd.Index(values.iloc[:, dates[0]])
                values = values.drop(columns=values.columns[dates[0]])
            column = values.iloc[:, _only(name, values.columns)]
        title = "" if column.name is None else str(column.name)
    elif pl is not None and isinstance(values, pl.Series):
        title = values.name
    elif pl is not None and isinstance(values, pl.DataFrame):
        dates = [key for key, kind in values.schema.items() if kind.is_temporal()]
        if len(dates) == 1:
            index = values[dates[0]]
            values = values.drop(dates)
        column = values[values.columns[_only(name, values.columns)]]
        title = column.name
    array = check.floats(name, column, np.dtype(np.float64))
    if array.ndim != 1 or not len(array):
        fix = ": choose one of several series" if array.ndim == 2 and array.size else ""
        raise ValueError(
            f"{name} must be (steps,) with at least one step, got shape {array.shape}{fix}"
        )
    if index is not None and (_counts_from_0(index) or _moments(index) is None):
        index = None
    return Labelled(array, index, title)


def columns(values: Any) -> dict[str, Any] | None:
    """Return the columns of a frame as frames of one column with its times; None for no frame."""
    pd, pl = pandas(), polars()
    if pd is not None and isinstance(values, pd.DataFrame):
        times = [n for n in range(values.shape[1]) if is_time(pd.Index(values.iloc[:, n]))]
        rest = [n for n in range(values.shape[1]) if n not in times]
        return {str(values.columns[n]): values.iloc[:, [*times, n]] for n in rest}
    if pl is not None and isinstance(values, pl.DataFrame):
        names = [key for key, kind in values.schema.items() if kind.is_temporal()]
        return {key: values.select([*names, key]) for key in values.columns if key not in names}
    return None


def _only(name: str, found: Any) -> int:
    if len(found) != 1:
        raise ValueError(
            f"{name} must be one series, got a frame with the columns {check.shown(list(found))}: "
            f"choose one of them"
        )
    return 0


def _counts_from_0(index: Any) -> bool:
    """Tell whether an index is what pandas gives to data without one."""
    return type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1


def _moments(index: Any) -> Moments | None:
    """Return times that matplotlib takes: numbers, or datetime64 by the clock on the wall."""
    pl = polars()
    if pl is not None and isinstance(index, pl.Series):
        if getattr(index.dtype, "time_zone", None) is not None:
            index = index.dt.replace_time_zone(None)
        kind: Moments = index.to_numpy()
        return kind if kind.dtype.kind == "M" else None
    pd = pandas()
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    elif index.dtype.kind == "O" and is_time(index):
        index = pd.DatetimeIndex(index)
    if isinstance(index, pd.DatetimeIndex):
        if index.tz is not None:
            index = index.tz_localize(None)
        return np.asarray(index.to_numpy())
    numbers = index.dtype.kind in "iuf" and isinstance(index.dtype, np.dtype)
    return np.asarray(index.to_numpy()) if numbers else None
