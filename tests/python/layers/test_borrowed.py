"""A stepper has the parameters of its moment. They are copied before somebody can change them."""

import copy
import gc
import pickle
import tracemalloc

import numpy as np
import pytest

import bptt

TOKENS = [2, 0, 1, 1, 2]


def make():
    return bptt.Sequential(
        bptt.Embedding(3, 4, rng=0), bptt.GRU(4, 5, rng=1), bptt.Linear(5, 3, rng=2)
    )


def steps(stepper):
    stepper.reset()
    return np.array([stepper.step(token)[0].copy() for token in TOKENS])


WANT = steps(make().stepper())


def write(model):
    for layer in model.layers:
        for array in layer.parameters.values():
            array += 1


def write_through_base(model):
    for layer in model.layers:
        next(iter(layer.parameters.values())).base[:] = 3


def load(model):
    model.load_state_dict({name: array + 1 for name, array in model.state_dict().items()})


def fit(model):
    x = np.array([TOKENS, TOKENS])
    model.fit(x, x, loss="cross_entropy", optimizer=bptt.SGD(1.0), progress=False)


def forget(model):
    model.layers = ()
    gc.collect()


CHANGES = [write, write_through_base, load, fit, forget]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_do_not_reach_a_stepper(change):
    model = make()
    first, second = model.stepper(), model.stepper()
    change(model)
    np.testing.assert_array_equal(steps(first), WANT)
    np.testing.assert_array_equal(steps(second), WANT)


@pytest.mark.parametrize("change", [write, write_through_base, load, fit])
def test_a_stepper_made_later_has_the_new_parameters(change):
    model = make()
    before = model.stepper()
    change(model)
    after = model.stepper()
    assert not np.array_equal(steps(after), WANT)
    twin = make()
    twin.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(steps(after), steps(twin.stepper()))
    np.testing.assert_array_equal(steps(before), WANT)


def test_an_array_that_somebody_holds_does_not_reach_a_stepper():
    model = make()
    arrays = [layer.parameters["weight"] for layer in model.layers[::2]]
    bases = [array.base for array in arrays]
    del arrays
    stepper = model.stepper()
    for base in bases:
        base += 1
    np.testing.assert_array_equal(steps(stepper), WANT)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_has_parameters_of_its_own(how):
    model = make()
    stepper = model.stepper()
    twin = how(stepper)
    write(model)
    third = how(twin)
    for each in (stepper, twin, third):
        np.testing.assert_array_equal(steps(each), WANT)


def test_a_stepper_that_is_made_in_a_callback_does_not_see_training_go_on():
    class Keep(bptt.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 0:
                self.stepper = self.model.stepper()
                self.want = steps(self.stepper)

    model, keep = make(), Keep()
    x = np.array([TOKENS, TOKENS])
    options = {"loss": "cross_entropy", "optimizer": bptt.SGD(1.0), "progress": False}
    model.fit(x, x, epochs=3, callbacks=[keep], **options)
    np.testing.assert_array_equal(steps(keep.stepper), keep.want)
    assert not np.array_equal(steps(model.stepper()), keep.want)


def test_a_stepper_does_not_copy_a_table():
    model = bptt.Sequential(bptt.Embedding(100_000, 16, rng=0), bptt.GRU(16, 3, rng=1))
    steppers = []
    tracemalloc.start()
    try:
        for _ in range(3):
            steppers.append(model.stepper())
            steppers[-1].step(99_999)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # the table has 6,400,000 bytes
    finally:
        tracemalloc.stop()
    table = model.layers[0].parameters["weight"]
    before = steppers[0].step(7).copy()
    table[7] = 0
    for stepper in steppers:
        stepper.reset()
        stepper.step(99_999)
        np.testing.assert_array_equal(stepper.step(7), before)


def test_an_embedding_alone_has_a_stepper():
    layer = bptt.Embedding(4, 3, rng=0)
    model = bptt.Sequential(layer)
    stepper = model.stepper(2)
    want = layer.parameters["weight"][[3, 1]].copy()
    np.testing.assert_array_equal(stepper.step([3, 1]), want)
    assert stepper.state == ()
    stepper.state = ()
    with pytest.raises(ValueError, match="0 to 3"):
        stepper.step([4, 0])
