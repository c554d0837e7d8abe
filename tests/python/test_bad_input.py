"""Bad input: an error that says what was given and what is accepted, and nothing changed."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import bptt

NAN, INF = float("nan"), float("inf")
X, Y = np.zeros((4, 5, 2)), np.zeros((4, 5, 1))


def lstm():
    return bptt.LSTM(2, 3, rng=0)


def model():
    return bptt.Sequential(bptt.LSTM(2, 3, rng=0), bptt.Linear(3, 1, rng=0))


def both_ways():
    layers = bptt.LSTM(2, 3, bidirectional=True, rng=0), bptt.Linear(6, 1, rng=0)
    return bptt.Sequential(*layers)


def last_step():
    return bptt.Sequential(bptt.LSTM(2, 3, rng=0), bptt.LastStep(), bptt.Linear(3, 1, rng=0))


def tokens():
    return bptt.Sequential(bptt.OneHot(3), bptt.RNN(3, 4, rng=0), bptt.Linear(4, 3, rng=0))


def fit(m, x=X, y=Y, **settings):
    defaults = {"loss": "mse", "optimizer": bptt.SGD(0.1), "batch_size": 2, "progress": False}
    return m.fit(x, y, **(defaults | settings))


def fit_tokens(x, y, **settings):
    return fit(tokens(), x, y, **({"loss": "cross_entropy"} | settings))


CONSTRUCTORS = {
    "zero input": (lambda: bptt.LSTM(0, 3), ValueError, "input_size must be at least 1, got 0"),
    "negative hidden": (lambda: bptt.RNN(2, -3), ValueError, "hidden_size must be at least 1"),
    "fractional size": (lambda: bptt.LSTM(2.5, 3), TypeError, "whole number, got 2.5"),
    "text size": (lambda: bptt.LSTM("2", 3), TypeError, "whole number"),
    "bool size": (lambda: bptt.LSTM(True, 3), TypeError, "whole number"),
    "huge": (lambda: bptt.LSTM(2**40, 2**40), ValueError, "fit in memory"),
    "bias": (lambda: bptt.LSTM(2, 3, bias=1), TypeError, "True or False"),
    "dtype": (lambda: bptt.LSTM(2, 3, dtype="float16"), TypeError, "float32 or float64"),
    "dtype nonsense": (lambda: bptt.LSTM(2, 3, dtype="x"), TypeError, "float32 or float64"),
    "rng": (lambda: bptt.LSTM(2, 3, rng="x"), TypeError, "rng must be"),
    "rng negative": (lambda: bptt.LSTM(2, 3, rng=-1), ValueError, "rng must be"),
    "nonlinearity": (lambda: bptt.RNN(2, 3, nonlinearity="x"), ValueError, '"tanh" or "relu"'),
    "linear": (lambda: bptt.Linear(3, 0), ValueError, "out_features must be at least 1"),
    "one hot": (lambda: bptt.OneHot(0), ValueError, "classes must be at least 1"),
    "no layers": (lambda: bptt.Sequential(), ValueError, "at least one layer"),
    "not a layer": (lambda: bptt.Sequential(3), TypeError, "must be a bptt layer"),
    "sizes": (
        lambda: bptt.Sequential(bptt.LSTM(2, 3), bptt.Linear(4, 1)),
        ValueError,
        "layer 0 gives 3 features, layer 1 takes 4",
    ),
    "one hot late": (
        lambda: bptt.Sequential(bptt.LSTM(2, 3), bptt.OneHot(3)),
        ValueError,
        "first layer",
    ),
    "dtypes": (
        lambda: bptt.Sequential(bptt.LSTM(2, 3), bptt.Linear(3, 1, dtype="float64")),
        ValueError,
        "one dtype",
    ),
    "threads": (lambda: bptt.set_num_threads(0), ValueError, "between 1 and 1024"),
    "negative threads": (lambda: bptt.set_num_threads(-1), ValueError, "between 1 and 1024"),
    "beyond words": (lambda: bptt.LSTM(2**64, 3), ValueError, "input_size is too large"),
}

CALLS = {
    "rank": (lambda: lstm()(np.zeros((2, 2, 2, 2))), ValueError, r"\(T, B, I\) or \(T, I\)"),
    "scalar": (lambda: lstm()(3.0), ValueError, "must be"),
    "features": (lambda: lstm()(np.zeros((5, 4, 3))), ValueError, "2 features .* got shape"),
    "complex": (lambda: lstm()(np.zeros((5, 4, 2), complex)), TypeError, "complex128"),
    "strings": (lambda: lstm()([["a", "b"]]), TypeError, "real numbers"),
    "objects": (lambda: lstm()(np.zeros((5, 4, 2), object)), TypeError, "object"),
    "ragged": (lambda: lstm()([[1.0, 2.0], [1.0]]), ValueError, "x cannot be made an array"),
    "state alone": (
        lambda: lstm()(np.zeros((5, 4, 2)), np.zeros((1, 4, 3))),
        ValueError,
        r"\(h, c\)",
    ),
    "state count": (
        lambda: lstm()(np.zeros((5, 4, 2)), (np.zeros((1, 4, 3)),)),
        ValueError,
        "got 1 items",
    ),
    "state shape": (
        lambda: lstm()(np.zeros((5, 4, 2)), (np.zeros((1, 4, 3)), np.zeros((4, 3)))),
        ValueError,
        r"state c must have shape \(1, 4, 3\), got \(4, 3\)",
    ),
    "state batch": (
        lambda: lstm()(np.zeros((5, 4, 2)), (np.zeros((1, 5, 3)), np.zeros((1, 5, 3)))),
        ValueError,
        "state h must have shape",
    ),
    "dy shape": (
        lambda: (m := lstm()).backward(m.forward(np.zeros((5, 4, 2)))[2], np.zeros((5, 4, 2))),
        ValueError,
        r"shape of y, \(5, 4, 3\), got \(5, 4, 2\)",
    ),
    "no tape": (lambda: lstm().backward(None, np.zeros((5, 4, 3))), TypeError, "come from forward"),
    "another's tape": (
        lambda: lstm().backward(lstm().forward(np.zeros((5, 4, 2)))[2], np.zeros((5, 4, 3))),
        ValueError,
        "another layer",
    ),
    "linear": (lambda: bptt.Linear(3, 2)(np.zeros((5, 2))), ValueError, "3 features"),
    "one hot": (lambda: bptt.OneHot(3)([0, 3]), ValueError, "3, which is out of range.* 0 to 2"),
    "one hot reals": (lambda: bptt.OneHot(3)([0.0]), TypeError, "integer dtype"),
}

FITS = {
    "rank": (lambda: fit(model(), X[0]), ValueError, r"\(N, T, 2\)"),
    "features": (
        lambda: fit(model(), X[..., :1]),
        ValueError,
        "2 features in its last dim.* got 1",
    ),
    "outputs": (lambda: fit(model(), X, X), ValueError, "y must have 1 features"),
    "count": (lambda: fit(model(), X, Y[:3]), ValueError, "x has 4 sequences and y has 3"),
    "steps": (lambda: fit(model(), X, Y[:, :4]), ValueError, r"y\[0\] has 4 steps, x\[0\] has 5"),
    "empty": (lambda: fit(model(), X[:0], Y[:0]), ValueError, "x is empty"),
    "empty list": (lambda: fit(model(), [], []), ValueError, "x is empty"),
    "no steps": (lambda: fit(model(), X[:, :0], Y[:, :0]), ValueError, r"x\[0\] is empty"),
    "item rank": (lambda: fit(model(), [X[0], X[1, 0]], Y[:2]), ValueError, r"x\[1\] of shape"),
    "complex": (lambda: fit(model(), X.astype(complex)), TypeError, "complex128"),
    "strings": (lambda: fit(model(), X.astype(str)), TypeError, "x must hold real numbers"),
    "loss": (lambda: fit(model(), loss="x"), ValueError, '"mse", "mae".* got \'x\''),
    "optimizer": (lambda: fit(model(), optimizer="adam"), TypeError, "one such as bptt.Adam"),
    "nan lr": (lambda: fit(model(), optimizer=bptt.SGD(NAN)), ValueError, "lr must be .* got NaN"),
    "negative lr": (lambda: fit(model(), optimizer=bptt.Adam(-1)), ValueError, "lr must be"),
    "text lr": (lambda: fit(model(), optimizer=bptt.Adam("1")), TypeError, "lr must be a number"),
    "momentum": (
        lambda: fit(model(), optimizer=bptt.SGD(0.1, 1.0)),
        ValueError,
        "momentum must be in",
    ),
    "beta": (
        lambda: fit(model(), optimizer=bptt.Adam(0.1, (1.0, 0.9))),
        ValueError,
        "betas must be in",
    ),
    "betas": (lambda: fit(model(), optimizer=bptt.Adam(0.1, 0.9)), ValueError, "two numbers"),
    "eps": (lambda: fit(model(), optimizer=bptt.Adam(0.1, eps=NAN)), ValueError, "eps must be"),
    "clip": (lambda: fit(model(), clip_norm=NAN), ValueError, "clip_norm must be above 0, got NaN"),
    "clip zero": (lambda: fit(model(), clip_norm=0), ValueError, "clip_norm must be above 0"),
    "epochs": (lambda: fit(model(), epochs=-1), ValueError, "epochs must be at least 0"),
    "epochs real": (lambda: fit(model(), epochs=1.5), TypeError, "epochs must be a whole number"),
    "batch": (lambda: fit(model(), batch_size=0), ValueError, "batch_size must be at least 1"),
    "shuffle": (lambda: fit(model(), shuffle="yes"), TypeError, "True or False"),
    "rng": (lambda: fit(model(), rng="x"), TypeError, "rng must be"),
    "tbptt": (lambda: fit(model(), tbptt=0), ValueError, "tbptt must be at least 1, got 0"),
    "tbptt negative": (lambda: fit(model(), tbptt=-5), ValueError, "tbptt must be at least 1"),
    "tbptt real": (lambda: fit(model(), tbptt=2.0), TypeError, "tbptt must be a whole number"),
    "tbptt bool": (lambda: fit(model(), tbptt=True), TypeError, "tbptt must be a whole number"),
    "tbptt huge": (lambda: fit(model(), tbptt=2**64), ValueError, "tbptt is too large"),
    "tbptt both ways": (
        lambda: fit(both_ways(), tbptt=2),
        ValueError,
        r"layer 0 has two directions.*chunks \(tbptt\); use layers of one direction",
    ),
    "stateful": (lambda: fit(model(), stateful=1), TypeError, "stateful must be True or False"),
    "stateful shuffled": (
        lambda: fit(model(), stateful=True),
        ValueError,
        "it needs shuffle=False",
    ),
    "stateful rest": (
        lambda: fit(model(), stateful=True, shuffle=False, batch_size=3),
        ValueError,
        "divide the number of sequences: got batch_size 3 for 4",
    ),
    "stateful lengths": (
        lambda: fit(
            model(), [X[0], X[1, :3]], [Y[0], Y[1, :3]], stateful=True, shuffle=False, batch_size=1
        ),
        ValueError,
        "sequences of one length, got 3 to 5 steps: cut them",
    ),
    "stateful both ways": (
        lambda: fit(both_ways(), stateful=True, shuffle=False),
        ValueError,
        r"layer 0 has two directions.*\(stateful\)",
    ),
    "validation": (lambda: fit(model(), validation=X), ValueError, r"tuple \(x, y\)"),
    "validation x": (
        lambda: fit(model(), validation=(X[..., :1], Y)),
        ValueError,
        "validation x must have 2 features",
    ),
    "token range": (lambda: fit_tokens([[0, 3]], [[0, 1]]), ValueError, "3, which is out of range"),
    "negative token": (lambda: fit_tokens([[0, -1]], [[0, 1]]), ValueError, "-1, which is out"),
    "real tokens": (lambda: fit_tokens([[0.0, 1.0]], [[0, 1]]), TypeError, "integer dtype"),
    "class range": (lambda: fit_tokens([[0, 1]], [[0, 3]]), ValueError, r"y\[0\] has 3"),
    "token rank": (lambda: fit_tokens(np.zeros((1, 2, 1), int), [[0, 1]]), ValueError, r"\(N, T\)"),
    "classes for mse": (
        lambda: fit_tokens([[0, 1]], [[0, 1]], loss="mse"),
        ValueError,
        r"y must be an array \(N, T, 3\)",
    ),
    "predict": (lambda: model().predict(X[..., :1]), ValueError, "2 features"),
    "predict progress": (lambda: model().predict(X, progress=1), TypeError, "progress must be"),
    "evaluate progress": (
        lambda: model().evaluate(X, Y, loss="mse", progress="no"),
        TypeError,
        "progress must be True or False",
    ),
    "evaluate": (lambda: model().evaluate(X, Y, loss="x"), ValueError, "loss must be"),
}


def optimizer(make, message):
    return lambda: fit(model(), optimizer=make()), ValueError, message


def schedule(make, message, error=ValueError):
    return lambda: fit(model(), schedule=make()), error, message


def loss(make, message, error=ValueError):
    return lambda: fit_tokens([[0, 1]], [[0, 1]], loss=make()), error, message


def callback(settings, message, error=TypeError):
    return lambda: fit(model(), **settings), error, message


OPTIONS = {
    "no optimizer": (lambda: fit(model(), optimizer=None), ValueError, "the first fit of a model"),
    "optimizer class": (
        lambda: fit(model(), optimizer=bptt.Adam),
        TypeError,
        "must be one such as bptt.Adam",
    ),
    "decay": optimizer(lambda: bptt.SGD(0.1, weight_decay=-1), "weight_decay must be at least 0"),
    "decay nan": optimizer(lambda: bptt.AdamW(weight_decay=NAN), "weight_decay must be"),
    "nesterov alone": optimizer(
        lambda: bptt.SGD(0.1, nesterov=True), "nesterov needs a momentum above 0"
    ),
    "nesterov": (
        lambda: fit(model(), optimizer=bptt.SGD(0.1, 0.9, nesterov=1)),
        TypeError,
        "nesterov must be True or False",
    ),
    "alpha": optimizer(lambda: bptt.RMSprop(alpha=1.5), "alpha must be in"),
    "rms momentum": optimizer(lambda: bptt.RMSprop(momentum=1), "momentum must be in"),
    "rms eps": optimizer(lambda: bptt.RMSprop(eps=-1), "eps must be at least 0"),
    "lr_decay": optimizer(lambda: bptt.Adagrad(lr_decay=NAN), "lr_decay must be"),
    "adagrad eps": optimizer(lambda: bptt.Adagrad(eps=-1), "eps must be at least 0"),
    "schedule": (
        lambda: fit(model(), schedule="step"),
        TypeError,
        r"one such as bptt.StepLR\(10\), got 'step'",
    ),
    "schedule class": (lambda: fit(model(), schedule=bptt.StepLR), TypeError, "one such as"),
    "step size": schedule(lambda: bptt.StepLR(0), "step_size must be at least 1"),
    "step size real": schedule(lambda: bptt.StepLR(1.5), "step_size must be a whole", TypeError),
    "gamma": schedule(lambda: bptt.StepLR(1, gamma=-1), "gamma must be at least 0"),
    "gamma nan": schedule(lambda: bptt.StepLR(1, gamma=NAN), "gamma must be at least 0 and finite"),
    "per": schedule(lambda: bptt.StepLR(1, per="batch"), 'per must be "epoch" or "step"'),
    "T_max": schedule(lambda: bptt.CosineAnnealingLR(0), "T_max must be at least 1"),
    "eta_min": schedule(lambda: bptt.CosineAnnealingLR(9, eta_min=-1), "eta_min must be"),
    "start_factor": schedule(lambda: bptt.LinearLR(0), r"start_factor must be in \(0, 1\]"),
    "end_factor": schedule(lambda: bptt.LinearLR(0.5, 2), r"end_factor must be in \[0, 1\]"),
    "total_iters": schedule(lambda: bptt.LinearLR(total_iters=0), "total_iters must be"),
    "max_lr": schedule(lambda: bptt.OneCycleLR(NAN), "max_lr must be at least 0 and finite"),
    "total_steps": schedule(lambda: bptt.OneCycleLR(0.1, 0), "total_steps must be at least 1"),
    "cycle epochs": schedule(lambda: bptt.OneCycleLR(0.1, epochs=3), "both or none"),
    "pct_start": schedule(lambda: bptt.OneCycleLR(0.1, pct_start=2), "pct_start must be in"),
    "anneal": schedule(lambda: bptt.OneCycleLR(0.1, anneal_strategy="x"), '"cos" or "linear"'),
    "base_momentum": schedule(lambda: bptt.OneCycleLR(0.1, base_momentum=1), "base_momentum must"),
    "div_factor": schedule(lambda: bptt.OneCycleLR(0.1, div_factor=0), "div_factor must be above"),
    "cycle_momentum": schedule(
        lambda: bptt.OneCycleLR(0.1, cycle_momentum=1), "True or False", TypeError
    ),
    "plateau mode": schedule(lambda: bptt.ReduceLROnPlateau("up"), 'mode must be "min" or "max"'),
    "factor": schedule(lambda: bptt.ReduceLROnPlateau(factor=1), "factor must be in"),
    "patience": schedule(lambda: bptt.ReduceLROnPlateau(patience=-1), "patience must be at least"),
    "threshold": schedule(lambda: bptt.ReduceLROnPlateau(threshold=NAN), "threshold must be"),
    "threshold_mode": schedule(lambda: bptt.ReduceLROnPlateau(threshold_mode="x"), '"rel" or'),
    "cooldown": schedule(lambda: bptt.ReduceLROnPlateau(cooldown=-1), "cooldown must be"),
    "min_lr": schedule(lambda: bptt.ReduceLROnPlateau(min_lr=-1), "min_lr must be"),
    "plateau monitor": schedule(
        lambda: bptt.ReduceLROnPlateau(monitor="validation_loss"),
        "ReduceLROnPlateau has monitor='validation_loss', but fit has only loss",
    ),
    "loss type": loss(lambda: bptt.HuberLoss, "got <class"),
    "smoothing": loss(lambda: bptt.CrossEntropyLoss(label_smoothing=2), "label_smoothing must be"),
    "smoothing text": loss(
        lambda: bptt.CrossEntropyLoss(label_smoothing="x"), "must be a number", TypeError
    ),
    "ignore": loss(lambda: bptt.CrossEntropyLoss(ignore_index=0.5), "ignore_index must", TypeError),
    "class weights": loss(
        lambda: bptt.CrossEntropyLoss(weight=[1, 2]), "weight has 2 numbers, the model gives 3"
    ),
    "class weight rank": loss(
        lambda: bptt.CrossEntropyLoss(weight=[[1, 2, 3]]), "weight must have a number for every"
    ),
    "class weight": loss(lambda: bptt.CrossEntropyLoss(weight=[1, 2, -3]), "at least 0 and finite"),
    "class weight text": loss(
        lambda: bptt.CrossEntropyLoss(weight=["a"] * 3), "real numbers", TypeError
    ),
    "pos_weight": (
        lambda: fit(model(), loss=bptt.BCEWithLogitsLoss([1, 2])),
        ValueError,
        "pos_weight has 2 numbers, the model gives 1",
    ),
    "delta": (lambda: fit(model(), loss=bptt.HuberLoss(0)), ValueError, "delta must be above 0"),
    "delta text": (lambda: fit(model(), loss=bptt.HuberLoss("1")), TypeError, "delta must be a"),
    "classes for bce": (
        lambda: fit_tokens([[0, 1]], [[0, 1]], loss="bce_with_logits"),
        ValueError,
        r"y must be an array \(N, T, 3\)",
    ),
    "all ignored": (
        lambda: tokens().evaluate([[0, 1]], [[-100, -100]], loss="cross_entropy"),
        ValueError,
        "y has no target that counts: there is nothing to evaluate",
    ),
    "validation ignored": (
        lambda: fit_tokens([[0, 1]], [[0, 1]], validation=([[0], [1]], [[-100], [-100]])),
        ValueError,
        "validation y has no target that counts",
    ),
    "all batches ignored": (
        lambda: tokens().evaluate(iter([([[0]], [[-100]])]), loss="cross_entropy"),
        ValueError,
        "no target counts: there is nothing to evaluate",
    ),
    "last ignored": (
        lambda: bptt.Sequential(*tokens().layers, bptt.LastStep()).evaluate(
            [[0, 1], [1, 2]], [1, 1], loss=bptt.CrossEntropyLoss(weight=[1, 0, 1])
        ),
        ValueError,
        "y has no target that counts",
    ),
    "weights": (lambda: fit(model(), sample_weight=[1, 2]), ValueError, "each of the 4 sequences"),
    "weights rank": (
        lambda: fit(model(), sample_weight=np.ones((4, 1))),
        ValueError,
        r"got shape \(4, 1\)",
    ),
    "weights negative": (
        lambda: fit(model(), sample_weight=[1, 1, -1, 1]),
        ValueError,
        "sample_weight must be at least 0 and finite",
    ),
    "weights nan": (
        lambda: fit(model(), sample_weight=[1, 1, NAN, 1]),
        ValueError,
        "sample_weight must be at least 0 and finite",
    ),
    "weights text": (lambda: fit(model(), sample_weight="abcd"), TypeError, "real numbers"),
    "metric": (lambda: fit(model(), metrics=["x"]), ValueError, "no metric 'x': there are accura"),
    "metric text": (lambda: fit(model(), metrics="rmse"), TypeError, "a list of names"),
    "metric of another loss": (
        lambda: fit(model(), metrics=["accuracy"]),
        ValueError,
        "goes with the losses cross_entropy, bce_with_logits, not with mse",
    ),
    "metric unhashable": (lambda: fit(model(), metrics=[[]]), ValueError, r"no metric \[\]"),
    "accumulate": (lambda: fit(model(), accumulate=0), ValueError, "accumulate must be at least 1"),
    "accumulate real": (lambda: fit(model(), accumulate=1.5), TypeError, "whole number"),
    "accumulate chunks": (
        lambda: fit(model(), accumulate=2, tbptt=2),
        ValueError,
        "with tbptt every chunk of one is a step",
    ),
    "stopping": callback({"early_stopping": 3}, r"must be bptt.EarlyStopping\(...\), got 3"),
    "stopping class": callback(
        {"early_stopping": bptt.EarlyStopping}, "must be bptt.EarlyStopping"
    ),
    "stopping monitor": callback(
        {"early_stopping": bptt.EarlyStopping(monitor="accuracy")},
        "EarlyStopping has monitor='accuracy', but fit has only loss: name it in metrics",
        ValueError,
    ),
    "callbacks": callback({"callbacks": bptt.Callback()}, "callbacks must be a list"),
    "callback": callback(
        {"callbacks": [print]}, r"callbacks\[0\] must be an object with one of on"
    ),
    "callback class": callback({"callbacks": [bptt.Callback]}, r"callbacks\[0\] must be an object"),
    "no y": (lambda: fit(model(), X, None), ValueError, "y is missing"),
    "evaluate metric": (
        lambda: model().evaluate(X, Y, loss="mse", metrics=["accuracy"]),
        ValueError,
        "goes with the losses",
    ),
    "last step": (
        lambda: fit(last_step(), X, Y),
        ValueError,
        r"y must have shape \(4, 1\), got \(4, 5, 1\)",
    ),
}

STOPPING = {
    "patience": ({"patience": -1}, ValueError, "patience must be at least 0"),
    "min_delta": ({"min_delta": -1}, ValueError, "min_delta must be at least 0"),
    "min_delta nan": ({"min_delta": NAN}, ValueError, "min_delta must be at least 0"),
    "mode": ({"mode": "up"}, ValueError, '"auto", "min" or "max"'),
    "monitor": ({"monitor": 3}, TypeError, "a name in the history"),
    "restore": ({"restore_best_weights": 1}, TypeError, "True or False"),
}

STATE_DICTS = {
    "missing": (lambda d: d.pop("bias_ih_l0"), ValueError, r"missing \['bias_ih_l0'\]"),
    "unknown": (lambda d: d.update(extra=0), ValueError, r"unknown \['extra'\]"),
    "shape": (
        lambda d: d.update(bias_hh_l0=np.zeros(3)),
        ValueError,
        r"bias_hh_l0 must have shape \(12,\), got \(3,\)",
    ),
    "dtype": (lambda d: d.update(bias_hh_l0=np.zeros(12, complex)), TypeError, "complex128"),
}


@pytest.mark.parametrize(
    "case", [*CONSTRUCTORS.values(), *CALLS.values()], ids=[*CONSTRUCTORS, *CALLS]
)
def test_constructors_and_calls(case):
    work, error, message = case
    with pytest.raises(error, match=message):
        work()


@pytest.mark.parametrize("case", STOPPING.values(), ids=STOPPING)
def test_early_stopping(case):
    settings, error, message = case
    with pytest.raises(error, match=message):
        bptt.EarlyStopping(**settings)


@pytest.mark.parametrize("case", (FITS | OPTIONS).values(), ids=FITS | OPTIONS)
def test_fit_predict_evaluate(case, monkeypatch):
    work, error, message = case
    made = []
    for make in (model, tokens, both_ways, last_step):
        # Keep hold of the model that the case makes, to see that nothing in it changed.
        monkeypatch.setitem(
            globals(), make.__name__, lambda make=make: made.append((make, make())) or made[-1][1]
        )
    with pytest.raises(error, match=message):
        work()
    monkeypatch.undo()
    make, given = made[0]
    fresh = make().state_dict()
    for name, array in given.state_dict().items():
        np.testing.assert_array_equal(array, fresh[name])


@pytest.mark.parametrize("case", STATE_DICTS.values(), ids=STATE_DICTS)
def test_state_dicts(case):
    spoil, error, message = case
    layer = lstm()
    given = {name: array + 1 for name, array in layer.state_dict().items()}
    spoil(given)
    with pytest.raises(error, match=message):
        layer.load_state_dict(given)
    for name, array in lstm().parameters.items():
        np.testing.assert_array_equal(layer.parameters[name], array)


def test_a_state_dict_that_is_no_mapping():
    with pytest.raises(TypeError, match="maps names to arrays"):
        lstm().load_state_dict([1, 2])


def test_a_tape_serves_once():
    layer = lstm()
    y, _, tape = layer.forward(np.zeros((5, 4, 2)))
    layer.backward(tape, y)
    with pytest.raises(ValueError, match="used up"):
        layer.backward(tape, y)


def test_a_refused_backward_leaves_the_tape():
    layer = lstm()
    y, _, tape = layer.forward(np.zeros((5, 4, 2)))
    with pytest.raises(ValueError, match="shape of y"):
        layer.backward(tape, y[:-1])
    layer.backward(tape, y)


def test_a_tape_whose_input_was_reshaped():
    layer, x = lstm(), np.zeros((5, 4, 2), np.float32)
    y, _, tape = layer.forward(x)
    x.shape = (5, 8)
    assert layer.backward(tape, y)[0].shape == (5, 4, 2)


def test_read_only_parameters():
    m = model()
    m.layers[0]._flat.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        fit(m)


def test_a_step_that_overflows_is_not_kept():
    m = bptt.Sequential(bptt.Linear(2, 1, rng=0))
    before = m.state_dict()
    with pytest.raises(bptt.DivergedError, match="epoch 1"):
        fit(m, np.ones((2, 3, 2)), np.ones((2, 3, 1)), optimizer=bptt.SGD(3e39))
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_layer_in_use_while_a_model_is_trained():
    layer = bptt.RNN(1, 8, rng=0)
    m = bptt.Sequential(layer, bptt.Linear(8, 1, rng=0))
    long = np.zeros((1_000_000, 1, 1), np.float32)
    thread = threading.Thread(target=layer, args=(long,))
    thread.start()
    try:
        fit(m, np.ones((1, 3, 1)), np.ones((1, 3, 1)))
    except RuntimeError as error:  # if the thread was fast, there is none
        assert "in use by another thread" in str(error)
    thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory with setrlimit")
def test_what_does_not_fit_in_memory():
    code = """
import resource, numpy as np, bptt
works = [
    lambda: bptt.LSTM(1, 1).forward(np.zeros((2**26, 1, 1), np.float32)),
    lambda: bptt.Linear(1, 2**16, bias=False)(np.zeros((2**24, 1), np.float32)),
    lambda: bptt.Sequential(bptt.OneHot(2**40)).predict([[0]]),
    lambda: bptt.Sequential(bptt.OneHot(2**61)).predict([[0]]),
]
resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000, 3_000_000_000))
for work in works:
    try:
        work()
    except MemoryError:
        print("MemoryError")
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "BPTT_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (0, "MemoryError\n" * 4), run.stderr


def test_a_layer_only_once_in_a_model():
    layer = bptt.LSTM(3, 3)
    with pytest.raises(ValueError, match="only once"):
        bptt.Sequential(layer, layer)


@pytest.mark.parametrize(
    ("name", "value"),
    [("BPTT_SIMD", "sse9"), ("BPTT_NUM_THREADS", "none"), ("BPTT_NUM_THREADS", "0")],
)
def test_environment(name, value):
    code = "import bptt, numpy; bptt.get_num_threads(); bptt.LSTM(2, 3)(numpy.zeros((5, 4, 2)))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert f"ValueError: {name} is" in run.stderr
