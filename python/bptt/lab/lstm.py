"""Part 2 of the notebook, the LSTM by hand: its functions on the core."""

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
    **{f"W_{gate}": ("H", "Z") for gate in "figo"},
    "W_v": ("V", "H"),
    **{f"b_{gate}": ("H", "1") for gate in "figo"},
    "b_v": ("V", "1"),
}


def init_lstm(hidden_size: int, vocab_size: int, z_size: int | None = None) -> tuple[Array, ...]:
    """Draw the parameters of the LSTM: orthogonal weights, zero biases.

    Parameters
    ----------
    hidden_size, vocab_size : int
        Hidden units (H) and tokens (V).
    z_size : int, optional
        H + V, the size of ``z = [h; x]`` (Z).

    Returns
    -------
    tuple of ndarray
        W_f, W_i, W_g, W_o (H, Z), W_v (V, H), b_f, b_i, b_g, b_o (H, 1), b_v (V, 1). As in the
        notebook, each weight is drawn twice from NumPy's global generator and the second draw kept.

    Examples
    --------
    >>> from bptt import lab
    >>> [param.shape for param in lab.init_lstm(50, 4)][:5]
    [(50, 54), (50, 54), (50, 54), (50, 54), (4, 50)]
    """
    h, v = check.size("hidden_size", hidden_size), check.size("vocab_size", vocab_size)
    z = h + v if z_size is None else check.size("z_size", z_size)
    if z != h + v:
        raise ValueError(f"z_size must be hidden_size + vocab_size = {h + v}, got {z}")
    shapes = [(h, z)] * 4 + [(v, h)]
    for shape in shapes:
        np.random.randn(*shape)  # noqa: NPY002
    weights = [init_orthogonal(np.zeros(shape)) for shape in shapes]
    return (*weights, *(np.zeros((shape[0], 1)) for shape in shapes))


def forward(
    inputs: Columns, h_prev: ArrayLike, C_prev: ArrayLike, p: Sequence[ArrayLike]
) -> tuple[list[Array], ...]:
    """Run the LSTM over a sequence.

    With ``z_t = [h_{t-1}; x_t]``: ``f, i, o = sigmoid(W z + b)``, ``g = tanh(W_g z + b_g)``,
    ``C_t = f C_{t-1} + i g``, ``h_t = o tanh(C_t)``, ``v_t = W_v h_t + b_v``.

    Parameters
    ----------
    inputs : array_like (T, V, 1), or a list of T arrays (V, 1)
        One-hot tokens.
    h_prev, C_prev : array_like (H, 1)
        The initial hidden state and cell state.
    p : sequence of array_like
        As from `init_lstm`.

    Returns
    -------
    z_s, f_s, i_s, g_s, C_s, o_s, h_s, v_s, output_s : lists of arrays (n, 1)
        One column for each step. C_s and h_s start with the initial state and have one more.
        output_s are the probabilities of the next token, ``softmax(v_t)``.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import lab
    >>> p = lab.init_lstm(50, 4)
    >>> inputs = lab.one_hot_encode_sequence(["a", "a", "b"], 4)
    >>> zero = np.zeros((50, 1))
    >>> z_s, f_s, i_s, g_s, C_s, o_s, h_s, v_s, output_s = lab.forward(inputs, zero, zero, p)
    >>> len(f_s), len(C_s), z_s[0].shape, output_s[0].shape
    (3, 4, (54, 1), (4, 1))
    """
    params, h, v = check_parameters("p", p)
    x = columns("inputs", inputs, v)
    state = [column("h_prev", h_prev, h), column("C_prev", C_prev, h)]
    output, hs, logits, cs, *gates = lab_forward(list(params.values()), x, state, v)
    hs = hs.reshape(-1, h)
    i, f, g, o = gates
    z = np.concatenate([hs[:-1], x], axis=1)
    flat = ((z, h + v), (f, h), (i, h), (g, h), (cs, h), (o, h), (hs, h), (logits, v), (output, v))
    return tuple(list(array.reshape(-1, rows, 1)) for array, rows in flat)


def backward(
    z: Columns,
    f: Columns,
    i: Columns,
    g: Columns,
    C: Columns,
    o: Columns,
    h: Columns,
    v: Columns,
    outputs: Columns,
    targets: Columns,
    p: Sequence[ArrayLike],
    *,
    exact: bool = False,
) -> tuple[float, tuple[Array, ...]]:
    """Return the loss of a pass and its gradients, clipped to norm 0.25.

    By default the gradients are those that the notebook publishes and checks. They are not
    backpropagation through time: no gradient flows from one step to the step before, states are
    those of the step before, and slopes are taken at values instead of arguments. docs/gradients.md
    has the formulas and shows the effect.

    Parameters
    ----------
    z, f, i, g, C, o, h, v, outputs : lists of columns, or arrays (T or T + 1, n, 1)
        As from `forward`.
    targets : array_like (T, V, 1), or a list of T arrays (V, 1)
        The one-hot targets.
    p : sequence of array_like
        As from `init_lstm`.
    exact : bool, default False
        Whether to return the gradients of the cross-entropy, summed over the steps, by
        backpropagation through time. (The returned loss is this sum divided by V.)

    Returns
    -------
    loss : float
        Minus the mean over the V entries of ``target * log(output)``, summed over the steps.
    grads : tuple of ndarray
        In the order of `p`.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import lab
    >>> p = lab.init_lstm(50, 4)
    >>> inputs, targets = (lab.one_hot_encode_sequence(s, 4) for s in ("aab", "abb"))
    >>> kept = lab.forward(inputs, np.zeros((50, 1)), np.zeros((50, 1)), p)
    >>> loss, grads = lab.backward(*kept, targets, p, exact=True)
    >>> [grad.shape for grad in grads][:5]
    [(50, 54), (50, 54), (50, 54), (50, 54), (4, 50)]
    """
    params, hidden, vocab = check_parameters("p", p)
    zs = columns("z", z, hidden + vocab)
    steps = len(zs)
    gates = [
        columns(name, gate, hidden, steps)
        for name, gate in (("i", i), ("f", f), ("g", g), ("o", o))
    ]
    cs, hs = (columns(name, value, hidden, steps + 1) for name, value in (("C", C), ("h", h)))
    columns("v", v, vocab, steps)
    out, y = (
        columns(name, value, vocab, steps)
        for name, value in (("outputs", outputs), ("targets", targets))
    )
    x = np.ascontiguousarray(zs[:, hidden:])
    kept = [x, out, hs, cs, *gates]
    exact = check.flag("exact", exact)
    loss, grads = lab_backward(list(params.values()), kept, y, (hidden, vocab), exact, MAX_NORM)
    return loss, tuple(grad.reshape(param.shape) for grad, param in zip(grads, params.values()))


def check_parameters(name: str, given: Sequence[ArrayLike]) -> tuple[dict[str, Array], int, int]:
    """Return the parameters by name, and H and V."""
    params = parameters(name, given, SHAPES)
    v, h = params["W_v"].shape
    if params["W_f"].shape[1] != h + v:
        raise ValueError(
            f"{name}[0] (W_f) must have H + V = {h + v} columns for H={h} and V={v}, got shape "
            f"{params['W_f'].shape}"
        )
    return params, h, v
