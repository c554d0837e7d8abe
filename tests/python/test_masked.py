"""Masked arrays: no entry that takes an array drops a mask without a word."""

import matplotlib as mpl
import numpy as np
import pytest

import bptt
from bptt import lab

mpl.use("agg")

X = np.random.default_rng(0).standard_normal((4, 5, 2))
Y = X[..., :1].copy()
TOKENS = np.random.default_rng(1).integers(0, 3, (4, 5))


def masked(array, index=(0,)):
    """An array with one masked value."""
    array = np.ma.array(array, copy=True)
    array[(*index, *[0] * (array.ndim - len(index)))] = np.ma.masked
    return array


def lstm(**options):
    return bptt.LSTM(2, 3, rng=0, **options)


def model():
    return bptt.Sequential(bptt.GRU(2, 3, rng=0), bptt.Linear(3, 1, rng=0))


def tokens():
    return bptt.Sequential(bptt.OneHot(3), bptt.GRU(3, 3, rng=0))


def fit(x, y, m=None, **options):
    settings = {"loss": "mse", "optimizer": bptt.SGD(0.1), "progress": False}
    return (m or model()).fit(x, y, **(settings | options))


def fit_tokens(x, y, **options):
    return fit(x, y, tokens(), **{"loss": "cross_entropy"} | options)


def mapped(array, path):
    to = np.memmap(path, array.dtype, "w+", shape=array.shape)
    to[:] = array
    return to


def backward(**given):
    layer = lstm()
    y, (h, c), tape = layer.forward(X)
    dy = given.get("dy", np.ones_like(y))
    return layer.backward(tape, dy, (given.get("dh", np.ones_like(h)), np.ones_like(c)))


def linear_backward(dy):
    layer = bptt.Linear(2, 3, rng=0)
    return layer.backward(layer.forward(X)[1], dy)


def stepper_state(state):
    lstm().stepper().state = ((state, np.zeros((1, 1, 3))),)


P = lab.init_rnn(4, 3)
COLUMNS = np.eye(3)[[0, 1, 2, 0]][..., None]
HIDDEN = np.zeros((4, 1))

#: Each entry, as a function of an array, with the array.
ENTRIES = {
    "layer": (lstm(), X),
    "layer list": (lambda x: lstm()(list(x)), X),
    "layer nested": (lambda x: lstm()([[list(row) for row in part] for part in x]), X),
    "layer state": (lambda h: lstm()(X, (h, np.zeros((1, 5, 3)))), np.zeros((1, 5, 3))),
    "layer lengths": (lambda n: lstm()(X, lengths=n), np.array([1, 2, 3, 4, 4])),
    "forward": (lambda x: lstm().forward(x), X),
    "backward": (lambda dy: backward(dy=dy), np.ones((4, 5, 3))),
    "backward state": (lambda dh: backward(dh=dh), np.ones((1, 5, 3))),
    "gru": (bptt.GRU(2, 3, rng=0), X),
    "explain": (lambda x: bptt.explain(lstm(), x), X),
    "linear": (bptt.Linear(2, 3, rng=0), X),
    "linear backward": (linear_backward, np.ones((4, 5, 3))),
    "layer norm": (bptt.LayerNorm(2), X),
    "dropout": (bptt.Dropout(0.5), X),
    "last step": (bptt.LastStep(), X),
    "one-hot": (bptt.OneHot(3), TOKENS),
    "embedding": (bptt.Embedding(3, 2, rng=0), TOKENS),
    "stepper": (lambda x: lstm().stepper(4).step(x), X[:, 0]),
    "stepper tokens": (lambda x: tokens().stepper(4).step(x), TOKENS[:, 0]),
    "stepper state": (stepper_state, np.zeros((1, 1, 3))),
    "load_state_dict": (
        lambda a: bptt.Linear(2, 3).load_state_dict({"weight": a, "bias": np.zeros(3)}),
        np.zeros((3, 2)),
    ),
    "model load_state_dict": (
        lambda a: model().load_state_dict(model().state_dict() | {"1.bias": a}),
        np.zeros(1),
    ),
    "fit x": (lambda x: fit(x, Y), X),
    "fit y": (lambda y: fit(X, y), Y),
    "fit list": (lambda x: fit(list(x), list(Y)), X),
    "fit tokens": (lambda x: fit_tokens(x, TOKENS), TOKENS),
    "fit classes": (lambda y: fit_tokens(TOKENS, y), TOKENS),
    "fit weights": (lambda w: fit(X, Y, sample_weight=w), np.ones(4)),
    "fit batches": (lambda x: fit([(x, Y)], None), X),
    "validation x": (lambda x: fit(X, Y, validation=(x, Y)), X),
    "validation y": (lambda y: fit(X, Y, validation=(X, y)), Y),
    "validation batches": (lambda x: fit(X, Y, validation=iter([(x, Y)])), X),
    "class weights": (
        lambda w: fit_tokens(TOKENS, TOKENS, loss=bptt.CrossEntropyLoss(weight=w)),
        np.ones(3),
    ),
    "pos_weight": (lambda w: fit(X, Y > 0, loss=bptt.BCEWithLogitsLoss(pos_weight=w)), np.ones(1)),
    "last step y": (
        lambda y: fit(X, y, bptt.Sequential(*model().layers, bptt.LastStep())),
        Y[:, 0],
    ),
    "predict": (lambda x: model().predict(x, progress=False), X),
    "predict list": (lambda x: model().predict(list(x), progress=False), X),
    "evaluate x": (lambda x: model().evaluate(x, Y, loss="mse"), X),
    "evaluate y": (lambda y: model().evaluate(X, y, loss="mse"), Y),
    "generate": (lambda p: tokens().generate(p, 3), TOKENS[0]),
    "gates": (lambda a: bptt.plot.gates({"i": a}), np.zeros((4, 3))),
    "confusion": (lambda a: bptt.plot.confusion(a, np.zeros(4)), np.zeros(4)),
    "confusion y_pred": (lambda a: bptt.plot.confusion(np.zeros(4), a), np.zeros(4)),
    "confusion labels": (lambda a: bptt.plot.confusion([0, 1], [0, 1], a), np.arange(2)),
    "forecast": (lambda a: bptt.plot.forecast(a, {"a": np.zeros(3)}), np.zeros(4)),
    "forecast of a name": (lambda a: bptt.plot.forecast(np.zeros(3), {"a": a}), np.zeros(4)),
    "forecast times": (
        lambda a: bptt.plot.forecast(np.zeros(3), np.zeros(3), times=a),
        np.arange(6),
    ),
    "lab sigmoid": (lab.sigmoid, X),
    "lab tanh": (lab.tanh, X),
    "lab softmax": (lab.softmax, X),
    "lab forward": (lambda a: lab.forward_pass(a, HIDDEN, P), COLUMNS),
    "lab hidden": (lambda a: lab.forward_pass(COLUMNS, a, P), HIDDEN),
    "lab parameters": (lambda a: lab.forward_pass(COLUMNS, HIDDEN, (a, *P[1:])), P[0]),
    "lab gradients": (lambda a: lab.update_parameters([np.zeros(3)], [a]), np.zeros(3)),
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_masked_values_are_refused_and_others_taken(entry):
    work, array = entry
    work(array)
    work(np.ma.array(array))  # nothing is masked
    work(np.ma.array(array, mask=np.zeros(array.shape, bool)))
    with pytest.raises(ValueError, match="must have no masked values"):
        work(masked(array))
    with pytest.raises(ValueError, match="must have no masked values"):
        work(masked(array, (-1,)))


def test_a_mask_over_a_mapped_file_is_found_before_training(tmp_path):
    """Such data are converted batch by batch; the mask is in the last sequence."""
    x, y = mapped(X, tmp_path / "x"), mapped(Y, tmp_path / "y")
    for given in (masked(x, (-1,)), [*x[:3], masked(x[3])]):
        m = model()
        before = m.state_dict()
        with pytest.raises(ValueError, match="x must have no masked values"):
            fit(given, y, m)
        assert all((array == before[name]).all() for name, array in m.state_dict().items())
        with pytest.raises(ValueError, match="x must have no masked values"):
            m.predict(given, progress=False)


@pytest.mark.parametrize("value", [np.ma.masked, np.ma.array(3, mask=True)])
@pytest.mark.parametrize("name", ["epochs", "batch_size", "clip_norm", "tbptt", "accumulate"])
def test_a_masked_number_is_no_number(value, name):
    with pytest.raises(TypeError, match=f"{name} must be a"):
        fit(X, Y, **{name: value})


@pytest.mark.filterwarnings("ignore:Maximum iterations")
def test_estimators_refuse_them():
    sklearn = pytest.importorskip("bptt.sklearn")
    table, kinds, numbers = X[..., 0], np.array([0, 1, 0, 1]), Y[:, 0, 0]
    series = np.arange(40.0)
    options = {"max_iter": 1, "hidden_size": 2, "random_state": 0}
    for make, y in ((sklearn.SequenceClassifier, kinds), (sklearn.SequenceRegressor, numbers)):
        for x in (X, table, list(X)):
            given = [masked(part) for part in x] if isinstance(x, list) else masked(x)
            with pytest.raises(ValueError, match="X must have no masked values"):
                make(**options).fit(given, y)
            with pytest.raises(ValueError, match="X must have no masked values"):
                make(**options).partial_fit(given, y, *[[0, 1]] * (y is kinds))
            fitted = make(**options).fit(x, y)
            with pytest.raises(ValueError, match="X must have no masked values"):
                fitted.predict(given)
        with pytest.raises(ValueError, match="y must have no masked values"):
            make(**options).fit(X, masked(y))
        with pytest.raises(ValueError, match="y must have no masked values"):
            make(**options).fit(X, y).score(X, masked(y))
    with pytest.raises(ValueError, match="classes must have no masked values"):
        sklearn.SequenceClassifier(**options).partial_fit(X, kinds, masked(np.arange(2)))
    forecaster = sklearn.SequenceForecaster(window=5, horizon=2, **options)
    with pytest.raises(ValueError, match="masked values"):
        forecaster.fit(masked(series))
    forecaster.fit(series)
    for work in (
        lambda series: forecaster.forecast(2, series),
        forecaster.score,
        lambda series: sklearn.make_windows(series, 5, 2),
        lambda y: forecaster.score(np.ones((40, 5)), np.ma.stack([y, y], 1)),
    ):
        with pytest.raises(ValueError, match="masked values"):
            work(masked(series))
    with pytest.raises(ValueError, match="masked values"):
        forecaster.predict(masked(series[None, :5]))
