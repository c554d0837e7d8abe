"""Layers against what PyTorch computed: tests/golden/make_golden.py."""

import pytest
from golden_files import assert_close, read

import bptt

LAYERS = read("layers.npz")


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
