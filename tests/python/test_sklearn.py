"""The estimators: scikit-learn's own checks, and what users do with them."""

import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bptt
from bptt.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor, make_windows

ESTIMATORS = [SequenceClassifier, SequenceRegressor, SequenceForecaster]
pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")


def waves(rows=40, seed=0, features=1):
    """Slow and fast waves of different lengths, by turns."""
    rng = np.random.default_rng(seed)
    X = []
    for n in range(rows):
        steps = rng.integers(12, 25)
        speed = (0.4, 1.1)[n % 2]
        wave = np.sin(speed * np.arange(steps) + rng.uniform(0, 6))
        X.append(np.stack([wave + 0.1 * k for k in range(features)], axis=1))
    return X, np.array(["slow", "fast"] * (rows // 2))


def fitted(estimator, X, y=None):
    settings = {"hidden_size": 8, "max_iter": 3, "random_state": 0}
    return estimator.set_params(**(settings | estimator_settings(estimator))).fit(X, y)


def estimator_settings(estimator):
    """What was set by the test: what differs from the defaults."""
    defaults = type(estimator)().get_params()
    return {k: v for k, v in estimator.get_params().items() if v != defaults[k]}


@pytest.mark.parametrize("name", [estimator.__name__ for estimator in ESTIMATORS])
def test_all_of_scikit_learns_checks(name):
    """In a process of its own, with SCIPY_ARRAY_API, without which one of them is skipped."""
    code = f"""
import os; os.environ["SCIPY_ARRAY_API"] = "1"
import warnings; warnings.simplefilter("ignore")
from sklearn.utils import estimator_checks as checks
import bptt.sklearn
estimator = bptt.sklearn.{name}()
results = checks.check_estimator(estimator, on_fail=None, on_skip=None)
assert len(results) > 50, len(results)
bad = [r for r in results if r["status"] != "passed"]
for r in bad:
    print(r["check_name"], r["status"], repr(r["exception"]))
assert not bad
checks.check_dataframe_column_names_consistency("{name}", estimator)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_lists_of_different_lengths_are_classified():
    X, y = waves()
    classifier = SequenceClassifier(
        16, learning_rate_init=0.02, max_iter=60, n_iter_no_change=60, random_state=0
    ).fit(X, y)
    test_X, test_y = waves(seed=1)
    assert classifier.score(test_X, test_y) > 0.9
    probabilities = classifier.predict_proba(test_X)
    assert probabilities.shape == (40, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.log(probabilities), classifier.predict_log_proba(test_X))
    named = classifier.classes_[probabilities.argmax(axis=1)]
    assert (classifier.predict(test_X) == named).all()
    assert classifier.classes_.tolist() == ["fast", "slow"]
    assert classifier.n_features_in_ == 1
    assert len(classifier.loss_curve_) == classifier.n_iter_ == 60
    assert classifier.best_loss_ == min(classifier.loss_curve_) <= classifier.loss_
    assert classifier.validation_scores_ is None


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_forms_of_data_train_alike(cell):
    table = np.random.default_rng(0).standard_normal((20, 7))
    y = table.sum(axis=1)
    forms = {
        "table": table,
        "lists": table.tolist(),
        "array": table[..., None],
        "list of arrays": list(table),
        "list of columns": list(table[..., None]),
        "array of objects": np.array([*table, None], dtype=object)[:-1],
        "pandas": pd.Series(list(table)),
        "Fortran, big-endian": np.asfortranarray(table).astype(">f8"),
    }
    curves, predictions = {}, {}
    for name, X in forms.items():
        regressor = fitted(SequenceRegressor(cell=cell), X, y)
        curves[name] = regressor.loss_curve_
        predictions[name] = regressor.predict(X)
        assert regressor.n_features_in_ == (
            7 if name in ("table", "lists", "Fortran, big-endian") else 1
        )
    for name in forms:
        assert curves[name] == curves["table"], name
        np.testing.assert_array_equal(predictions[name], predictions["table"])


def test_sequences_of_several_features_and_other_lengths():
    X, y = waves(features=3)
    classifier = fitted(SequenceClassifier(num_layers=2, bidirectional=True, dropout=0.2), X, y)
    assert classifier.n_features_in_ == 3
    assert classifier.predict(np.zeros((4, 50, 3))).shape == (4,)
    with pytest.raises(ValueError, match=r"X has 1 features a step, but .* expecting 3"):
        classifier.predict(np.zeros((4, 50)))


def test_trained_with_sequences_it_takes_tables_of_any_width():
    X, y = waves()
    classifier = fitted(SequenceClassifier(), X, y)
    assert classifier.predict(np.zeros((4, 50))).shape == (4,)


def test_targets_of_several_outputs_are_scaled_and_scaled_back():
    X = np.random.default_rng(0).uniform(size=(100, 6))
    y = np.stack([1e6 + 1e3 * X.mean(axis=1), 1e-6 * X[:, -1]], axis=1)
    regressor = SequenceRegressor(
        16, learning_rate_init=0.01, max_iter=100, tol=0, random_state=0
    ).fit(X, y)
    assert regressor.predict(X).shape == (100, 2)
    assert regressor.score(X, y) > 0.9
    assert regressor.loss_ < 0.1  # a share of the variance
    plain = SequenceRegressor(16, max_iter=1, scale=False, random_state=0).fit(X, y)
    assert plain.loss_ > 1e9


def test_features_that_are_constant_or_far_from_zero():
    X = np.random.default_rng(0).uniform(size=(50, 6, 2))
    X[..., 1] = 0.1
    y = X[..., 0].mean(axis=1)
    a = fitted(SequenceRegressor(), X, y)
    b = fitted(SequenceRegressor(), np.concatenate([1e9 + 1e3 * X[..., :1], X[..., 1:]], axis=2), y)
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-3)


def test_early_stopping_keeps_the_best_parameters():
    X, y = waves(60)
    settings = {"learning_rate_init": 0.05, "max_iter": 200, "n_iter_no_change": 5}
    classifier = SequenceClassifier(
        8, early_stopping=True, validation_fraction=0.3, random_state=0, **settings
    ).fit(X, y)
    scores = classifier.validation_scores_
    assert len(scores) == classifier.n_iter_ < 200
    assert classifier.best_validation_score_ == max(scores)
    # The same run, ended where the best score was first: the same parameters.
    best = scores.index(max(scores)) + 1
    again = clone(classifier).set_params(max_iter=best).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert again.validation_scores_ == scores[:best]


def test_training_ends_when_the_loss_does_not_improve():
    X, _ = waves()
    regressor = SequenceRegressor(8, tol=10.0, n_iter_no_change=4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor.fit(X, np.arange(40.0))
    assert regressor.n_iter_ == 6  # the first one, which improves on infinity, and five more
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\)"):
        regressor.set_params(max_iter=2).fit(X, np.arange(40.0))


def test_partial_fit_makes_one_pass_and_goes_on():
    X, y = waves()
    settings = {"hidden_size": 8, "random_state": 0, "tol": 0, "shuffle": False}
    parts = SequenceClassifier(**settings)
    for _ in range(3):
        assert parts.partial_fit(X, y, classes=["fast", "slow"]) is parts
    whole = SequenceClassifier(max_iter=3, **settings).fit(X, y)
    assert parts.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))
    first = SequenceClassifier(**settings).partial_fit(X[:1], y[:1], classes=["fast", "slow"])
    assert first.predict_proba(X).shape == (40, 2)


def test_warm_start_goes_on_from_the_last_parameters():
    X, y = waves()
    classifier = fitted(SequenceClassifier(warm_start=True), X, y)
    losses = list(classifier.loss_curve_)
    classifier.fit(X, y)
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 6
    assert classifier.loss_curve_[:3] == losses
    assert classifier.loss_curve_[3] < losses[0]
    classifier.set_params(early_stopping=True).fit(X, y)
    assert len(classifier.validation_scores_) == 3
    with pytest.raises(ValueError, match=r"classes \['other'\], which are not among"):
        classifier.fit(X, ["other"] * 40)
    assert fitted(SequenceClassifier(), X, y).fit(X, y).loss_curve_ == losses


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(estimator):
    X = np.random.default_rng(0).standard_normal((200, 30))
    y = (X.sum(axis=1) > 0).astype(int)
    before, results = bptt.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            bptt.set_num_threads(threads)
            # Large enough for the core to share the work out.
            made = estimator(hidden_size=64, max_iter=2, batch_size=100, random_state=3)
            results.append((made.fit(X, y).loss_curve_, made.predict(X).tolist()))
    finally:
        bptt.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_random_states_and_generators():
    X, y = waves()
    losses = [
        SequenceClassifier(4, max_iter=1, random_state=make(0)).fit(X, y).loss_
        for make in (np.random.RandomState, np.random.default_rng)
        for _ in range(2)
    ]
    assert losses[0] == losses[1]
    assert losses[2] == losses[3] != losses[0]
    generator = np.random.default_rng(0)
    classifier = SequenceClassifier(4, max_iter=1, random_state=generator)
    assert classifier.fit(X, y).loss_ != classifier.fit(X, y).loss_


def test_copies_predict_the_same_and_go_on():
    X, y = waves()
    classifier = fitted(SequenceClassifier(), X, y)
    copy = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(copy.predict_proba(X), classifier.predict_proba(X))
    copy.partial_fit(X, y)
    assert copy.n_iter_ == 4
    assert classifier.n_iter_ == 3
    fresh = clone(classifier)
    assert fresh.get_params() == classifier.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_pipelines_and_searches():
    table = np.random.default_rng(0).standard_normal((60, 8))
    y = table.sum(axis=1) > 0
    pipeline = make_pipeline(StandardScaler(), SequenceClassifier(8, max_iter=5, random_state=0))
    assert pipeline.fit(table, y).predict(table).dtype == bool
    assert cross_val_score(pipeline, table, y, cv=3).shape == (3,)
    X, names = waves()
    search = GridSearchCV(
        SequenceClassifier(max_iter=2, random_state=0), {"hidden_size": [4, 8]}, cv=2
    ).fit(X, names)
    assert search.best_estimator_.predict(X).shape == (40,)


WORKERS = """
import os, threading, time
import joblib, numpy as np
import bptt
from sklearn.model_selection import GridSearchCV
from bptt.sklearn import SequenceRegressor

class Counting(SequenceRegressor):
    def score(self, X, y):
        return float(sum(name.startswith("bptt") for name in names()) + 1)

def names():
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/comm") as file:
            yield file.read()

if __name__ == "__main__":
    os.environ.pop("OMP_NUM_THREADS", None)
    bptt.set_num_threads(8)  # of this process
    X = np.random.default_rng(0).standard_normal((400, 60))
    search = GridSearchCV(
        Counting(batch_size=200, max_iter=2), {"cell": ["gru", "lstm"]}, cv=2, n_jobs=2, refit=False
    ).fit(X, X[:, 0])
    print(search.cv_results_["mean_test_score"].max(), max(joblib.cpu_count() // 2, 1))
    Counting(batch_size=200, max_iter=2).fit(X, X[:, 0])
    print(sum(name.startswith("bptt") for name in names()) + 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_of_joblib_share_the_cores(tmp_path):
    """A worker has no more threads of the core's than joblib allots; the main process has all."""
    script = tmp_path / "search.py"
    script.write_text(WORKERS)
    run = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    worker, main = run.stdout.splitlines()
    threads, share = map(float, worker.split())
    assert threads == share
    assert main == "8"


def in_worker(_):
    X = np.zeros((4, 5))
    SequenceRegressor(4, max_iter=1).fit(X, X[:, 0])
    return bptt.get_num_threads()


def test_workers_of_multiprocessing_have_one_thread():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parallel = joblib.Parallel(n_jobs=2, backend="multiprocessing")
        assert parallel(joblib.delayed(in_worker)(n) for n in range(2)) == [1, 1]


def test_interrupted_training_keeps_what_it_has(monkeypatch):
    score, calls = SequenceClassifier._score, []

    def interrupted(self, *args):
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(self, *args)

    monkeypatch.setattr(SequenceClassifier, "_score", interrupted)
    X, y = waves()
    with pytest.warns(UserWarning, match="interrupted by user"):
        classifier = fitted(SequenceClassifier(max_iter=20, early_stopping=True), X, y)
    assert classifier.n_iter_ == 3
    assert len(classifier.validation_scores_) == 2
    assert classifier.predict(X).shape == (40,)


def test_verbose_prints_losses(capsys):
    X, y = waves()
    classifier = fitted(SequenceClassifier(verbose=True, early_stopping=True), X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Iteration 1, loss = {classifier.loss_curve_[0]:.8f}"
    assert lines[1] == f"Validation score: {classifier.validation_scores_[0]:f}"
    assert len(lines) == 6


# Forecasting.


def wave(steps=200, start=0):
    return 50 + 10 * np.sin(0.5 * np.arange(start, start + steps))


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_a_wave_goes_on(strategy):
    forecaster = SequenceForecaster(
        15, 6, strategy=strategy, hidden_size=16, learning_rate_init=0.01, tol=0, random_state=0
    ).fit(wave())
    forecast = forecaster.forecast()
    assert forecast.shape == (6,)
    np.testing.assert_allclose(forecast, wave(6, 200), atol=1.0)
    np.testing.assert_allclose(forecaster.forecast(20), wave(20, 200), atol=2.0)
    np.testing.assert_array_equal(forecaster.forecast(4), forecaster.forecast(20)[:4])
    np.testing.assert_array_equal(forecaster.forecast(6, wave()), forecast)
    np.testing.assert_array_equal(forecaster.predict([wave()]), forecast[None])
    np.testing.assert_array_equal(forecaster.predict(wave()[None, -15:]), forecast[None])
    assert forecaster.score(wave(100, 7)) > 0.98


def test_windows_are_what_series_are_cut_into():
    series, settings = wave(60), {"hidden_size": 8, "max_iter": 3, "random_state": 0}
    X, y = make_windows(series, 10, 3)
    assert (X.shape, y.shape) == ((48, 10), (48, 3))
    np.testing.assert_array_equal(X[5], series[5:15])
    np.testing.assert_array_equal(y[5], series[15:18])
    a = SequenceForecaster(10, 3, **settings).fit(series)
    b = SequenceForecaster(99, 3, **settings).fit(X, y)
    assert a.loss_curve_ == b.loss_curve_
    assert a.score(series) == b.score(X, y)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    np.testing.assert_array_equal(a.forecast(5), b.forecast(5, series))
    with pytest.raises(ValueError, match="fitted with windows"):
        b.forecast()
    search = GridSearchCV(
        SequenceForecaster(10, 3, **settings), {"cell": ["gru", "rnn"]}, cv=TimeSeriesSplit(2)
    ).fit(X, y)
    assert search.best_score_ > -10


def test_several_series_of_several_features():
    series = [np.stack([wave(n), 1e-3 * wave(n, 9)], axis=1) for n in (50, 70)]
    forecaster = fitted(SequenceForecaster(8, 4), series)
    assert forecaster.n_features_in_ == 2
    assert forecaster.forecast().shape == (2, 4, 2)
    assert forecaster.forecast(9, series[0][None]).shape == (1, 9, 2)
    assert forecaster.predict(np.zeros((3, 8, 2))).shape == (3, 4, 2)
    assert 0.02 < forecaster.forecast()[0, :, 1].mean() < 0.08  # in units of the feature
    X, y = make_windows(series, 8, 4)
    assert (X.shape, y.shape) == ((39 + 59, 8, 2), (39 + 59, 4, 2))
    assert fitted(SequenceForecaster(8, 4), X, y).loss_curve_ == forecaster.loss_curve_


def test_subtracting_the_last_value_makes_levels_irrelevant():
    forecaster = fitted(SequenceForecaster(8, 3, subtract_last=True), wave(60))
    window = wave(8)[None]
    np.testing.assert_allclose(
        forecaster.predict(window + 1000), forecaster.predict(window) + 1000, rtol=1e-6
    )
    trend = 3.0 * np.arange(100)
    settings = {"hidden_size": 8, "max_iter": 5, "random_state": 0}
    grown = SequenceForecaster(8, 3, subtract_last=True, **settings).fit(trend).forecast(30)
    np.testing.assert_allclose(grown, 3.0 * np.arange(100, 130), atol=0.5)


def test_what_early_stopping_holds_out_is_the_end_and_nothing_reaches_into_it():
    forecaster = SequenceForecaster(4, 3, validation_fraction=0.2)
    forecaster._counts, forecaster._block = [10, 20], 3
    train, held_out = forecaster._hold_out(np.zeros(30), 0)
    assert held_out.tolist() == [8, 9, 26, 27, 28, 29]
    assert train.tolist() == [*range(6), *range(10, 24)]
    forecaster = SequenceForecaster(
        8, 3, hidden_size=8, early_stopping=True, max_iter=30, random_state=0
    ).fit(wave(100))
    assert forecaster.best_validation_score_ == max(forecaster.validation_scores_)


def test_a_horizon_that_changed_after_fit():
    forecaster = fitted(SequenceForecaster(8, 4), wave(60))
    want = forecaster.forecast(6)
    forecaster.set_params(horizon=6)
    np.testing.assert_array_equal(forecaster.predict(wave(60)[None]), want[None])
    with pytest.raises(ValueError, match="tells 4 steps at once, so training cannot go on with 6"):
        forecaster.partial_fit(wave(60))
    np.testing.assert_array_equal(forecaster.forecast(), want)


def test_a_step_of_one_feature_is_a_number():
    forecaster = fitted(SequenceForecaster(5), wave(40))
    assert forecaster.predict(np.zeros((3, 5))).shape == (3,)
    assert forecaster.forecast().shape == (1,)
    assert make_windows(wave(40), 5)[1].shape == (35,)
    forecaster.partial_fit(wave(40))
    assert forecaster.n_iter_ == 4


# Bad input.

X, Y = np.random.default_rng(0).standard_normal((12, 5)), np.arange(12.0)


def classify(X=X, y=None, **settings):
    return (
        SequenceClassifier(4, max_iter=1)
        .set_params(**settings)
        .fit(X, [0, 1] * 6 if y is None else y)
    )


def regress(X=X, y=Y, **settings):
    return SequenceRegressor(4, max_iter=1).set_params(**settings).fit(X, y)


def forecast(X=None, y=None, **settings):
    X = wave(40) if X is None else X
    return SequenceForecaster(hidden_size=4, max_iter=1).set_params(**settings).fit(X, y)


BAD = {
    "hidden": (lambda: classify(hidden_size=0), ValueError, "hidden_size must be at least 1"),
    "hidden real": (lambda: classify(hidden_size=2.0), TypeError, "whole number"),
    "layers": (lambda: classify(num_layers=0), ValueError, "num_layers must be at least 1"),
    "cell": (lambda: classify(cell="tcn"), ValueError, '"lstm", "gru" or "rnn", got \'tcn\''),
    "cell type": (lambda: classify(cell=["lstm"]), ValueError, "cell must be"),
    "directions": (lambda: classify(bidirectional=1), TypeError, "bidirectional must be True"),
    "dropout": (lambda: classify(dropout=1.0), ValueError, r"dropout must be in \[0, 1\)"),
    "batch": (lambda: classify(batch_size=0), ValueError, "batch_size must be at least 1"),
    "batch auto": (lambda: classify(batch_size="auto"), TypeError, "batch_size must be a whole"),
    "rate": (lambda: classify(learning_rate_init=0), ValueError, "learning_rate_init must be"),
    "rate nan": (lambda: classify(learning_rate_init=np.nan), ValueError, "learning_rate_init"),
    "passes": (lambda: classify(max_iter=0), ValueError, "max_iter must be at least 1"),
    "clip": (lambda: classify(clip_norm=0), ValueError, "clip_norm must be above 0 or None"),
    "tol": (lambda: classify(tol=-1), ValueError, "tol must be at least 0"),
    "patience": (lambda: classify(n_iter_no_change=0), ValueError, "n_iter_no_change must be"),
    "fraction": (lambda: classify(validation_fraction=1.0), ValueError, "between 0 and 1"),
    "seed": (lambda: classify(random_state="x"), ValueError, "'x' cannot be used to seed"),
    "one dimension": (lambda: classify(X[0]), ValueError, "Expected 2D array, got 1D"),
    "four dimensions": (lambda: classify(np.zeros((12, 2, 2, 2))), ValueError, "dim 4|shape"),
    "no sequences": (lambda: classify([], []), ValueError, "Expected 2D|minimum of 1"),
    "no steps": (lambda: classify(np.zeros((12, 0, 2))), ValueError, "no steps or no features"),
    "one without steps": (
        lambda: classify([*X[:-1], X[0, :0]]),
        ValueError,
        r"X\[11\]|minimum of 1",
    ),
    "nan": (lambda: classify(X * np.nan), ValueError, "X contains NaN"),
    "nan in a list": (
        lambda: classify([*X[:-1], X[0, :3] * np.nan]),
        ValueError,
        r"X\[11\] contains",
    ),
    "complex": (lambda: classify(X[..., None] + 1j), ValueError, "[Cc]omplex"),
    "strings": (lambda: classify([["a", "b"], ["c"]] * 6), ValueError, "could not convert"),
    "features": (
        lambda: classify([*[X] * 11, X[:, :2]]),
        ValueError,
        r"as many features, got 5 in X\[0\] and 2 in X\[11\]",
    ),
    "rank in a list": (lambda: classify([X[None]] * 12), ValueError, r"X\[0\] of shape"),
    "count": (
        lambda: classify(y=[0, 1]),
        ValueError,
        r"inconsistent numbers of samples: \[12, 2\]",
    ),
    "continuous": (lambda: classify(y=Y + 0.5), ValueError, "continuous"),
    "nan classes": (lambda: classify(y=Y * np.nan), ValueError, "NaN"),
    "columns": (lambda: classify().predict(X[:, :3]), ValueError, "X has 3 features, but"),
    "features later": (
        lambda: classify().predict(np.zeros((2, 5, 3))),
        ValueError,
        "X has 3 features a step, but SequenceClassifier is expecting 1",
    ),
    "partial stop": (
        lambda: SequenceClassifier(early_stopping=True).partial_fit(X, [0, 1] * 6),
        ValueError,
        "partial_fit does not support early_stopping",
    ),
    "partial classes": (
        lambda: SequenceClassifier(4).partial_fit(X, [0, 1] * 6, classes=[0, 2]),
        ValueError,
        r"y has the classes \[1\], which are not among \[0, 2\]",
    ),
    "partial other classes": (
        lambda: classify().partial_fit(X, [0, 1] * 6, classes=[0, 1, 2]),
        ValueError,
        "in the first call",
    ),
    "rare class": (
        lambda: classify(y=[0] * 11 + [1], early_stopping=True),
        ValueError,
        "least populated class",
    ),
    "no y": (lambda: regress(y=None), ValueError, "requires y to be passed"),
    "y rank": (lambda: regress(y=np.zeros((12, 2, 2))), ValueError, "dim 3"),
    "y nan": (lambda: regress(y=Y * np.nan), ValueError, "y contains NaN"),
    "y outputs": (
        lambda: regress().partial_fit(X, np.zeros((12, 2))),
        ValueError,
        "y has 2 outputs, but had 1",
    ),
    "too few": (lambda: regress(X[:4], Y[:4], early_stopping=True), ValueError, "R\\^2 needs two"),
    "window": (lambda: forecast(window=0), ValueError, "window must be at least 1"),
    "horizon": (lambda: forecast(horizon=0), ValueError, "horizon must be at least 1"),
    "strategy": (lambda: forecast(strategy="x"), ValueError, '"direct" or "recursive", got \'x\''),
    "relative": (lambda: forecast(subtract_last="x"), TypeError, "subtract_last must be True"),
    "short": (
        lambda: forecast(wave(12)),
        ValueError,
        "series 0 has 12 steps: a window of 12 and a horizon of 1 need 13",
    ),
    "a column": (
        lambda: forecast(wave(40)[:, None]),
        ValueError,
        r"series 0 has 1 steps.* One series is \(n,\)",
    ),
    "nan series": (lambda: forecast(wave(40) * np.nan), ValueError, "NaN"),
    "y and horizon": (
        lambda: forecast(X, np.zeros((12, 2)), horizon=3),
        ValueError,
        r"y must have shape \(12, 3\).*got \(12, 2\)",
    ),
    "y and features": (
        lambda: forecast(np.zeros((12, 5, 2)), Y),
        ValueError,
        r"y must have shape \(12, 1, 2\)",
    ),
    "short history": (
        lambda: forecast().predict(np.zeros((2, 11))),
        ValueError,
        r"X\[0\] has 11 steps, and a forecast is made from 12 \(window\)",
    ),
    "steps": (lambda: forecast().forecast(0), ValueError, "steps must be at least 1"),
    "other features": (
        lambda: forecast().forecast(1, np.zeros((1, 20, 2))),
        ValueError,
        "X has 2 features a step",
    ),
    "few windows": (
        lambda: forecast(wave(14), early_stopping=True),
        ValueError,
        "of 2 windows early_stopping holds out 1",
    ),
    "windows": (lambda: make_windows(wave(5), 0), ValueError, "window must be at least 1"),
    "windows real": (lambda: make_windows(wave(5), 1.5), TypeError, "whole number"),
    "windows of nothing": (lambda: make_windows([], 1), ValueError, "minimum of 1"),
    "windows of a number": (lambda: make_windows(3.0, 1), ValueError, "Expected 2D"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input(case):
    work, error, message = case
    with pytest.raises(error, match=message):
        work()


@pytest.mark.parametrize("make", [classify, regress, forecast])
def test_a_refused_fit_leaves_the_estimator(make):
    estimator = make()
    want = estimator.predict(np.ones((3, 12 if make is forecast else 5)))
    before = estimator.__dict__.copy()
    for X, y in ((np.zeros((12, 3, 2)), [np.nan] * 12), (np.zeros((3, 2)), [0.5])):
        with pytest.raises(ValueError):
            estimator.fit(X, y)
        assert estimator.__dict__ == before
    got = estimator.predict(np.ones((3, 12 if make is forecast else 5)))
    np.testing.assert_array_equal(got, want)


def test_training_that_diverges_leaves_the_estimator():
    regressor = regress()
    before = regressor.predict(X)
    with pytest.raises(bptt.DivergedError, match="training diverged"):
        regressor.set_params(learning_rate_init=1e39, batch_size=2).fit(X, Y)
    np.testing.assert_array_equal(regressor.predict(X), before)
