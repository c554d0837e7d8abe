"""The estimators: scikit-learn's own checks, and what users do with them."""

import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from estimating import fitted, waves
from showing import Notebook, Terminal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bptt
from bptt.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor

ESTIMATORS = [SequenceClassifier, SequenceRegressor, SequenceForecaster]
pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")


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
    assert (classifier.n_iter_, len(classifier.loss_curve_)) == (3, 6)
    assert classifier.loss_curve_[:3] == losses
    assert classifier.loss_curve_[3] < losses[0]
    classifier.set_params(early_stopping=True).fit(X, y)
    assert len(classifier.validation_scores_) == 3
    with pytest.raises(ValueError, match=r"y must hold classes among .*, got \['other'\]"):
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
    assert (copy.n_iter_, len(copy.loss_curve_)) == (1, 4)
    assert (classifier.n_iter_, len(classifier.loss_curve_)) == (3, 3)
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


def test_verbose_shows_training_where_it_can_be_updated(monkeypatch, capsys):
    X, y = waves()
    notebook = Notebook(monkeypatch)
    options = {"verbose": True, "early_stopping": True, "tol": 9, "n_iter_no_change": 3}
    classifier = fitted(SequenceClassifier(max_iter=9, **options), X, y)
    (shown,) = notebook.outputs
    score, loss = classifier.validation_scores_[-1], classifier.loss_
    text, html = shown[-1]["text/plain"], shown[-1]["text/html"]
    assert text.startswith("stopped after 5 of 9 epochs in ")
    assert f", loss {loss:.4g}, " in text and f"validation_score {score:.4g}" in text
    assert ">score<" in html and f">{score:.4g}<" in html
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Validation score did not improve")
    fitted(SequenceClassifier(max_iter=2), X, y)
    assert len(notebook.outputs) == 1
    notebook.kernel = None
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    classifier = fitted(SequenceClassifier(max_iter=2, verbose=True), X, y)
    assert "2 epochs in " in terminal.getvalue() and capsys.readouterr().out == ""
    classifier.partial_fit(X, y)
    assert "continues at epoch 3" in terminal.getvalue()
