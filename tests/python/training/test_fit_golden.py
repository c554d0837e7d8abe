"""Training against PyTorch's: tests/golden/make_golden.py and make_fit_golden.py."""

import numpy as np
import pytest
from golden_files import assert_close, read

import bptt
from bptt.schedules import Schedule

OPTIMISERS, SCHEDULES, LOSSES = map(read, ["optimisers.npz", "schedules.npz", "losses.npz"])
TRAINING = read("training.npz")
SCHEDULED = [case for case in OPTIMISERS if "schedule" in OPTIMISERS[case]["config"]]
TOLERANCE = 1e-11  # in float64; sums are taken in another order, nothing else may differ


def linear(golden, dtype):
    layer = bptt.Linear(3, 2, dtype=dtype)
    layer.load_state_dict({name: golden[f"before.{name}"] for name in layer.parameters})
    return layer


class Parameters(bptt.Callback):
    """Keeps all parameters after every epoch, which is a step here."""

    def __init__(self):
        self.all = []

    def on_epoch_end(self, epoch, logs):
        parameters = self.model.layers[0].parameters.values()
        self.all.append(np.concatenate([array.ravel() for array in parameters]))


def train(golden, dtype, epochs=50, **settings):
    config = golden["config"]
    model, seen = bptt.Sequential(linear(golden, dtype)), Parameters()
    if "schedule" in config:
        name, options = config["schedule"]
        settings["schedule"] = getattr(bptt, name)(**options)
    optimizer = getattr(bptt, config["name"])(**config["options"])
    settings = {"loss": "mse", "optimizer": optimizer, "batch_size": 8} | settings
    history = model.fit(
        golden["x"],
        golden["target"],
        epochs=epochs,
        shuffle=False,
        progress=False,
        callbacks=[seen],
        **settings,
    )
    return history, np.array(seen.all)


@pytest.mark.parametrize("case", OPTIMISERS)
def test_fifty_steps(case):
    golden = OPTIMISERS[case]
    history, params = train(golden, "float64")
    np.testing.assert_allclose(params, golden["params"], rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(history.loss, golden["loss"], rtol=TOLERANCE)
    assert np.ptp(golden["params"], axis=0).min() > 1e-3, "something moves"


@pytest.mark.parametrize("case", OPTIMISERS)
def test_fifty_steps_in_single_precision(case):
    golden = OPTIMISERS[case]
    params = train(golden, "float32")[1]
    np.testing.assert_allclose(params, golden["params"], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("case", OPTIMISERS)
def test_accumulated_batches(case):
    golden = OPTIMISERS[case]
    params = train(golden, "float64", batch_size=3, accumulate=3)[1]
    np.testing.assert_allclose(params, golden["params"], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("case", SCHEDULES)
def test_schedules(case):
    golden = SCHEDULES[case]
    schedule = getattr(bptt, golden["config"]["name"])(**golden["config"]["options"])
    assert isinstance(schedule, Schedule)
    state = schedule._start(0.1)
    rates, ahead = [], []
    for step, metric in enumerate([*golden["metric"], 0.0]):
        rates.append(schedule._rate(state, 0.1))
        if step % 10 == 0 and schedule.per == "step":
            ahead += [schedule._rate(state, 0.1, n) for n in range(10) if step + n <= 50]
        schedule._step(state, {"loss": metric})
    lr, momentum = zip(*rates)
    np.testing.assert_allclose(lr, golden["lr"], rtol=TOLERANCE, atol=0)
    assert ahead in ([], rates)
    if None not in momentum:
        np.testing.assert_allclose(momentum, golden["momentum"], rtol=TOLERANCE)
    else:
        assert set(momentum) == {None}
        assert np.ptp(golden["momentum"]) == 0


@pytest.mark.parametrize("case", SCHEDULED)
def test_the_history_tells_the_rates(case):
    golden = OPTIMISERS[case]
    name, options = golden["config"]["schedule"]
    schedule = getattr(bptt, name)(**options)
    lr = golden["config"]["options"].get("lr", 1e-3)
    state, want = schedule._start(lr), []
    for loss in golden["loss"]:
        want.append(schedule._rate(state, lr)[0])
        schedule._step(state, {"loss": loss})
    np.testing.assert_allclose(train(golden, "float64")[0].lr, want, rtol=1e-13)
    assert len(set(want)) > 2


@pytest.mark.parametrize("case", LOSSES)
def test_losses(case):
    golden = LOSSES[case]
    loss = getattr(bptt, golden["config"]["name"])(**golden["config"]["options"])
    outputs, target = golden["outputs"], golden["target"]
    # Of one-hot inputs, a linear layer's weights are the outputs: a step of size 1 is the gradient.
    n, features = outputs.shape
    layer = bptt.Linear(n, features, bias=False, dtype="float64")
    layer.parameters["weight"][:] = outputs.T
    model = bptt.Sequential(layer)
    x, y = np.eye(n)[None], target[None]
    history = model.fit(x, y, loss=loss, optimizer=bptt.SGD(1.0), progress=False)
    np.testing.assert_allclose(history.loss[0], golden["loss"], rtol=1e-13)
    gradient = outputs - layer.parameters["weight"].T
    np.testing.assert_allclose(gradient, golden["gradient"], rtol=0, atol=1e-13)
    layer.parameters["weight"][:] = outputs.T
    np.testing.assert_allclose(model.evaluate(x, y, loss=loss), golden["loss"], rtol=1e-13)


def test_names_stand_for_losses_with_defaults():
    for name, case in [
        ("cross_entropy", "cross_entropy"),
        ("bce_with_logits", "bce"),
        ("mse", "mse"),
        ("mae", "l1"),
        ("huber", "huber"),
    ]:
        golden = LOSSES[case]
        n, features = golden["outputs"].shape
        layer = bptt.Linear(n, features, bias=False, dtype="float64")
        layer.parameters["weight"][:] = golden["outputs"].T
        value = bptt.Sequential(layer).evaluate(np.eye(n)[None], golden["target"][None], loss=name)
        np.testing.assert_allclose(value, golden["loss"], rtol=1e-13)


@pytest.mark.parametrize("case", TRAINING)
def test_ten_training_steps(case):
    golden = TRAINING[case]
    config, optimiser = golden["config"], golden["config"]["optimiser"]
    inputs, hidden, outputs = config["sizes"]
    dtype = config["dtype"]
    model = bptt.Sequential(
        getattr(bptt, config["cell"])(inputs, hidden, dtype=dtype),
        bptt.Linear(hidden, outputs, bias=config["linear_bias"], dtype=dtype),
    )
    for n, layer in enumerate(model.layers):
        layer.load_state_dict({name: golden[f"before.{n}.{name}"] for name in layer.parameters})
    if optimiser["name"] == "SGD":
        step = bptt.SGD(optimiser["lr"], momentum=optimiser["momentum"])
    else:
        step = bptt.Adam(optimiser["lr"])

    history = model.fit(
        golden["x"],
        golden["target"],
        loss=config["loss"],
        optimizer=step,
        epochs=len(golden["loss"]),
        batch_size=len(golden["x"]),
        clip_norm=optimiser["clip_norm"],
        shuffle=False,
        progress=False,
    )

    assert_close(np.array(history.loss, dtype), golden["loss"], "loss")
    for n, layer in enumerate(model.layers):
        for name, value in layer.parameters.items():
            assert_close(value, golden[f"after.{n}.{name}"], f"{n}.{name}")


@pytest.mark.parametrize("case", [case for case in TRAINING if "_clip_" in case])
def test_clipping_cases_clip_some_steps_only(case):
    """Otherwise they would test less than they say."""
    limit = TRAINING[case]["config"]["optimiser"]["clip_norm"]
    clipped = TRAINING[case]["norm"] > limit
    assert clipped.any()
    assert not clipped.all()
