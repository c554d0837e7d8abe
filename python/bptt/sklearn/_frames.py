"""Series in pandas and polars objects: which way time runs in them, and forecasts in their form.

Time runs down the rows if the row index, or a column, has dates; across the columns if those are
dates. With a MultiIndex of names and dates the rows are several series, one below the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array

from bptt._support.times import PandasTime, PolarsTime, is_time, pandas, polars

Array = NDArray[np.float64]


class Form(Protocol):
    """The form in which series were given, and forecasts are given back."""

    def wrap(self, values: Array) -> Any:
        """Return forecasts (N, steps, F) in this form, with the index continued."""


def is_labelled(X: Any) -> bool:
    """Tell whether X is a Series or a DataFrame of pandas or polars."""
    return any(
        library is not None and isinstance(X, (library.Series, library.DataFrame))
        for library in (pandas(), polars())
    )


def read_labelled(X: Any, name: str = "X") -> tuple[list[Array], Form]:
    """Return the series of a Series or a DataFrame, each (n_i, F), and their form."""
    pd, pl = pandas(), polars()
    if pl is not None and isinstance(X, pl.Series):
        return [_numbers(X, name)], PolarsSeries(X.name)
    if pl is not None and isinstance(X, pl.DataFrame):
        return _read_polars(X, name)
    if isinstance(X.index, pd.MultiIndex):
        return _read_panel(X, name)
    if isinstance(X, pd.Series):
        return [_numbers(X, name)], PandasSeries(PandasTime(X.index, name), X.name)
    X, dates = _dates_to_index(X, name)
    down, across = is_time(X.index), _is_time_axis(X.columns)
    if down and across:
        raise ValueError(
            f"{name} has dates along its rows and along its columns, so it does not say which way "
            f"time runs: {_readings(name, X.shape)}"
        )
    if not down and not across and 1 not in X.shape:
        raise _undecided(name, X.shape)
    if down or (not across and X.shape[1] == 1):
        time = PandasTime(X.index, name)
        return _columns(_numbers(X, name)), PandasFrame(time, X.columns, dates)
    time = PandasTime(X.columns, name)
    return _columns(_numbers(X, name).T), PandasTable(time, X.index)


def read_one(X: Any, name: str) -> tuple[Array, Form]:
    """Return one series (n, F) of a Series, or of a DataFrame with its features in columns."""
    pd, pl = pandas(), polars()
    if not hasattr(X, "columns"):
        parts, form = read_labelled(X, name)
        if len(parts) > 1:
            raise ValueError(f"{name} holds {len(parts)} series, must be one")
        return parts[0], form
    if pl is not None and isinstance(X, pl.DataFrame):
        values, polars_form = _split_polars(X, name)
        return _numbers(values, name), polars_form
    if isinstance(X.index, pd.MultiIndex):
        raise ValueError(
            f"{name} has a MultiIndex: give a frame with one as X itself, not in a list"
        )
    X, dates = _dates_to_index(X, name)
    if _is_time_axis(X.columns):
        raise ValueError(
            f"{name} has dates along its columns; in a list, steps are rows and features are "
            f"columns: transpose it ({name}.T)"
        )
    return _numbers(X, name), PandasFrame(PandasTime(X.index, name), X.columns, dates)


def check_table(X: Any) -> Any:
    """Return X, a frame of one sequence in each row; refuse columns of dates that are no steps."""
    pd, pl = pandas(), polars()
    if pl is not None and isinstance(X, pl.DataFrame):
        dates = [name for name, kind in X.schema.items() if kind.is_temporal()]
    elif pd is not None and isinstance(X, pd.DataFrame):
        dates = _date_columns(X)
        if _is_time_axis(X.columns):
            PandasTime(X.columns, "X")
    else:
        return X
    if dates:
        raise ValueError(
            f"X has the dates {dates[0]!r} among its columns; a row of a table is a sequence of "
            "numbers: drop this column, or give a list of frames, one for each sequence"
        )
    return X


def is_panel(X: Any) -> bool:
    """Tell whether X has names and dates in the MultiIndex of its rows."""
    pd = pandas()
    index = getattr(X, "index", None)
    if pd is None or not isinstance(X, pd.DataFrame) or not isinstance(index, pd.MultiIndex):
        return False
    return sum(map(is_time, index.levels)) == 1


def panel_sequences(X: Any, y: Any) -> list[Array]:
    """Return the sequences of a panel; if y has an index, it must be the names in their order."""
    parts, form = read_labelled(X)
    if isinstance(form, PandasPanel) and isinstance(y, pandas().Series):
        index = y.index
        names = [key if len(key) > 1 else key[0] for key in form.keys]
        if set(index) == set(names) and list(index) != names:
            raise ValueError(
                f"y must be in the order of the sequences of X, {names[0]!r} first, got "
                f"{index[0]!r} first: sort X by its index, or reindex y"
            )
    return parts


@dataclass(frozen=True)
class Arrays:
    """Arrays: one series (n,), or several."""

    one: bool

    def wrap(self, values: Array) -> Any:
        """Return (N, steps, F), without dimensions that were not given."""
        values = values[..., 0] if values.shape[2] == 1 else values
        return values[0] if self.one else values


@dataclass(frozen=True)
class Several:
    """A list of Series or frames."""

    forms: list[Form]

    def wrap(self, values: Array) -> Any:
        """Return a list."""
        return [form.wrap(part[None]) for form, part in zip(self.forms, values)]


@dataclass(frozen=True)
class PandasSeries:
    """A pandas Series: one series of one feature."""

    time: PandasTime
    name: Any

    def wrap(self, values: Array) -> Any:
        """Return a Series."""
        steps = values.shape[1]
        return pandas().Series(values[0, :, 0], self.time.after(steps), name=self.name)


@dataclass(frozen=True)
class PandasFrame:
    """A pandas frame with time down its rows. Its columns are series, or features of one."""

    time: PandasTime
    columns: Any
    dates: tuple[int, Any] | None  # place and name of the column that has the dates

    def wrap(self, values: Array) -> Any:
        """Return a frame."""
        rows = values[0] if len(values) == 1 else values[..., 0].T
        frame = pandas().DataFrame(rows, self.time.after(len(rows)), self.columns)
        if self.dates is not None:
            place, name = self.dates
            frame.insert(place, name, frame.index)
            frame = frame.reset_index(drop=True)
        return frame


@dataclass(frozen=True)
class PandasTable:
    """A pandas frame with time across its columns. Its rows are series."""

    time: PandasTime
    index: Any

    def wrap(self, values: Array) -> Any:
        """Return a frame."""
        return pandas().DataFrame(values[..., 0], self.index, self.time.after(values.shape[1]))


@dataclass(frozen=True)
class PandasPanel:
    """A pandas object with names and dates in a MultiIndex."""

    times: list[PandasTime]
    keys: list[tuple[Any, ...]]
    level: int  # of the dates
    names: list[Any]
    columns: Any  # those of a frame, or the name of a Series
    frame: bool

    def wrap(self, values: Array) -> Any:
        """Return a frame or a Series."""
        pd, steps = pandas(), values.shape[1]
        entries = [
            (*key[: self.level], moment, *key[self.level :])
            for key, time in zip(self.keys, self.times)
            for moment in time.after(steps)
        ]
        index = pd.MultiIndex.from_tuples(entries, names=self.names)
        rows = values.reshape(-1, values.shape[2])
        if self.frame:
            return pd.DataFrame(rows, index, self.columns)
        return pd.Series(rows[:, 0], index, name=self.columns)


@dataclass(frozen=True)
class PolarsSeries:
    """A polars Series: one series of one feature, without an index."""

    name: str

    def wrap(self, values: Array) -> Any:
        """Return a Series."""
        return polars().Series(self.name, values[0, :, 0])


@dataclass(frozen=True)
class PolarsFrame:
    """A polars frame with time down its rows. Its other columns are series, or features of one."""

    time: PolarsTime | None
    place: int  # of the column that has the dates
    columns: list[str]

    def wrap(self, values: Array) -> Any:
        """Return a frame."""
        rows = values[0] if len(values) == 1 else values[..., 0].T
        frame = polars().DataFrame(rows, schema=self.columns)
        if self.time is not None:
            frame = frame.insert_column(self.place, self.time.after(len(rows)))
        return frame


def _read_panel(X: Any, name: str) -> tuple[list[Array], Form]:
    levels = [n for n, level in enumerate(X.index.levels) if is_time(level)]
    if len(levels) != 1 or X.index.nlevels == 1:
        raise ValueError(
            f"{name} has a MultiIndex with {len(levels)} levels of dates of {X.index.nlevels}, "
            "must be one level of dates beside those that name the series"
        )
    level, parts, times, keys = levels[0], [], [], []
    others = [n for n in range(X.index.nlevels) if n != level]
    by = others if len(others) > 1 else others[0]
    for key, part in X.groupby(level=by, sort=False, observed=True, dropna=False):
        label = (
            f"{name} of {', '.join(map(str, key))}"
            if isinstance(key, tuple)
            else f"{name}[{key!r}]"
        )
        parts.append(_numbers(part, label))
        times.append(PandasTime(part.index.get_level_values(level), label))
        keys.append(key if isinstance(key, tuple) else (key,))
    frame = hasattr(X, "columns")
    columns = X.columns if frame else X.name
    return parts, PandasPanel(times, keys, level, list(X.index.names), columns, frame)


def _read_polars(X: Any, name: str) -> tuple[list[Array], Form]:
    values, form = _split_polars(X, name)
    if form.time is None and 1 not in X.shape:
        raise _undecided(name, X.shape)
    numbers = _numbers(values, name)
    if form.time is None and X.shape[1] > 1:
        return _columns(numbers.T), Arrays(False)
    return _columns(numbers), form


def _split_polars(X: Any, name: str) -> tuple[Any, PolarsFrame]:
    """Return the columns without dates, and the form."""
    pl = polars()
    dates = [c for c, kind in X.schema.items() if isinstance(kind, (pl.Date, pl.Datetime))]
    if len(dates) > 1:
        raise _many_dates(name, dates)
    time = PolarsTime(X[dates[0]], name) if dates else None
    place = X.columns.index(dates[0]) if dates else 0
    values = X.drop(dates)
    return values, PolarsFrame(time, place, values.columns)


def _dates_to_index(X: Any, name: str) -> tuple[Any, tuple[int, Any] | None]:
    """Return a pandas frame whose column of dates is its index, and place and name of it."""
    dates = _date_columns(X)
    if not dates:
        return X, None
    if len(dates) > 1 or is_time(X.index):
        raise _many_dates(name, dates)
    return X.set_index(dates[0]), (X.columns.get_loc(dates[0]), dates[0])


def _date_columns(X: Any) -> list[Any]:
    types = pandas().api.types
    return [
        column
        for column, kind in X.dtypes.items()
        if types.is_datetime64_any_dtype(kind) or str(kind).startswith("period")
    ]


def _is_time_axis(columns: Any) -> bool:
    return len(columns) > 1 and not hasattr(columns, "levels") and is_time(columns)


def _many_dates(name: str, dates: list[Any]) -> ValueError:
    return ValueError(
        f"{name} has dates in the columns {dates}, must have them once, in its index or in one "
        "column: drop the others"
    )


def _columns(values: Array) -> list[Array]:
    return [values[:, n : n + 1] for n in range(values.shape[1])]


def _numbers(X: Any, name: str) -> Array:
    """Return (n, F) of finite float64."""
    try:
        array: Array = check_array(X, dtype=np.float64, ensure_2d=False, input_name=name)
    except (ValueError, TypeError) as error:
        if "could not convert" not in str(error) and "float()" not in str(error):
            raise
        raise ValueError(
            f"{name} must hold numbers, beside dates: {error}. If a column names the series, give "
            "each a column of its own (pivot), or names and dates as index (set_index)"
        ) from None
    return array if array.ndim == 2 else array[:, None]


def _undecided(name: str, shape: tuple[int, int]) -> ValueError:
    return ValueError(
        f"{name} is a frame without dates, so it does not say which way time runs: "
        f"{_readings(name, shape)}, or give it dates, not text, in its index, its columns or one "
        "column"
    )


def _readings(name: str, shape: tuple[int, int]) -> str:
    rows, columns = shape
    return (
        f"give {name}.to_numpy() for {rows} series of {columns} steps, {name}.to_numpy().T for "
        f"{columns} series of {rows} steps, or [{name}.to_numpy()] for one series of {rows} steps "
        f"with {columns} features"
    )
