"""Early stopping: it counts as Keras counts, and what was best is kept, however training ends."""

import json
from pathlib import Path

import numpy as np
import pytest
from fitting import fit, model, parameters, regression

import bptt

KERAS = json.loads((Path(__file__).parents[2] / "golden/early_stopping.json").read_text())


class Weights:
    """A model whose only parameter is the number of the epoch."""

    history, stop_training, epoch = None, False, 0

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


@pytest.mark.parametrize("name", KERAS["series"])
def test_it_counts_as_keras_counts(name):
    """tests/golden/make_keras_golden.py ran Keras."""
    cases = [case[1:] for case in KERAS["cases"] if case[0] == name]
    assert len(cases) == 30
    for options, want in cases:
        m, stopping = Weights(), bptt.EarlyStopping(**options)
        stopping.set_model(m)
        stopping.on_train_begin()
        for epoch, number in enumerate(KERAS["series"][name]):
            m.epoch = epoch
            stopping.on_epoch_end(epoch, {"validation_loss": number, "loss": 0.0})
            if m.stop_training:
                break
        stopping.on_train_end()
        assert [epoch + 1, m.epoch, stopping.best_epoch] == want, options


@pytest.mark.parametrize(("patience", "epochs"), [(0, 2), (1, 2), (2, 3), (3, 4), (7, 8)])
def test_a_loss_that_never_improves(patience, epochs):
    x, y = regression()
    stopping = bptt.EarlyStopping(patience)
    settings = {"optimizer": bptt.SGD(0.0), "shuffle": False, "epochs": 20}
    history = fit(model(), x, y, early_stopping=stopping, **settings)
    assert len(history.loss) == epochs
    assert (stopping.best_epoch, stopping.stopped_epoch) == (0, epochs - 1)


class Turn(bptt.Callback):
    """Makes the model worse from epoch 2 on, and ends training in epoch 3 or 4 in some way."""

    def __init__(self, way):
        self.way = way

    def on_epoch_begin(self, epoch):
        if epoch in (2, 4):
            self.model.layers[-1].parameters["weight"][:] += 3
        if epoch == 4 and self.way == "diverges":
            self.model.layers[-1].parameters["weight"][:] = 1e30
        if epoch == 4 and self.way == "begin":
            raise RuntimeError("begin")

    def on_epoch_end(self, epoch, logs):
        if epoch == 3 and self.way in ("error", "ctrl-c", "memory"):
            errors = {"error": RuntimeError, "ctrl-c": KeyboardInterrupt, "memory": MemoryError}
            raise errors[self.way]

    def on_train_end(self):
        if self.way == "end":
            raise RuntimeError("end")


WAYS = {
    "diverges": bptt.DivergedError,
    "begin": RuntimeError,
    "error": RuntimeError,
    "memory": MemoryError,
    "ctrl-c": None,
    "end": RuntimeError,
}


@pytest.mark.parametrize("last", [True, False], ids=["called last", "called first"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_best_is_kept(way, last):
    x, y = regression()
    validation = regression(seed=1)
    m, stopping = model(), bptt.EarlyStopping(patience=9)
    callbacks = [Turn(way), stopping] if last else [stopping, Turn(way)]
    settings = {"validation": validation, "optimizer": bptt.SGD(0.01), "epochs": 5}
    if WAYS[way] is None:
        fit(m, x, y, callbacks=callbacks, **settings)
    else:
        with pytest.raises(WAYS[way]):
            fit(m, x, y, callbacks=callbacks, **settings)
    assert stopping.best_epoch == 1
    kept = model()
    fit(kept, x, y, optimizer=bptt.SGD(0.01), epochs=2)
    np.testing.assert_array_equal(parameters(m), parameters(kept))
    assert m.evaluate(*validation, loss="mse") == stopping.best


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_epoch_that_a_callback_before_it_has_ended_counts(error):
    class Ends(bptt.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch in (2, 4):
                raise error

    x, y = regression()
    m, stopping = model(), bptt.EarlyStopping(patience=9)
    try:
        fit(m, x, y, epochs=9, validation=(x, y), callbacks=[Ends(), stopping])
    except RuntimeError:
        assert error is RuntimeError
    losses = m.history.validation_loss
    assert losses[2] == min(losses) == stopping.best == m.evaluate(x, y, loss="mse")


def test_an_error_of_the_data_after_some_epochs():
    x, y = regression()

    class Batches:
        epochs = 0

        def __iter__(self):
            self.epochs += 1
            yield x, y if self.epochs < 3 else y[:2]

    m = model()
    settings = {"epochs": 5, "early_stopping": bptt.EarlyStopping(9), "validation": (x, -y)}
    with pytest.raises(ValueError):
        fit(m, Batches(), **settings)
    losses = m.history.validation_loss
    assert len(losses) == 2
    assert losses[0] < losses[1]
    assert m.evaluate(x, -y, loss="mse") == losses[0]


def test_the_first_error_is_told_and_every_callback_hears_of_the_end():
    heard = []

    class Hears(bptt.Callback):
        def on_train_end(self):
            heard.append(1)
            raise ZeroDivisionError

    class Ends(bptt.Callback):
        def on_epoch_end(self, epoch, logs):
            raise LookupError

    x, y = regression()
    with pytest.raises(LookupError):
        fit(model(), x, y, callbacks=[Hears(), Ends(), Hears()])
    assert heard == [1, 1]
    with pytest.raises(ZeroDivisionError):
        fit(model(), x, y, callbacks=[Hears(), Hears()])
    assert heard == [1, 1, 1, 1]


def test_a_run_that_failed_does_not_reach_into_the_next():
    class Fails(bptt.Callback):
        def on_train_begin(self):
            raise RuntimeError

    x, y = regression()
    stopping, m = bptt.EarlyStopping(3), model()
    fit(m, x, y, epochs=2, early_stopping=stopping)
    state = stopping.state_dict()
    stopping.load_state_dict(state)
    with pytest.raises(RuntimeError):
        fit(m, x, y, callbacks=[Fails(), stopping])
    history = fit(m, x, y, epochs=2, early_stopping=stopping)
    assert stopping.best == min(history.loss)


GOOD = {"best": 1.0, "best_epoch": 2, "stopped_epoch": None, "wait": 1, "weights": None}
BAD = {
    "array": np.zeros(3),
    "list": [],
    "names": {"best": 1.0},
    "best": GOOD | {"best": "oops"},
    "wait": GOOD | {"wait": -1},
    "epoch": GOOD | {"best_epoch": 1.5},
    "weights": GOOD | {"weights": 3},
}


@pytest.mark.parametrize("state", BAD.values(), ids=BAD)
def test_a_bad_state_is_refused(state):
    stopping = bptt.EarlyStopping()
    stopping.load_state_dict(GOOD)
    before = vars(stopping).copy()
    with pytest.raises((ValueError, TypeError), match=r"state|best|wait|epoch|weights"):
        stopping.load_state_dict(state)
    assert vars(stopping) == before
