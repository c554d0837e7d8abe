"""Part 1 of the notebook, the RNN by hand: its functions on the core."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import lab_backward, lab_forward
from bptt._support import check
from bptt.lab.pieces import (
    MAX_NORM,
    Array,
    Columns,
    column,
    columns,
    init_orthogonal,
    parameters,
)

SHAPES = {
    "U": ("H", "V"),
    "V": ("H", "H"),
    "W": ("V", "H"),
    "b_hidden": ("H", "1"),
    "b_out": ("V", "1"),
}


def init_rnn(hidden_size: int, vocab_size: int) -> tuple[Array, ...]:
    """Draw the parameters of the RNN: orthogonal weights, zero biases.

    Parameters
    ----------
    hidden_size, vocab_size : int
        Hidden units (H) and tokens (V).

    Returns
    -------
    tuple of ndarray
        U (H, V), V (H, H), W (V, H), b_hidden (H, 1), b_out (V, 1). The weights are drawn in this
        order from NumPy's global generator.

    Examples
    --------
    >>> from bptt import lab
    >>> [param.shape for param in lab.init_rnn(50, 4)]
    [(50, 4), (50, 50), (4, 50), (50, 1), (4, 1)]
    """
    h, v = check.size("hidden_size", hidden_size), check.size("vocab_size", vocab_size)
    weights = [init_orthogonal(np.zeros(shape)) for shape in ((h, v), (h, h), (v, h))]
    return (*weights, np.zeros((h, 1)), np.zeros((v, 1)))


def forward_pass(
    inputs: Columns, hidden_state: ArrayLike, params: Sequence[ArrayLike]
) -> tuple[list[Array], list[Array]]:
    """Run the RNN over a sequence.

    ``h_t = tanh(U x_t + V h_{t-1} + b_hidden)``, ``o_t = softmax(W h_t + b_out)``.

    Parameters
    ----------
    inputs : array_like (T, V, 1), or a list of T arrays (V, 1)
        One-hot tokens.
    hidden_state : array_like (H, 1)
        The initial hidden state.
    params : sequence of array_like
        As from `init_rnn`.

    Returns
    -------
    outputs : list of T arrays (V, 1)
        The probabilities of the next token.
    hidden_states : list of T arrays (H, 1)
        h_t of every step.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import lab
    >>> params = lab.init_rnn(50, 4)
    >>> inputs = lab.one_hot_encode_sequence(["a", "a", "b"], 4)
    >>> outputs, hidden_states = lab.forward_pass(inputs, np.zeros((50, 1)), params)
    >>> len(outputs), outputs[0].shape, hidden_states[0].shape
    (3, (4, 1), (50, 1))
    """
    p = parameters("params", params, SHAPES)
    v, h = p["W"].shape
    x = columns("inputs", inputs, v)
    h0 = column("hidden_state", hidden_state, h)
    outputs, hidden = lab_forward(list(p.values()), x, [h0], v)
    return list(outputs.reshape(-1, v, 1)), list(hidden.reshape(-1, h, 1)[1:])


def backward_pass(
    inputs: Columns,
    outputs: Columns,
    hidden_states: Columns,
    targets: Columns,
    params: Sequence[ArrayLike],
    *,
    exact: bool = False,
    hidden_state: ArrayLike | None = None,
) -> tuple[float, tuple[Array, ...]]:
    """Return the loss of a pass and its gradients, clipped to norm 0.25.

    By default the gradients are those that the notebook publishes and checks. They differ from the
    gradients of the loss in two places: the slope of tanh is taken at h_t instead of its argument,
    ``1 - tanh(h_t)^2``, and at the first step ``d_V`` uses the last hidden state instead of the
    initial one. docs/gradients.md shows the effect.

    Parameters
    ----------
    inputs, outputs, targets : array_like (T, V, 1), or a list of T arrays (V, 1)
        One-hot tokens, the outputs of `forward_pass` for them, and the one-hot targets.
    hidden_states : array_like (T, H, 1), or a list of T arrays (H, 1)
        From `forward_pass`.
    params : sequence of array_like
        As from `init_rnn`.
    exact : bool, default False
        Whether to return the gradients of the cross-entropy, summed over the steps, by
        backpropagation through time. (The returned loss is this sum divided by V.)
    hidden_state : array_like (H, 1), optional
        The initial hidden state, for exact gradients; zeros by default, as in the notebook.

    Returns
    -------
    loss : float
        Minus the mean over the V entries of ``target * (log(output) + 1e-12)``, summed over steps.
    grads : tuple of ndarray
        d_U, d_V, d_W, d_b_hidden, d_b_out.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import lab
    >>> params = lab.init_rnn(50, 4)
    >>> inputs, targets = (lab.one_hot_encode_sequence(s, 4) for s in ("aab", "abb"))
    >>> outputs, hidden_states = lab.forward_pass(inputs, np.zeros((50, 1)), params)
    >>> loss, grads = lab.backward_pass(inputs, outputs, hidden_states, targets, params)
    >>> [grad.shape for grad in grads]
    [(50, 4), (50, 50), (4, 50), (50, 1), (4, 1)]
    """
    p = parameters("params", params, SHAPES)
    v, h = p["W"].shape
    x = columns("inputs", inputs, v)
    steps = len(x)
    out = columns("outputs", outputs, v, steps)
    hidden = columns("hidden_states", hidden_states, h, steps)
    y = columns("targets", targets, v, steps)
    h0 = np.zeros(h) if hidden_state is None else column("hidden_state", hidden_state, h)
    states = np.concatenate([h0[None], hidden])
    exact = check.flag("exact", exact)
    loss, grads = lab_backward(list(p.values()), [x, out, states], y, (h, v), exact, MAX_NORM)
    return loss, tuple(grad.reshape(param.shape) for grad, param in zip(grads, p.values()))
