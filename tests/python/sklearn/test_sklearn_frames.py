"""Frames: time runs along the dates, and forecasts come back with the index continued."""

import datetime
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from estimating import wave

from bptt.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor, make_windows

pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")

STEPS = 60
DAYS = pd.date_range("2024-01-01", periods=STEPS, name="day")
WIDE = pd.DataFrame({name: wave(STEPS, 7 * n) for n, name in enumerate("abcd")}, DAYS)
NEXT = pd.date_range("2024-03-01", periods=3, name="day")


def forecaster(X, y=None, **settings):
    settings = {"hidden_size": 4, "max_iter": 2, "random_state": 0} | settings
    return SequenceForecaster(8, 3, **settings).fit(X, y)


def forecast(X):
    return pickle.loads(pickle.dumps(forecaster(X))).forecast()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    #: What the network of four series forecasts, (4, 3), and that of one with four features.
    SERIES = forecast(WIDE.to_numpy().T)
    FEATURES = forecast([WIDE.to_numpy()])[0]

INDICES = {
    "days": (DAYS, NEXT),
    "without freq": (pd.DatetimeIndex(DAYS.to_numpy(), name="day"), NEXT),
    "a zone": (DAYS.tz_localize("Europe/Berlin"), NEXT.tz_localize("Europe/Berlin")),
    "periods": (DAYS.to_period("D"), NEXT.to_period("D")),
    "dates": (pd.Index(DAYS.date, name="day"), pd.Index(NEXT.date, name="day")),
    "durations": (
        pd.to_timedelta(range(STEPS), unit="h"),
        pd.to_timedelta(range(STEPS, STEPS + 3), unit="h"),
    ),
}


@pytest.mark.parametrize(("index", "after"), INDICES.values(), ids=INDICES)
def test_time_runs_down_the_dates(index, after):
    got = forecast(WIDE.set_axis(index))
    assert got.index.equals(after)
    assert got.index.name == index.name
    assert (got.index.dtype, list(got.columns)) == (index.dtype, list("abcd"))
    np.testing.assert_array_equal(got.to_numpy().T, SERIES)
    across = forecast(WIDE.set_axis(index).T)
    pd.testing.assert_frame_equal(across, got.T, check_freq=False)


def test_a_column_of_dates_is_an_index():
    frame = WIDE.reset_index().iloc[:, [1, 2, 0, 3, 4]]
    got = forecast(frame)
    assert list(got.columns) == ["a", "b", "day", "c", "d"]
    assert got["day"].tolist() == NEXT.tolist()
    np.testing.assert_array_equal(got[list("abcd")].to_numpy().T, SERIES)
    assert got.index.tolist() == [0, 1, 2]


def test_a_frame_in_a_list_is_one_series():
    (got,) = forecast([WIDE])
    assert got.index.equals(NEXT)
    np.testing.assert_array_equal(got.to_numpy(), FEATURES)
    series = forecast([WIDE.a, WIDE.b[10:], WIDE.c.reset_index(drop=True)])
    assert [part.name for part in series] == ["a", "b", "c"]
    assert series[1].index.equals(NEXT)
    assert series[2].index.tolist() == [60, 61, 62]


@pytest.mark.parametrize(
    ("index", "after"),
    [
        (DAYS, NEXT),
        (pd.RangeIndex(STEPS), pd.RangeIndex(STEPS, STEPS + 3)),
        (pd.RangeIndex(1, 2 * STEPS, 2), pd.Index([121, 123, 125])),
        (pd.Index(np.arange(1900, 1960)), pd.Index([1960, 1961, 1962])),
        (pd.Index([f"t{n}" for n in range(STEPS)]), pd.Index([60, 61, 62])),
    ],
)
def test_a_series_goes_on(index, after):
    got = forecast(pd.Series(wave(STEPS), index, name="load"))
    assert got.index.equals(after)
    assert got.name == "load"
    np.testing.assert_array_equal(got, forecast(wave(STEPS)))


def test_names_and_dates_in_a_multiindex():
    long = WIDE.stack().rename("v").swaplevel()  # a, b, c, d, a, b, ...
    got = forecast(long)
    assert got.name == "v"
    assert got.index.names == long.index.names
    for n, name in enumerate("abcd"):
        assert got[name].index.equals(NEXT)
        np.testing.assert_array_equal(got[name], SERIES[n])
    frame = pd.DataFrame({"v": long, "w": 2 * long})
    got = forecast(frame)
    assert got.index.equals(forecast(long).index)
    assert list(got.columns) == ["v", "w"]
    swapped = forecast(frame.swaplevel())
    pd.testing.assert_frame_equal(swapped.swaplevel(), got)
    with pytest.raises(ValueError, match="0 levels of dates of 2, must be one"):
        forecast(WIDE.set_axis(pd.MultiIndex.from_product([range(6), range(10)])))
    with pytest.raises(ValueError, match="1 levels of dates of 1, must be one"):
        forecast(WIDE.set_axis(pd.MultiIndex.from_arrays([DAYS])))


READINGS = (
    r"give X.to_numpy\(\) for 60 series of 4 steps, X.to_numpy\(\).T for 4 series of 60 steps, or "
    r"\[X.to_numpy\(\)\] for one series of 60 steps with 4 features"
)


@pytest.mark.parametrize(
    "frame",
    [
        WIDE.reset_index(drop=True),
        WIDE.set_axis(DAYS.astype(str)),
        WIDE.set_axis(range(4), axis=1).reset_index(drop=True),
        WIDE.set_axis(pd.date_range("2024", periods=4), axis=1),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        forecast,
        lambda X: make_windows(X, 8),
        lambda X: forecaster(WIDE).predict(X),
        lambda X: forecaster(WIDE).forecast(3, X),
        lambda X: forecaster(WIDE).score(X),
        lambda X: forecaster(WIDE).partial_fit(X),
    ],
)
def test_an_error_shows_both_readings_where_data_do_not_say(frame, use):
    with pytest.raises(ValueError, match=READINGS):
        use(frame)


def test_one_column_or_row_says_which_way_time_runs():
    for frame in (WIDE[["a"]].reset_index(drop=True), WIDE[["a"]]):
        np.testing.assert_array_equal(forecast(frame)["a"], forecast(wave(STEPS)))
    row = WIDE[["a"]].T.set_axis(range(STEPS), axis=1)
    np.testing.assert_array_equal(forecast(row).loc["a"], forecast(wave(STEPS)))


ORDER = {
    "backwards": (WIDE[::-1], "2024-02-29 .* is followed by 2024-02-28"),
    "shuffled": (WIDE.iloc[[0, 2, 1, *range(3, STEPS)]], "2024-01-03 .* by 2024-01-02"),
    "twice": (pd.concat([WIDE, WIDE]).sort_index(), "2024-01-01 .* by 2024-01-01"),
    "across": (WIDE[::-1].T, "2024-02-29 .* is followed by 2024-02-28"),
    "a column": (WIDE[::-1].reset_index(), "2024-02-29 .* is followed by 2024-02-28"),
    "periods": (WIDE.to_period("D")[::-1], "2024-02-29 is followed by 2024-02-28"),
    "series": (WIDE.a[::-1], "2024-02-29 .* is followed by 2024-02-28"),
    "numbers": (WIDE.a.reset_index(drop=True)[::-1], "59 is followed by 58"),
    "a panel": (WIDE[::-1].stack().swaplevel(), r"X\['a'\]|X of a"),
    "a list": ([WIDE, WIDE[::-1]], r"index of X\[1\]"),
    "missing": (WIDE.set_axis([pd.NaT, *DAYS[1:]]), "no value at position 0"),
    "missing period": (WIDE.set_axis(DAYS.to_period("D").insert(0, pd.NaT)[:-1]), "position 0"),
}


@pytest.mark.parametrize(("X", "message"), ORDER.values(), ids=ORDER)
@pytest.mark.parametrize("use", [forecast, lambda X: forecaster(WIDE.a).predict(X)])
def test_dates_out_of_order_are_refused(X, message, use):
    with pytest.raises(ValueError, match=message):
        use(X)


MONTHS = pd.date_range("2015-01-31", periods=80, freq="ME")
HOURS = pd.date_range("2024-03-30", periods=80, freq="h", tz="Europe/Berlin")
GAPS = {
    "days": DAYS,
    "periods": DAYS.to_period("D"),
    "business days": pd.bdate_range("2024-01-01", periods=80),
    "months": pd.date_range("2015-01-15", periods=80, freq=pd.DateOffset(months=1)),
    "month ends": MONTHS,
    "hours over a change of the clock": HOURS,
    "numbers": pd.RangeIndex(80),
    "durations": pd.to_timedelta(range(80), unit="min"),
}


@pytest.mark.parametrize("index", GAPS.values(), ids=GAPS)
def test_gaps_are_told_and_the_index_goes_on(index):
    whole = pd.Series(wave(len(index)), index)
    kept = [n for n in range(len(index) - 3) if n not in (20, 21)]
    with pytest.warns(UserWarning, match=r"has gaps, .* is followed by .*, most steps are of 1\b"):
        got = forecast(whole.iloc[kept])
    assert list(got.index) == list(index[-3:])


def test_uneven_dates_are_told():
    rng = np.random.default_rng(0)
    index = pd.DatetimeIndex(DAYS + pd.to_timedelta(rng.uniform(0, 5, STEPS), unit="h"))
    with pytest.warns(UserWarning, match="not evenly spaced"):
        forecast(WIDE.set_axis(index))


@pytest.mark.parametrize(
    "freq", ["D", "h", "15min", "B", "W-SUN", "MS", "ME", "QS", "QE", "YS", "YE", "BME", "2D"]
)
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_every_frequency_goes_on(freq, zone):
    index = pd.date_range("2023-11-03", periods=43, freq=freq, tz=zone)
    for given in (index[:40], pd.DatetimeIndex(list(index[:40]))):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.filterwarnings("ignore", message="Maximum iterations")
            assert list(forecast(pd.Series(wave(40), given)).index) == list(index[40:])


@pytest.mark.parametrize("start", ["2024-03-15", "2024-10-15"])
@pytest.mark.parametrize("freq", ["D", "h"])
def test_over_a_change_of_the_clock(start, freq):
    index = pd.date_range(start, periods=400, freq=freq, tz="Europe/Berlin")
    for end in range(255, 270) if freq == "h" else (10, 13, 17):
        series = pd.Series(wave(end), index[:end])
        if end > 11:
            assert list(forecast(series).index) == list(index[end : end + 3])


def test_other_series_go_on_in_their_own_form():
    fitted = forecaster(WIDE)
    tail = WIDE.tail(20)
    pd.testing.assert_frame_equal(fitted.forecast(3, tail), fitted.forecast())
    pd.testing.assert_frame_equal(fitted.predict(tail), fitted.forecast())
    got = fitted.forecast(2, WIDE.iloc[:30][["b", "d"]])
    assert got.index.tolist() == DAYS[30:32].tolist()
    assert list(got.columns) == ["b", "d"]
    assert fitted.forecast(2, tail.a).name == "a"
    assert fitted.forecast(2, tail.a.to_numpy()).shape == (2,)
    assert fitted.score(WIDE) == fitted.score(WIDE.to_numpy().T)
    X, y = make_windows(WIDE, 8, 3)
    want = make_windows(WIDE.to_numpy().T, 8, 3)
    np.testing.assert_array_equal(X, want[0])
    np.testing.assert_array_equal(y, want[1])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (WIDE.assign(e="x"), "must hold numbers, beside dates: .*pivot"),
        (WIDE.assign(e=DAYS), "dates in the columns .*'e'.*drop the others"),
        (WIDE.assign(a=np.nan), "X contains NaN"),
        (WIDE.assign(a=pd.array([pd.NA] + [1.0] * 59, "Float64")), "X contains NaN"),
        (WIDE.assign(a=np.inf), "X contains infinity"),
    ],
)
def test_what_is_no_number(frame, message):
    with pytest.raises(ValueError, match=message):
        forecast(frame)


# Classifiers and regressors, and windows with y: a row of a table is a sequence.

LAGS, AFTER = make_windows(wave(STEPS), 8)
TABLE = pd.DataFrame(LAGS, DAYS[8:], [f"lag {n}" for n in range(8)])


def regress(X, y):
    return SequenceRegressor(4, max_iter=2, random_state=0).fit(X, y)


@pytest.mark.parametrize("across", [False, True])
def test_rows_of_a_table_are_sequences(across):
    table = TABLE.set_axis(DAYS[:8], axis=1) if across else TABLE
    np.testing.assert_array_equal(
        regress(table, AFTER).predict(table), regress(LAGS, AFTER).predict(LAGS)
    )
    fitted = SequenceForecaster(8, hidden_size=4, max_iter=2, random_state=0).fit(table, AFTER)
    plain = SequenceForecaster(8, hidden_size=4, max_iter=2, random_state=0).fit(LAGS, AFTER)
    np.testing.assert_array_equal(fitted.predict(table), plain.predict(LAGS))


def test_tables_that_are_taken_for_something_else():
    with pytest.raises(ValueError, match=r"60 rows and 4 columns, y has 4 entries.*to_numpy.*T"):
        regress(WIDE, range(4))
    with pytest.raises(ValueError, match=r"the dates 'day' among its columns.*drop"):
        regress(TABLE.reset_index(), AFTER)
    with pytest.raises(ValueError, match="must be in the order of time"):
        regress(TABLE.set_axis(DAYS[:8][::-1], axis=1), AFTER)
    with pytest.raises(ValueError, match=r"X\[0\] has dates along its columns.*X\[0\].T"):
        regress([WIDE.T] * 3, range(3))


def test_lists_of_frames_are_sequences_of_features():
    frames = [WIDE.head(n) for n in (20, 30, 25, 40)]
    arrays, y = [frame.to_numpy() for frame in frames], [0, 1, 0, 1]
    forms = [frames, [frame.reset_index() for frame in frames]]
    classify = SequenceClassifier(4, max_iter=2, random_state=0)
    want = classify.fit(arrays, y).predict_proba(arrays)
    for form in forms:
        np.testing.assert_array_equal(classify.fit(form, y).predict_proba(form), want)
    with pytest.raises(ValueError, match=r"index of X\[2\] must be in the order"):
        classify.fit([*frames[:2], frames[2][::-1], frames[3]], y)


def test_a_panel_is_a_list_of_sequences():
    long = WIDE.stack().swaplevel()
    panel = pd.DataFrame({"v": long, "w": 2 * long})
    arrays = [np.stack([WIDE[name], 2 * WIDE[name]], axis=1) for name in "abcd"]
    y = pd.Series([0.0, 1.0, 2.0, 3.0], list("abcd"))
    want = regress(arrays, y).predict(arrays)
    np.testing.assert_array_equal(regress(panel, y).predict(panel), want)
    with pytest.raises(ValueError, match="y must be in the order of the sequences of X, 'a' first"):
        regress(panel, y[::-1])
    # With a target for each row, rows are sequences, as before.
    rows = regress(panel, panel["v"])
    assert rows.predict(panel).shape == (len(panel),)


# Polars.


def test_polars_frames():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(WIDE.reset_index().to_dict("list")).select("a", "b", "day", "c", "d")
    got = forecast(frame)
    assert got.columns == ["a", "b", "day", "c", "d"]
    assert got.schema == frame.schema
    assert got["day"].to_list() == NEXT.to_pydatetime().tolist()
    np.testing.assert_array_equal(got.drop("day").to_numpy().T, SERIES)
    (one,) = forecast([frame])
    np.testing.assert_array_equal(one.drop("day").to_numpy(), FEATURES)
    series = forecast(frame["a"])
    assert isinstance(series, pl.Series)
    assert series.name == "a"
    np.testing.assert_array_equal(series.to_numpy(), forecast(wave(STEPS)))
    for kind in (pl.Date, pl.Datetime("ms"), pl.Datetime("ns", "Europe/Berlin")):
        dated = frame.with_columns(pl.col("day").cast(kind) if kind is pl.Date else pl.col("day"))
        if kind is not pl.Date:
            unit = dated["day"].cast(pl.Datetime(kind.time_unit))
            dated = dated.with_columns(unit.dt.replace_time_zone(kind.time_zone))
        got = forecast(dated)
        assert got.schema == dated.schema
        dates = [moment.date() if kind is not pl.Date else moment for moment in got["day"]]
        assert dates == [datetime.date(2024, 3, day) for day in (1, 2, 3)]
    months = pl.date_range(
        datetime.date(2019, 1, 31), datetime.date(2023, 12, 31), "1mo", eager=True
    )
    got = forecast(frame.with_columns(months.alias("day")))
    assert got["day"].to_list() == [
        datetime.date(2024, *day) for day in ((1, 31), (2, 29), (3, 31))
    ]


def test_polars_frames_that_are_refused_or_told():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(WIDE.reset_index().to_dict("list"))
    with pytest.raises(ValueError, match=READINGS):
        forecast(frame.drop("day"))
    with pytest.raises(ValueError, match=r"2024-02-29 .* is followed by 2024-02-28"):
        forecast(frame.reverse())
    with pytest.raises(ValueError, match=r"columns \['day', 'e'\]"):
        forecast(frame.with_columns(e=pl.col("day")))
    with pytest.raises(ValueError, match="must hold numbers"):
        forecast(frame.with_columns(e=pl.lit("x")))
    with pytest.raises(ValueError, match="no value at position 3"):
        forecast(frame.with_columns(pl.when(pl.int_range(60) != 3).then("day").alias("day")))
    with pytest.raises(ValueError, match="NaN"):
        forecast(frame.with_columns(pl.when(pl.int_range(60) != 3).then("a").alias("a")))
    with pytest.raises(ValueError, match="the dates 'day' among its columns"):
        regress(frame, wave(STEPS))
    with pytest.warns(UserWarning, match="has gaps"):
        got = forecast(frame.filter(pl.int_range(60) != 30))
    assert got["day"].to_list() == NEXT.to_pydatetime().tolist()
    plain = frame.drop("day")
    assert regress(plain, wave(STEPS)).predict(plain).shape == (STEPS,)


def test_neither_library_is_needed():
    code = """
import sys, numpy as np, warnings; warnings.simplefilter("ignore")
class NotInstalled:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("pandas", "polars"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NotInstalled())
from bptt.sklearn import SequenceClassifier, SequenceForecaster
forecaster = SequenceForecaster(4, hidden_size=2, max_iter=1).fit(np.arange(30.0))
assert forecaster.forecast().shape == (1,)
X = [np.ones((n, 2)) for n in (3, 4)]
assert SequenceClassifier(2, max_iter=1).fit(X, [0, 1]).predict(X).shape == (2,)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dates_of_pyarrow():
    pytest.importorskip("pyarrow")
    index = pd.Index(DAYS.to_numpy(), dtype="timestamp[ns][pyarrow]", name="day")
    assert list(forecast(WIDE.set_axis(index)).index) == list(NEXT)
    frame = WIDE.reset_index().astype({"day": "timestamp[ns][pyarrow]", "a": "double[pyarrow]"})
    assert list(forecast(frame)["day"]) == list(NEXT)


def test_names_that_are_missing_or_categories():
    names = pd.Series([*"abc", None]).astype("category").cat.add_categories("unused")
    index = pd.MultiIndex.from_product([names.array, DAYS])
    got = forecast(pd.Series(WIDE.to_numpy().T.ravel(), index))
    np.testing.assert_array_equal(got.to_numpy().reshape(4, 3), SERIES)
