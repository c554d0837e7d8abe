"""Recurrent layers with torch.nn's names, shapes, defaults and initialisation, on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check, _core
from bptt.layers import Layer

Array = NDArray[Any]
State = tuple[Array, ...]


class Tape:
    """What `forward` keeps for `backward`: good for one backward pass.

    It holds on to the input and output arrays: change neither before `backward`.
    """

    def __init__(
        self, core: _core.Tape, layer: _Recurrent, x: Array, y: Array, shape: tuple[int, ...]
    ) -> None:
        self._core, self._layer, self._used = core, layer, False
        self._x, self._y = x.view(), y  # views of our own: the user may reshape theirs
        self._shape = shape  # of y, without a batch if there was none


class _Recurrent(Layer):
    _states: int
    _options: str = ""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        batch_first: bool,
        dtype: object,
        rng: object,
    ) -> None:
        self.input_size = _check.size("input_size", input_size)
        self.hidden_size = _check.size("hidden_size", hidden_size)
        self.bias = _check.flag("bias", bias)
        self.batch_first = _check.flag("batch_first", batch_first)
        self._init(self._make_core(), dtype, self.hidden_size**-0.5, rng)

    def __repr__(self) -> str:
        options = self._options
        for name, default in (("bias", True), ("batch_first", False)):
            if getattr(self, name) != default:
                options += f", {name}={getattr(self, name)}"
        if self.dtype != np.float32:
            options += f", dtype={self.dtype}"
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{options})"

    def __call__(
        self, x: ArrayLike, state: Sequence[ArrayLike] | None = None
    ) -> tuple[Array, State]:
        """Run the layer; nothing is kept for a backward pass.

        Parameters
        ----------
        x : array_like
            (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) without a batch.
        state : tuple of array_like, optional
            The initial state, ``(h,)`` for an RNN and ``(h, c)`` for an LSTM, each (1, B, H), or
            (1, H) without a batch. Zeros by default.

        Returns
        -------
        y : ndarray
            Every h_t: x's shape with H for I.
        state : tuple of ndarray
            The final state, in the shapes of the initial one.
        """
        y, final, _ = self._run(x, state, record=False)
        return y, final

    def forward(
        self, x: ArrayLike, state: Sequence[ArrayLike] | None = None
    ) -> tuple[Array, State, Tape]:
        """Run the layer and record what `backward` needs.

        Parameters and the first two results are those of calling the layer; the third is the tape.
        """
        y, final, tape = self._run(x, state, record=True)
        assert tape is not None
        return y, final, tape

    def _run(
        self, x: ArrayLike, state: Sequence[ArrayLike] | None, *, record: bool
    ) -> tuple[Array, State, Tape | None]:
        array = _check.floats("x", x, self.dtype)
        if array.ndim not in (2, 3):
            layout = "(B, T, I)" if self.batch_first else "(T, B, I)"
            raise ValueError(f"x must be {layout} or (T, I), got shape {array.shape}")
        if array.shape[-1] != self.input_size:
            raise ValueError(
                f"x must have {self.input_size} features in its last dimension (input_size), "
                f"got shape {array.shape}"
            )
        batched = array.ndim == 3
        if not batched:
            array = array[None] if self.batch_first else array[:, None]
        rows = array.shape[0] if self.batch_first else array.shape[1]
        states = self._to_core("state", state, rows, batched)
        core_y, final, core_tape = self._core.forward(
            list(self.parameters.values()), array, states, self.batch_first, record
        )
        y = core_y
        if not batched:
            y = y[0] if self.batch_first else y[:, 0]
        tape = None if core_tape is None else Tape(core_tape, self, array, core_y.view(), y.shape)
        return y, self._from_core(final, batched), tape

    def backward(
        self, tape: Tape, dy: ArrayLike | None, dstate: Sequence[ArrayLike] | None = None
    ) -> tuple[Array, State, dict[str, Array]]:
        """Backpropagation through time.

        Parameters
        ----------
        tape : Tape
            From `forward` of this layer, not used before; the parameters must be as they were then.
        dy : array_like or None
            Gradient of the loss with respect to y, in y's shape; None for zeros.
        dstate : tuple of array_like, optional
            Gradient with respect to the final state, in its shapes. Zeros by default.

        Returns
        -------
        dx : ndarray
            Gradient with respect to x, in its shape.
        dstate : tuple of ndarray
            Gradient with respect to the initial state.
        grads : dict of str to ndarray
            Gradients with respect to the parameters, by their names.
        """
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must come from forward, got {type(tape).__name__}")
        if tape._layer is not self:
            raise ValueError("the tape was recorded by another layer")
        if tape._used:
            raise ValueError("the tape is used up: run forward again for another backward")
        if dy is None:
            array = np.zeros(tape._shape, self.dtype)
        else:
            array = _check.floats("dy", dy, self.dtype)
        if array.shape != tape._shape:
            raise ValueError(f"dy must have the shape of y, {tape._shape}, got {array.shape}")
        batched = array.ndim == 3
        if not batched:
            array = array[None] if self.batch_first else array[:, None]
        rows = array.shape[0] if self.batch_first else array.shape[1]
        states = self._to_core("dstate", dstate, rows, batched)
        dx, initial, flat = self._core.backward(
            list(self.parameters.values()),
            tape._x,
            tape._y,
            tape._core,
            array,
            states,
            self.batch_first,
            True,
            True,
        )
        assert dx is not None and flat is not None  # both were asked for
        tape._used = True
        if not batched:
            dx = dx[0] if self.batch_first else dx[:, 0]
        return dx, self._from_core(initial, batched), self._views(flat)

    def _to_core(
        self, name: str, state: Sequence[ArrayLike] | None, rows: int, batched: bool
    ) -> list[Array]:
        """(1, B, H) or (1, H) arrays as (B, H); none for zeros."""
        shape = (1, rows, self.hidden_size) if batched else (1, self.hidden_size)
        if state is None:
            return []  # zeros
        names = ("h", "c")[: self._states]
        if not isinstance(state, (tuple, list)) or len(state) != self._states:
            want = "(h, c)" if self._states == 2 else "(h,)"
            got = (
                f"{len(state)} items" if isinstance(state, (tuple, list)) else type(state).__name__
            )
            raise ValueError(f"{name} must be a tuple {want}, got {got}")
        arrays = []
        for part, value in zip(names, state):
            array = _check.floats(f"{name} {part}", value, self.dtype)
            if array.shape != shape:
                raise ValueError(f"{name} {part} must have shape {shape}, got {array.shape}")
            arrays.append(array.reshape(rows, self.hidden_size))
        return arrays

    def _from_core(self, state: list[Array], batched: bool) -> State:
        return tuple(array[None] if batched else array for array in state)


class LSTM(_Recurrent):
    """Long short-term memory, as torch.nn.LSTM with one layer and one direction.

    ``i, f, o = sigmoid(...)``, ``g = tanh(...)`` of ``W_ih x_t + b_ih + W_hh h_{t-1} + b_hh``;
    ``c_t = f * c_{t-1} + i * g``, ``h_t = o * tanh(c_t)`` (Hochreiter and Schmidhuber 1997; Gers,
    Schmidhuber and Cummins 2000).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input (I) and hidden units (H).
    bias : bool, default True
        Whether there are biases.
    batch_first : bool, default False
        Whether batches are (B, T, I) rather than (T, B, I). States do not depend on it.
    dtype : {"float32", "float64"}, default "float32"
        Of the parameters and all results.
    rng : None, int or numpy.random.Generator
        Where the initial parameters are drawn from, uniformly in [-1/sqrt(H), 1/sqrt(H)].

    Notes
    -----
    Parameters: ``weight_ih_l0`` (4 H, I), ``weight_hh_l0`` (4 H, H), ``bias_ih_l0`` and
    ``bias_hh_l0`` (4 H,); gates in the order i, f, g, o.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> lstm = bptt.LSTM(3, 5, rng=0)
    >>> x = np.ones((7, 2, 3))  # (T, B, I)
    >>> y, (h, c) = lstm(x)
    >>> y.shape, h.shape, c.shape
    ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    >>> y, state, tape = lstm.forward(x)
    >>> dx, dstate, grads = lstm.backward(tape, np.ones_like(y))
    >>> dx.shape, grads["weight_ih_l0"].shape
    ((7, 2, 3), (20, 3))
    """

    _states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dtype: object = "float32",
        rng: object = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, batch_first, dtype, rng)

    def _make_core(self) -> _core.Layer:
        return _core.Layer.lstm(self.input_size, self.hidden_size, self.bias)


class RNN(_Recurrent):
    """The vanilla recurrent network, as torch.nn.RNN with one layer and one direction.

    ``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``, or relu (Elman 1990).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input (I) and hidden units (H).
    nonlinearity : {"tanh", "relu"}, default "tanh"
        What is applied to the sum.
    bias : bool, default True
        Whether there are biases.
    batch_first : bool, default False
        Whether batches are (B, T, I) rather than (T, B, I). States do not depend on it.
    dtype : {"float32", "float64"}, default "float32"
        Of the parameters and all results.
    rng : None, int or numpy.random.Generator
        Where the initial parameters are drawn from, uniformly in [-1/sqrt(H), 1/sqrt(H)].

    Notes
    -----
    Parameters: ``weight_ih_l0`` (H, I), ``weight_hh_l0`` (H, H), ``bias_ih_l0`` and ``bias_hh_l0``
    (H,). The state is the tuple ``(h,)``.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> rnn = bptt.RNN(3, 5, rng=0)
    >>> y, (h,) = rnn(np.ones((7, 3)))  # (T, I), no batch
    >>> bool((y[-1] == h[0]).all())
    True
    """

    _states = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dtype: object = "float32",
        rng: object = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity = nonlinearity
        self._options = "" if nonlinearity == "tanh" else f", nonlinearity={nonlinearity!r}"
        super().__init__(input_size, hidden_size, bias, batch_first, dtype, rng)

    def _make_core(self) -> _core.Layer:
        relu = self.nonlinearity == "relu"
        return _core.Layer.rnn(self.input_size, self.hidden_size, relu, self.bias)
