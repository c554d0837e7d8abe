"""NaN and infinity go through layers and their gradients as through torch's."""

import numpy as np
import pytest

import bptt

torch = pytest.importorskip("torch")

CELLS = [bptt.LSTM, bptt.GRU, bptt.RNN]


def kinds(array):
    """Which numbers are NaN (2), which are infinite (3 or -3)."""
    array = np.asarray(array)
    return np.where(np.isnan(array), 2, np.where(np.isinf(array), 3 * np.sign(array), 0))


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("make", CELLS)
def test_nan_and_infinity_are_where_torchs_are(make, bad, dtype, options):
    for hidden, rows, steps in ((5, 2, 4), (33, 9, 5)):
        for where in ("x", "state", "dy"):
            rng = np.random.default_rng(0)
            layer = make(3, hidden, batch_first=True, dtype=dtype, rng=1, **options)
            directions = 2 if layer.bidirectional else 1
            states = layer.num_layers * directions
            kind = getattr(torch, dtype)
            twin = getattr(torch.nn, make.__name__)(
                3, hidden, batch_first=True, dtype=kind, **options
            )
            with torch.no_grad():
                for name, parameter in twin.named_parameters():
                    parameter.copy_(torch.tensor(layer.parameters[name]))
            given = {
                "x": rng.standard_normal((rows, steps, 3)).astype(dtype),
                "state": rng.standard_normal((states, rows, hidden)),
                "dy": rng.standard_normal((rows, steps, directions * hidden)).astype(dtype),
            }
            given["state"] = given["state"].astype(dtype)
            given[where][0, 1, 0] = bad
            x, state = (torch.tensor(given[name], requires_grad=True) for name in ("x", "state"))
            lstm = make is bptt.LSTM
            want = twin(x, (state, torch.zeros_like(state)) if lstm else state)[0]
            want.backward(torch.tensor(given["dy"]))
            zeros = np.zeros_like(given["state"])
            y, _, tape = layer.forward(
                given["x"], (given["state"], zeros) if lstm else given["state"]
            )
            dx, dstate, grads = layer.backward(tape, given["dy"])
            np.testing.assert_array_equal(kinds(y), kinds(want.detach()), where)
            np.testing.assert_array_equal(kinds(dx), kinds(x.grad), where)
            np.testing.assert_array_equal(kinds(dstate[0]), kinds(state.grad), where)
            for name, parameter in twin.named_parameters():
                np.testing.assert_array_equal(kinds(grads[name]), kinds(parameter.grad), name)
