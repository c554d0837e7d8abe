"""`SequenceForecaster`: forecasts of time series, learned from windows of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from bptt._support import check
from bptt._support.entry import entry
from bptt._support.warn import warn
from bptt.sklearn._estimators import SequenceRegressor
from bptt.sklearn._frames import Arrays, Form, Several, is_labelled, read_labelled, read_one
from bptt.sklearn._sequences import (
    FAR,
    Scale,
    Sequences,
    as_list,
    is_list_of_arrays,
    learn_features,
    r_squared,
    rank,
    read_sequences,
    to_sequences,
)

Array = NDArray[np.float64]
Scales = list[Scale | None] | None  # those of series that are scaled by themselves


@entry
def make_windows(series: Any, window: int, horizon: int = 1) -> tuple[Array, Array]:
    """Cut one time series or several into windows and the steps that follow each window.

    X and y are in the order of time, as cross-validation with `TimeSeriesSplit` needs them.

    Parameters
    ----------
    series : array_like
        One series (n,); or several: a table (N, n), an array (N, n, F), or a list of N arrays
        (n_i,) or (n_i, F).
    window : int
        Steps in a window.
    horizon : int, default 1
        Steps that follow a window.

    Returns
    -------
    X : ndarray
        (windows, window), with F > 1 features (windows, window, F).
    y : ndarray
        (windows, horizon), with F > 1 features (windows, horizon, F); for one step with one feature
        (windows,).

    Raises
    ------
    ValueError, TypeError
        If a series is too short for one window or has a wrong form, or a size is wrong.

    Examples
    --------
    >>> from bptt.sklearn import make_windows
    >>> X, y = make_windows([1, 2, 3, 4, 5], window=2, horizon=2)
    >>> X.tolist(), y.tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    """
    window, horizon = check.size("window", window), check.size("horizon", horizon)
    windows, followers, _ = _cut(_read_series(series)[0], window, horizon)
    return (windows[..., 0] if windows.shape[2] == 1 else windows), _as_given(followers)


class SequenceForecaster(SequenceRegressor):
    """A recurrent network that continues time series.

    It learns from windows of one series or of many: from `window` steps it predicts the `horizon`
    steps that follow. It scales the data and returns forecasts in the original units.

    Parameters
    ----------
    window : int, default 12
        The number of past steps for a forecast. Windows that are given as X and y keep their own
        length.
    horizon : int, default 1
        The number of steps that `predict` returns, with all features.
    strategy : {"direct", "recursive"}, default "direct"
        "direct" learns all steps of the horizon at once. "recursive" learns the next step only and
        continues from its own forecasts.
    subtract_last : bool, default False
        Whether windows and forecasts are relative to the last value of the window, as in NLinear
        (Zeng et al. 2023, "Are transformers effective for time series forecasting?"). Use it for
        series that leave the range of the training data, such as a trend.
    {parameters}

    Attributes
    ----------
    {attributes}

    Notes
    -----
    `fit` takes series: one (n,), or several that share a network as a table (N, n), an array
    (N, n, F) or a list of N arrays. One series with F features is ``[series]``.

    In pandas and polars objects time runs along the dates. With dates in the row index or in a
    column, the other columns are series; with dates as column names, rows are. A MultiIndex of
    names and dates has one series below the other. ``[frame]`` is one series with a feature in
    each column. Dates must be in order; gaps are a warning. Forecasts come back as such objects
    with the dates continued.

    If series differ by orders of magnitude, or one is constant, each is scaled by itself; so is a
    series to continue that is more than 1000 deviations away from the training data.

    `fit` also takes windows X with y, as `make_windows` cuts them, for cross-validation and
    searches (``cv=TimeSeriesSplit()``). `early_stopping` holds out the end of every series, or the
    last windows; it leaves out training windows that overlap the steps to forecast.

    With ``scale=True`` the loss is relative to the variance of the steps that follow windows (with
    `subtract_last`, of their changes). The score is R^2.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt.sklearn import SequenceForecaster
    >>> series = 20 + np.sin(0.5 * np.arange(200))
    >>> forecaster = SequenceForecaster(12, horizon=5, max_iter=80, tol=0.01, random_state=0)
    >>> forecast = forecaster.fit(series).forecast()
    >>> bool(np.abs(forecast - (20 + np.sin(0.5 * np.arange(200, 205)))).max() < 0.2)
    True
    """

    _apart = False  # whether each series is scaled by itself

    def __init__(
        self,
        window: int = 12,
        horizon: int = 1,
        *,
        strategy: str = "direct",
        subtract_last: bool = False,
        hidden_size: int = 64,
        num_layers: int = 1,
        cell: str = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_size: int = 32,
        learning_rate_init: float = 0.003,
        max_iter: int = 200,
        shuffle: bool = True,
        clip_norm: float | None = 1.0,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        scale: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers=num_layers,
            cell=cell,
            bidirectional=bidirectional,
            dropout=dropout,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            shuffle=shuffle,
            clip_norm=clip_norm,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            scale=scale,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.window = window
        self.horizon = horizon
        self.strategy = strategy
        self.subtract_last = subtract_last

    @entry
    def fit(self, X: Any, y: Any = None) -> Self:
        """Train with series X, or with windows X and the steps y that follow them."""
        return self._fit(X, y)

    @entry
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Make one pass over some series, or over windows and the steps that follow them.

        Training continues from the previous call. The data of the first call determine the scale.
        """
        return self._partial_fit(X, y)

    @entry
    def predict(self, X: Any) -> Any:
        """Return the `horizon` steps that follow each history in X.

        Parameters
        ----------
        X : array_like
            n histories as (n, T), (n, T, F) or a list, each at least as long as the window.

        Returns
        -------
        ndarray
            (n, horizon), with F > 1 features (n, horizon, F); (n,) for one step with one feature.
            For pandas or polars objects, what `forecast` returns.
        """
        check_is_fitted(self)
        if _has_index(X) and not self._from_table:
            return self.forecast(None, X)
        sequences = self._read_fitted(X)
        return _as_given(self._continue(sequences, self.horizon))

    @entry
    def forecast(self, steps: int | None = None, series: Any = None) -> Any:
        """Return the steps that follow a series.

        Steps beyond the horizon are forecast from forecasts; the strategy "direct" adds `horizon`
        steps at a time.

        Parameters
        ----------
        steps : int, optional
            The number of steps; `horizon` by default.
        series : array_like, optional
            The series to continue, in a form that `fit` takes; by default the series of the last
            `fit`.

        Returns
        -------
        ndarray
            (steps,) if one series was given as (n,), otherwise (N, steps), with F > 1 features
            (N, steps, F). For pandas or polars objects, an object of the same kind whose index, or
            column of dates, continues that of the series.
        """
        check_is_fitted(self)
        steps = self.horizon if steps is None else check.size("steps", steps)
        if series is None:
            if self._last is None:
                raise ValueError(
                    "series is missing: the forecaster was fitted with windows, so give the series "
                    "to continue, forecast(steps, series)"
                )
            windows, scales, form = self._last
            return form.wrap(self._restored(self._roll(windows, steps), scales))
        parts, form = _read_series(series)
        learn_features(self, parts, reset=False)
        return form.wrap(self._continue(parts, steps))

    def network_input(self, X: Any) -> Any:
        """Return histories X as `network_` takes them: the last window of each, in its scale.

        Parameters
        ----------
        X : array_like
            n histories as (n, T), (n, T, F) or a list, each at least as long as the window.

        Returns
        -------
        ndarray of float32, or list of ndarray of float32
            (n, window, F), with `subtract_last` relative to the last value of the window.
        """
        check_is_fitted(self)
        if _has_index(X) and not self._from_table:
            given: Sequences = _read_series(X)[0]
            learn_features(self, given, reset=False)
        else:
            given = self._read_fitted(X)
        histories = self._ends(self._by_themselves(given)[0])
        return self._scaled(self._relative(histories)[0])

    def _continue(self, histories: Sequences, steps: int) -> Array:
        """Return the (n, steps, F) that follow the histories."""
        standard, scales = self._by_themselves(histories)
        return self._restored(self._roll(self._ends(standard), steps), scales)

    @entry
    def score(self, X: Any, y: Any = None) -> float:  # type: ignore[override]
        """Return R^2 for windows X and the steps y after them, or for all windows of series X."""
        check_is_fitted(self)
        windows: Sequences
        if y is None:
            series = _read_series(X)[0]
            learn_features(self, series, reset=False)
            series = list(self._by_themselves(series)[0])
            windows, followers, _ = _cut(series, self._window or self.window, self.horizon)
        else:
            windows = self._read_fitted(X)
            followers = self._read_followers(windows, y)
            windows, scales = self._by_themselves(windows)
            windows = self._ends(windows)
            if scales is not None:
                followers = np.stack(self._standard(followers, scales))
        forecasts = self._roll(windows, self.horizon)
        count = len(followers)
        return r_squared(followers.reshape(count, -1), forecasts.reshape(count, -1))

    def _read(self, X: Any, y: Any, fresh: bool, classes: Any = None) -> tuple[Sequences, Array]:
        windows: Sequences
        self._last: tuple[Array, Scales, Form] | None = None
        self._window: int | None = None
        if y is None:
            series, form = _read_series(X)
            learn_features(self, series, reset=fresh)
            if fresh:
                self._apart = self.scale and _are_apart(series)
            standard, scales = self._by_themselves(series, fresh)
            windows, followers, self._counts = _cut(list(standard), self.window, self.horizon)
            self._last = np.stack([part[-self.window :] for part in standard]), scales, form
            self._window = self.window
        else:
            windows = read_sequences(self, X, reset=fresh)
            followers = self._read_followers(windows, y)
            if fresh:
                self._apart = False
            self._counts = [len(followers)]
            if not isinstance(windows, list):
                self._window = windows.shape[1]
        block = self.horizon if self.strategy == "direct" else 1
        if fresh:
            self._block = block  # steps that the network predicts at once
        elif block != self._block:
            raise ValueError(
                f"horizon and strategy must stay: the network predicts {self._block} steps at "
                f"once, not {block}; fit again with warm_start=False"
            )
        windows, last = self._relative(windows)
        followers = followers[:, :block] - last
        return windows, followers.reshape(len(followers), -1)

    def _by_themselves(self, series: Sequences, fresh: bool = False) -> tuple[Sequences, Scales]:
        """Standardise what the common scale does not fit; return the scales of these series.

        All are standardised if those of the last `fit` differed by orders of magnitude, otherwise
        only series that are very far from its data; with `fresh`, there are none yet.
        """
        if self._apart:
            own = np.ones(len(series), bool)
        elif fresh or not self.scale or self.subtract_last:
            return series, None
        elif isinstance(series, list):
            own = np.array([np.abs(self._scale.standard(part)).max() > FAR for part in series])
        else:
            own = np.abs(self._scale.standard(series)).max(axis=(1, 2)) > FAR
        if not own.any():
            return series, None
        scales = [Scale.of(part) if wanted else None for part, wanted in zip(series, own)]
        standard = self._standard(series, scales)
        return (standard if isinstance(series, list) else np.stack(standard)), scales

    def _standard(self, series: Iterable[Array], scales: list[Scale | None]) -> list[Array]:
        """Return series with the scale of the training data, constant ones as its mean."""
        common = Scale.none(self._input_size) if self._apart else self._scale
        return [
            part if own is None else common.restore(own.standard(part) * ~own.constant)
            for part, own in zip(series, scales)
        ]

    def _restored(self, forecasts: Array, scales: Scales) -> Array:
        """Undo `_standard`; forecasts of constant series are constant."""
        if scales is None:
            return forecasts
        common = Scale.none(self._input_size) if self._apart else self._scale
        return np.stack(
            [
                part if own is None else own.restore(common.standard(part) * ~own.constant)
                for part, own in zip(forecasts, scales)
            ]
        )

    def _read_followers(self, windows: Sequences, y: Any) -> Array:
        """Return y as (n, horizon, F)."""
        check.unmasked("y", y)
        y = check_array(
            y, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name="y", estimator=self
        )
        check_consistent_length(windows, y)
        shape = (len(y), self.horizon, self._input_size)
        if y.shape == (len(y), 1) and shape[1:] == (1, 1):
            warn(
                "A column-vector y was passed when a 1d array was expected.", DataConversionWarning
            )
        accepted: list[tuple[int, ...]] = [shape, shape[:2]] if shape[2] == 1 else [shape]
        accepted += [shape[:1]] if shape[1:] == (1, 1) else []
        if y.shape not in accepted:
            raise ValueError(
                f"y must have shape {accepted[-1]}: {self.horizon} steps (horizon) of "
                f"{self._input_size} features after each of {len(y)} windows; got {y.shape}. "
                "SequenceRegressor predicts other quantities."
            )
        return np.reshape(y, shape)

    def _relative(self, windows: Sequences) -> tuple[Sequences, Any]:
        """Return the windows for the network, and the values that were subtracted, (n, 1, F)."""
        if not self.subtract_last:
            return windows, 0.0
        last = np.stack([part[-1:] for part in windows])
        if isinstance(windows, list):
            return [part - value for part, value in zip(windows, last)], last
        return windows - last, last

    def _ends(self, histories: Sequences) -> Sequences:
        """Return the last window of every history."""
        window = self._window
        if window is None:
            return histories
        for n, part in enumerate(histories):
            if len(part) < window:
                raise ValueError(
                    f"X[{n}] must have at least {window} steps (window), got {len(part)}"
                )
        return np.stack([part[-window:] for part in histories])

    def _roll(self, windows: Sequences, steps: int) -> Array:
        """Return the (n, steps, F) that follow the windows, block by block."""
        parts: list[Array] = []
        while sum(part.shape[1] for part in parts) < steps:
            if parts:
                block = parts[-1]
                windows = [
                    np.concatenate([part, more])[-len(part) :] for part, more in zip(windows, block)
                ]
            given, last = self._relative(windows)
            outputs = self._predict_targets(given)
            parts.append(outputs.reshape(len(outputs), self._block, -1) + last)
        return np.concatenate(parts, axis=1)[:, :steps]

    def _hold_out(self, targets: Any, seed: int) -> tuple[Any, Any]:
        train: list[int] = []
        held_out: list[int] = []
        start = 0
        for count in self._counts:
            last = math.ceil(self.validation_fraction * count)
            end = start + count
            train += range(start, end - last - (self._block - 1))
            held_out += range(end - last, end)
            start = end
        if not train or len(held_out) < 2:
            raise ValueError(
                f"early_stopping holds out {len(held_out)} of {start} windows and leaves "
                f"{len(train)} for training, which is too few: change validation_fraction or give "
                "more data"
            )
        return np.array(train), np.array(held_out)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check.size("window", self.window)
        check.size("horizon", self.horizon)
        check.flag("subtract_last", self.subtract_last)
        check.choice("strategy", self.strategy, "direct", "recursive")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.target_tags.multi_output = False
        return tags


def _are_apart(series: list[Array]) -> bool:
    """Tell whether a feature of a series varies far less than that of all series together."""
    if len(series) == 1:
        return False
    common = Scale.of(np.concatenate(series))
    own = [Scale.of(part) for part in series]
    return any(
        (~common.constant & (scale.constant | (scale.deviation * FAR < common.deviation))).any()
        for scale in own
    )


def _has_index(X: Any) -> bool:
    """Tell whether X is an object of pandas or polars, or a list of them."""
    if is_list_of_arrays(X):
        return all(is_labelled(part) for part in as_list(X))
    return is_labelled(X)


def _read_series(X: Any) -> tuple[list[Array], Form]:
    """Return series, each (n_i, F), and the form in which they were given."""
    if _has_index(X):
        if is_labelled(X) and not is_list_of_arrays(X):
            return read_labelled(X)
        parts, forms = zip(*(read_one(part, f"X[{n}]") for n, part in enumerate(as_list(X))))
        return list(to_sequences(list(parts))), Several(list(forms))
    if rank(X) != 1 or is_list_of_arrays(X):
        return list(to_sequences(X)), Arrays(False)
    check.unmasked("series", X)
    series = check_array(X, dtype=np.float64, ensure_2d=False, input_name="series")
    return [series[:, None]], Arrays(True)


def _cut(series: list[Array], window: int, horizon: int) -> tuple[Array, Array, list[int]]:
    """Return windows (M, window, F), the steps after them (M, horizon, F), windows per series."""
    pieces = []
    for n, part in enumerate(series):
        if len(part) < window + horizon:
            raise ValueError(
                f"series {n} must have at least {window + horizon} steps, for a window of {window} "
                f"and a horizon of {horizon}, got {len(part)}. Give one series as (n,), or as "
                "[series] if it is (n, F); each row of a table is a series."
            )
        view = np.lib.stride_tricks.sliding_window_view(part, window + horizon, axis=0)
        pieces.append(view.swapaxes(1, 2))
    every = np.concatenate(pieces)
    return every[:, :window], every[:, window:], [len(piece) for piece in pieces]


def _as_given(followers: Array) -> Array:
    """Return (n, horizon, F) without dimensions of size one."""
    if followers.shape[2] > 1:
        return followers
    return followers[:, 0, 0] if followers.shape[1] == 1 else followers[..., 0]
