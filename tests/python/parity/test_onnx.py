"""Peepholes and both forms of the GRU beside ONNX's reference implementation of its operators."""

import numpy as np
import pytest

import bptt

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

T, B, I, H = 6, 3, 4, 5  # noqa: E741


def operator(kind, inputs, outputs, **attributes):
    """Run one ONNX operator; inputs by name, "" for those left out."""
    values = {name: value for name, value in inputs.items() if value is not None}
    node = helper.make_node(
        kind, [name if name in values else "" for name in inputs], outputs, **attributes
    )
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
        for name, value in values.items()
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "graph", given, results)
    return ReferenceEvaluator(helper.make_model(graph)).run(None, values)


def gates(array, order):
    """Rows of the gates in another order, for one direction."""
    parts = np.split(array, len(order))
    return np.concatenate([parts[n] for n in order])[None]


def drawn(layer):
    rng = np.random.default_rng(0)
    for array in layer.parameters.values():
        array[...] = rng.standard_normal(array.shape)
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    state = rng.standard_normal((2, 1, B, H)).astype(np.float32)
    return {name.removesuffix("_l0"): p for name, p in layer.parameters.items()}, x, state


@pytest.mark.parametrize("peepholes", [False, True])
def test_lstm(peepholes):
    layer = bptt.LSTM(I, H, peepholes=peepholes)
    p, x, (h, c) = drawn(layer)
    order = (0, 3, 1, 2)  # i, o, f, g
    inputs = {
        "X": x,
        "W": gates(p["weight_ih"], order),
        "R": gates(p["weight_hh"], order),
        "B": np.concatenate([gates(p["bias_ih"], order), gates(p["bias_hh"], order)], axis=1),
        "sequence_lens": None,
        "initial_h": h,
        "initial_c": c,
        "P": gates(p["peephole"], (0, 2, 1)) if peepholes else None,
    }
    y, y_h, *_ = operator("LSTM", inputs, ["Y", "Y_h", "Y_c"], hidden_size=H)
    ours, (h_n, _) = layer(x, (h, c))
    np.testing.assert_allclose(ours, y[:, 0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(h_n, y_h, rtol=0, atol=2e-6)


@pytest.mark.parametrize("reset_after", [False, True])
def test_gru(reset_after):
    layer = bptt.GRU(I, H, reset_after=reset_after)
    p, x, (h, _) = drawn(layer)
    order = (1, 0, 2)  # z, r, n
    inputs = {
        "X": x,
        "W": gates(p["weight_ih"], order),
        "R": gates(p["weight_hh"], order),
        "B": np.concatenate([gates(p["bias_ih"], order), gates(p["bias_hh"], order)], axis=1),
        "sequence_lens": None,
        "initial_h": h,
    }
    y, y_h = operator(
        "GRU", inputs, ["Y", "Y_h"], hidden_size=H, linear_before_reset=int(reset_after)
    )
    ours, (h_n,) = layer(x, (h,))
    np.testing.assert_allclose(ours, y[:, 0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(h_n, y_h, rtol=0, atol=2e-6)
