"""Time axes of pandas and polars: whether they are in order and evenly spaced, and how they go on.

Neither library is imported before data of it come. An axis becomes an array of moments: numbers,
`datetime64` or `timedelta64`.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._support.warn import warn

Moments = NDArray[Any]
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Grid:
    """The last moment of an axis and the distance to the next."""

    last: Any
    step: Any
    unit: str  # "" (step is a difference of moments), "months", "month ends" or "business days"

    def after(self, steps: int) -> Moments:
        """Return the next moments."""
        ahead = np.arange(1, steps + 1)
        if not self.unit:
            return np.asarray(self.last + ahead * self.step)
        last = np.asarray(self.last)
        if self.unit == "business days":
            day = last.astype("M8[D]")
            days = np.busday_offset(day, ahead * self.step, roll="backward")
            return np.asarray(days.astype(last.dtype) + (last - day))
        if self.unit == "month ends":
            last = last + _DAY
        month = last.astype("M8[M]")
        months = (month + ahead * self.step).astype(last.dtype) + (last - month.astype(last.dtype))
        return np.asarray(months - _DAY if self.unit == "month ends" else months)


def grid_of(moments: Moments, name: str, labels: Any = None) -> Grid | None:
    """Return the grid of an axis; None of a single moment. Errors show the labels of moments.

    Moments that are missing, out of order or repeated are refused. Gaps are a warning.
    """
    missing = np.isnat(moments) if moments.dtype.kind in "mM" else ~np.isfinite(moments)
    if missing.any():
        raise ValueError(f"the index of {name} has no value at position {int(missing.argmax())}")
    if len(moments) < 2:
        return None
    differences = np.diff(moments)
    if not (in_order := differences > differences[0] * 0).all():
        n = int(in_order.argmin())
        raise ValueError(
            f"the index of {name} must be in the order of time, without repetitions: "
            f"{_pair(moments, labels, n)}. Sort it (sort_index in pandas, sort in "
            "polars) and remove or sum what is repeated"
        )
    unit, counts = _counts(moments, differences)
    values, repeats = np.unique(counts, return_counts=True)
    step = values[repeats.argmax()]
    odd = ~np.isclose(counts, step, rtol=1e-6) if counts.dtype.kind == "f" else counts != step
    if odd.any():
        n = int(odd.argmax())
        usual = f"{step} {unit}" if unit else _length(step)
        warn(
            f"the index of {name} has gaps, or is not evenly spaced: {_pair(moments, labels, n)}, "
            f"most steps are of {usual}"
            + ". The network takes all steps as equal: fill gaps first (asfreq in pandas, upsample "
            "in polars)",
            UserWarning,
        )
    return Grid(moments[-1], step, unit)


def _pair(moments: Moments, labels: Any, n: int) -> str:
    first, second = (moments if labels is None else labels)[n : n + 2]
    return f"{first} is followed by {second}"


def _length(step: Any) -> str:
    """Return the text of a difference of moments."""
    if not isinstance(step, np.timedelta64):
        return f"{step:g}"
    units: Any = {"D": "days", "h": "hours", "m": "minutes"}
    for unit, name in units.items():
        if step >= np.timedelta64(1, unit):
            return f"{step / np.timedelta64(1, unit):g} {name}"
    return f"{step / np.timedelta64(1, 's'):g} seconds"


def _counts(moments: Moments, differences: Moments) -> tuple[str, Moments]:
    """Return a unit of time, and the distances between neighbouring moments in this unit."""
    if moments.dtype.kind != "M":
        return "", differences
    for unit, shifted in (("months", moments), ("month ends", moments + _DAY)):
        months = shifted.astype("M8[M]")
        rest = shifted - months
        if (rest == rest[0]).all() and (unit == "months" or rest[0] < _DAY):
            return unit, np.diff(months.astype(np.int64))
    days = moments.astype("M8[D]")
    if (
        np.is_busday(days).all()
        and (moments - days == moments[0] - days[0]).all()
        and (differences == _DAY).sum() * 2 > len(differences)
        and (differences != _DAY).any()
    ):
        return "business days", np.busday_count(days[:-1], days[1:])
    return "", differences


def pandas() -> Any:
    """Return pandas if it was imported, as it was if there are data of it."""
    return sys.modules.get("pandas")


def polars() -> Any:
    """Return polars if it was imported."""
    return sys.modules.get("polars")


def is_time(index: Any) -> bool:
    """Tell whether a pandas index is of dates, periods or durations."""
    pd = pandas()
    if isinstance(index, pd.PeriodIndex) or index.dtype.kind in "mM":  # of pyarrow, too
        return True
    kinds = ("date", "datetime", "datetime64", "period", "timedelta", "timedelta64")
    return index.dtype == object and pd.api.types.infer_dtype(index, skipna=True) in kinds


def _inferred(index: Any) -> Any:
    """Return the frequency of an evenly spaced index, or None."""
    if len(index) < 3:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a string now, an object later: both do
        return pandas().infer_freq(index)


class PandasTime:
    """The index of a pandas object, for its continuation."""

    def __init__(self, index: Any, name: str) -> None:
        """Check an index."""
        pd = pandas()
        self._count, self._name, self._freq = len(index), index.name, None
        self._zone: Any = None
        self._local = self._dates = False
        self._grid: Grid | None = None
        if index.dtype == object and is_time(index):
            self._dates = pd.api.types.infer_dtype(index, skipna=True) == "date"
            index = pd.Index(index.tolist()) if not self._dates else pd.DatetimeIndex(index)
        elif index.dtype.kind in "mM":
            index = (pd.DatetimeIndex if index.dtype.kind == "M" else pd.TimedeltaIndex)(index)
        self._last = index[-1:]
        if isinstance(index, pd.PeriodIndex):
            moments = index.asi8.astype(float) if index.hasnans else index.asi8
            if index.hasnans:
                moments[np.asarray(index.isna())] = np.nan
        elif isinstance(index, pd.DatetimeIndex):
            self._zone = index.tz
            moments = index.tz_localize(None) if index.tz is None else index.tz_convert(None)
            moments = moments.to_numpy()
            if index.tz is not None and len(index) > 1:
                # Days and months are those of the clock on the wall, hours are all of one length.
                self._local = bool(np.median(np.diff(moments)) >= np.timedelta64(23, "h"))
                if self._local:
                    moments = index.tz_localize(None).to_numpy()
            if index.is_monotonic_increasing and index.is_unique:
                self._freq = index.freq or _inferred(index)
                if self._freq is not None:
                    return
        elif isinstance(index, pd.TimedeltaIndex) or (
            index.dtype.kind in "iuf" and isinstance(index.dtype, np.dtype)
        ):
            moments = index.to_numpy()
        else:
            return  # names: they have no order
        self._grid = grid_of(moments, name, index)

    def after(self, steps: int) -> Any:
        """Return the index of the next steps; positions, if it cannot be continued."""
        pd, last = pandas(), self._last
        moments = None if self._grid is None else self._grid.after(steps)
        if self._freq is not None:
            index = pd.date_range(last[0], periods=steps + 1, freq=self._freq)[1:]
        elif self._grid is None:
            index = pd.RangeIndex(self._count, self._count + steps)
        elif isinstance(last, pd.PeriodIndex):
            index = pd.PeriodIndex.from_ordinals(moments, freq=last.freq)
        elif self._zone is not None:
            index = pd.DatetimeIndex(moments)
            if self._local:
                early = np.ones(steps, bool)
                index = index.tz_localize(self._zone, ambiguous=early, nonexistent="shift_forward")
            else:
                index = index.tz_localize("UTC").tz_convert(self._zone)
        elif self._grid.unit == "" and isinstance(last, pd.RangeIndex):
            step = int(self._grid.step)
            first = int(self._grid.last) + step
            index = pd.RangeIndex(first, first + steps * step, step)
        else:
            index = pd.Index(moments)
        if self._dates:
            index = pd.Index(index.date, dtype=object)
        return index.rename(self._name)


class PolarsTime:
    """A column of dates of a polars frame, for its continuation."""

    def __init__(self, dates: Any, name: str) -> None:
        self._name, self._dtype = dates.name, dates.dtype
        self._zone = getattr(dates.dtype, "time_zone", None)
        moments, self._local = dates.to_numpy(), False
        if self._zone is not None and len(dates) > 1:
            moments = dates.dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_numpy()
            with np.errstate(invalid="ignore"):
                self._local = bool(np.median(np.diff(moments)) >= np.timedelta64(23, "h"))
            if self._local:
                moments = dates.dt.replace_time_zone(None).to_numpy()
        self._grid = grid_of(moments, name, dates.to_list())

    def after(self, steps: int) -> Any:
        """Return the column of the next steps; null, if there is only one date."""
        pl = polars()
        if self._grid is None:
            return pl.Series(self._name, [None] * steps, dtype=self._dtype)
        moments = self._grid.after(steps)
        if self._zone is None:
            return pl.Series(self._name, moments).cast(self._dtype)
        plain = pl.Series(self._name, moments).cast(pl.Datetime(self._dtype.time_unit))
        if self._local:
            return plain.dt.replace_time_zone(self._zone, ambiguous="earliest", non_existent="null")
        return plain.dt.replace_time_zone("UTC").dt.convert_time_zone(self._zone)
