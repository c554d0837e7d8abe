"""bptt against what PyTorch computed: tests/golden/*.npz, which need no torch to be read."""

import json
from pathlib import Path

import numpy as np
import pytest

import bptt

GOLDEN = Path(__file__).parents[1] / "golden"
# Of the largest magnitude in the array: sums are taken in another order, nothing else may differ.
TOLERANCE = {"float64": 1e-11, "float32": 2e-5}


def read(file):
    """{case: {name: array}} of one archive, with each config parsed."""
    cases = {}
    with np.load(GOLDEN / file, allow_pickle=False) as archive:
        for key in archive.files:
            case, _, name = key.partition("/")  # but for "torch_version", which has no case
            if name:
                value = archive[key]
                value = json.loads(str(value)) if name == "config" else value
                cases.setdefault(case, {})[name] = value
    return cases


LAYERS = read("layers.npz")
TRAINING = read("training.npz")


def assert_close(actual, expected, name):
    """Same shape and dtype, and close relative to the largest magnitude."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, name
    assert actual.dtype == expected.dtype, name
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCE[str(expected.dtype)], f"{name}: relative error {error:.2e}"


def golden_layer(case):
    """The layer of a case, its arrays, its initial state and the gradient of the final one."""
    golden = LAYERS[case]
    config = golden["config"]
    layer = getattr(bptt, config["cell"])(
        config["input_size"], config["hidden_size"], dtype=config["dtype"], **config["options"]
    )
    layer.load_state_dict({name: golden[name] for name in layer.parameters})
    states = "hc" if config["cell"] == "LSTM" else "h"
    state = tuple(golden[f"{s}0"] for s in states)
    dstate = tuple(golden[f"d{s}_n"] for s in states)
    return layer, golden, states, state, dstate


@pytest.mark.parametrize("case", LAYERS)
def test_layer_inference(case):
    layer, golden, states, state, _ = golden_layer(case)
    y, final = layer(golden["x"], state)
    assert_close(y, golden["y"], "y")
    assert isinstance(final, tuple)
    for s, value in zip(states, final, strict=True):
        assert_close(value, golden[f"{s}_n"], f"{s}_n")


@pytest.mark.parametrize("case", LAYERS)
def test_layer_gradients(case):
    layer, golden, states, state, dstate = golden_layer(case)
    y, final, tape = layer.forward(golden["x"], state)
    dx, dinitial, gradients = layer.backward(tape, golden["dy"], dstate)
    assert_close(y, golden["y"], "y")
    assert_close(dx, golden["dx"], "dx")
    for s, value, gradient in zip(states, final, dinitial, strict=True):
        assert_close(value, golden[f"{s}_n"], f"{s}_n")
        assert_close(gradient, golden[f"d{s}0"], f"d{s}0")
    assert {f"d.{name}" for name in gradients} == {key for key in golden if key.startswith("d.")}
    for name, gradient in gradients.items():
        assert_close(gradient, golden[f"d.{name}"], f"d.{name}")


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
