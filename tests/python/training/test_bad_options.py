"""Bad optimisers, schedules, losses, weights, metrics, callbacks: an error, nothing changed."""

import numpy as np
import pytest
from refused import NAN, X, Y, check, fit, fit_tokens, last_step, model, tokens

import bptt


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
        "must be an optimiser such as bptt.Adam",
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
        r"a schedule such as bptt.StepLR\(10\), got 'step'",
    ),
    "schedule class": (lambda: fit(model(), schedule=bptt.StepLR), TypeError, "a schedule such as"),
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
    "cycle epochs": schedule(lambda: bptt.OneCycleLR(0.1, epochs=3), "both be given, or neither"),
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
        "monitor of ReduceLROnPlateau must be one of loss, got 'validation_loss'",
    ),
    "loss type": loss(lambda: bptt.HuberLoss, "got <class"),
    "smoothing": loss(lambda: bptt.CrossEntropyLoss(label_smoothing=2), "label_smoothing must be"),
    "smoothing text": loss(
        lambda: bptt.CrossEntropyLoss(label_smoothing="x"), "must be a number", TypeError
    ),
    "ignore": loss(lambda: bptt.CrossEntropyLoss(ignore_index=0.5), "ignore_index must", TypeError),
    "class weights": loss(
        lambda: bptt.CrossEntropyLoss(weight=[1, 2]), "weight must have 3 numbers, .*, got 2"
    ),
    "class weight rank": loss(
        lambda: bptt.CrossEntropyLoss(weight=[[1, 2, 3]]),
        r"weight must have shape \(O,\), a number for each output, got shape \(1, 3\)",
    ),
    "class weight": loss(lambda: bptt.CrossEntropyLoss(weight=[1, 2, -3]), "at least 0 and finite"),
    "class weight text": loss(
        lambda: bptt.CrossEntropyLoss(weight=["a"] * 3), "real numbers", TypeError
    ),
    "pos_weight": (
        lambda: fit(model(), loss=bptt.BCEWithLogitsLoss([1, 2])),
        ValueError,
        "pos_weight must have 1 numbers, .*, got 2",
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
        "y has only ignored targets, or weights of 0: there is nothing to evaluate",
    ),
    "validation ignored": (
        lambda: fit_tokens([[0, 1]], [[0, 1]], validation=([[0], [1]], [[-100], [-100]])),
        ValueError,
        "validation y has only ignored targets",
    ),
    "all batches ignored": (
        lambda: tokens().evaluate(iter([([[0]], [[-100]])]), loss="cross_entropy"),
        ValueError,
        "all targets are ignored, or have weight 0: there is nothing to evaluate",
    ),
    "last ignored": (
        lambda: bptt.Sequential(*tokens().layers, bptt.LastStep()).evaluate(
            [[0, 1], [1, 2]], [1, 1], loss=bptt.CrossEntropyLoss(weight=[1, 0, 1])
        ),
        ValueError,
        "y has only ignored targets",
    ),
    "weights": (
        lambda: fit(model(), sample_weight=[1, 2]),
        ValueError,
        r"must have shape \(4,\), a number for each sequence, got \(2,\)",
    ),
    "weights rank": (
        lambda: fit(model(), sample_weight=np.ones((4, 1))),
        ValueError,
        r"got \(4, 1\)",
    ),
    "weights negative": (
        lambda: fit(model(), sample_weight=[1, 1, -1, 1]),
        ValueError,
        "sample_weight must hold finite numbers",
    ),
    "weights nan": (
        lambda: fit(model(), sample_weight=[1, 1, NAN, 1]),
        ValueError,
        "sample_weight must hold finite numbers",
    ),
    "weights text": (lambda: fit(model(), sample_weight="abcd"), TypeError, "real numbers"),
    "metric": (
        lambda: fit(model(), metrics=["x"]),
        ValueError,
        "metrics must be among accuracy, perplexity, rmse, got 'x'",
    ),
    "metric text": (lambda: fit(model(), metrics="rmse"), TypeError, "a list of names"),
    "metric of another loss": (
        lambda: fit(model(), metrics=["accuracy"]),
        ValueError,
        "metric 'accuracy' needs one of the losses cross_entropy, bce_with_logits, got mse",
    ),
    "metric unhashable": (lambda: fit(model(), metrics=[[]]), ValueError, r"rmse, got \[\]"),
    "accumulate": (lambda: fit(model(), accumulate=0), ValueError, "accumulate must be at least 1"),
    "accumulate real": (lambda: fit(model(), accumulate=1.5), TypeError, "whole number"),
    "accumulate chunks": (
        lambda: fit(model(), accumulate=2, tbptt=2),
        ValueError,
        "with tbptt every chunk of a batch is a step",
    ),
    "stopping": callback({"early_stopping": 3}, r"must be bptt.EarlyStopping\(...\), got 3"),
    "stopping class": callback(
        {"early_stopping": bptt.EarlyStopping}, "must be bptt.EarlyStopping"
    ),
    "stopping monitor": callback(
        {"early_stopping": bptt.EarlyStopping(monitor="accuracy")},
        "monitor of EarlyStopping must be one of loss, got 'accuracy': add it to metrics",
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
        "needs one of the losses",
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


@pytest.mark.parametrize("case", OPTIONS.values(), ids=OPTIONS)
def test_options_of_fit(case):
    check(*case)


@pytest.mark.parametrize("case", STOPPING.values(), ids=STOPPING)
def test_early_stopping(case):
    settings, error, message = case
    with pytest.raises(error, match=message):
        bptt.EarlyStopping(**settings)
