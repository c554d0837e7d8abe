"""What recurrent layers share: the tape, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Layer as CoreLayer
from bptt._core import Model
from bptt._core import Tape as CoreTape
from bptt._support import check
from bptt.layers._arrays import Array
from bptt.layers._base import TrainableLayer, uniform
from bptt.layers._batch import Batch, State
from bptt.layers.stepper import Stepper


class Tape:
    """What `forward` keeps for `backward`: good for one backward pass.

    It holds on to the input and output arrays: change neither before `backward`.
    """

    def __init__(self, core: CoreTape, layer: Recurrent, x: Array, y: Array, batch: Batch) -> None:
        self._core, self._layer, self._used = core, layer, False
        self._x, self._y = x.view(), y.view()  # views of our own: the user may reshape theirs
        self._batch = batch


class Recurrent(TrainableLayer):
    """An LSTM, GRU or RNN: everything but its constructor's parameters."""

    _states: int
    _cell: str
    _values: tuple[str, ...]  # of the cell, in the tape's order
    _options: str = ""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        layer_norm: bool,
        recurrent_dropout: float,
        zoneout: float,
        compute: object,
        dtype: object,
        rng: object,
    ) -> None:
        self.input_size = check.size("input_size", input_size)
        self.hidden_size = check.size("hidden_size", hidden_size)
        self.num_layers = check.size("num_layers", num_layers)
        self.bias = check.flag("bias", bias)
        self.batch_first = check.flag("batch_first", batch_first)
        self.layer_norm = check.flag("layer_norm", layer_norm)
        self.dropout = check.probability("dropout", dropout)
        self.recurrent_dropout = check.probability("recurrent_dropout", recurrent_dropout)
        self.zoneout = check.probability("zoneout", zoneout)
        self.bidirectional = check.flag("bidirectional", bidirectional)
        self.proj_size = check.size("proj_size", proj_size, least=0)
        self.compute = check.compute(compute, dtype)
        self._rng = check.generator(rng)
        self._init(self._make_core(), dtype, uniform(self.hidden_size**-0.5, self._rng))
        for name, array in self.parameters.items():
            if name.startswith(("gain_", "bias_c_")):
                array[:] = name.startswith("gain_")

    @property
    def _outputs(self) -> int:
        """Features of the output."""
        return (self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1)

    def _make_core(self) -> CoreLayer:
        return CoreLayer.recurrent(
            self._cell,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bias,
            (self.dropout, self.recurrent_dropout, self.zoneout),
            self.bidirectional,
            self.proj_size,
            self.layer_norm,
            self.compute == "bf16",
        )

    def __repr__(self) -> str:
        options = "" if self.num_layers == 1 else f", num_layers={self.num_layers}"
        options += self._options
        for name, default in (
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
            ("proj_size", 0),
            ("peepholes", False),
            ("layer_norm", False),
            ("recurrent_dropout", 0.0),
            ("zoneout", 0.0),
            ("compute", None),
        ):
            if getattr(self, name, default) != default:
                options += f", {name}={getattr(self, name)!r}"
        if self.dtype != np.float32:
            options += f", dtype={self.dtype}"
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{options})"

    def __call__(
        self,
        x: ArrayLike,
        state: ArrayLike | Sequence[ArrayLike] | None = None,
        lengths: ArrayLike | None = None,
        *,
        return_cells: bool = False,
        return_gates: bool = False,
    ) -> Any:
        """Run the layer; nothing is kept for a backward pass, and there is no dropout.

        Parameters
        ----------
        x : array_like
            (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) without a batch.
        state : array_like or tuple of array_like, optional
            The initial state: h or ``(h,)``, for an LSTM ``(h, c)``, each (L D, B, H), or
            (L D, H) without a batch, for L layers and D directions; with a projection h has P
            for H. Zeros by default.
        lengths : array_like of int, optional
            (B,): how many steps of each sequence count, from 0 to T. The others are not computed,
            and zero in the output. All by default.
        return_cells : bool, default False
            Whether to return every c_t, too (LSTM).
        return_gates : bool, default False
            Whether to return what the gates are at every step (LSTM and GRU); `bptt.plot.gates`
            draws them.

        Returns
        -------
        y : ndarray
            Every h_t of the last layer: x's shape with D H for I.
        state : tuple of ndarray
            The final state, in the shapes of the initial one: that after each sequence's own last
            step.
        values : dict of str to ndarray
            If cells or gates are wanted: ``c_l0``, and an LSTM's ``i_l0``, ``f_l0``, ``g_l0``,
            ``o_l0`` or a GRU's ``r_l0``, ``z_l0``, ``n_l0``, each of x's shape with H for I; those
            of the second direction as ``i_l0_reverse``, of the layers above as ``i_l1``.
        """
        names: list[str] = []
        if return_cells is not False or return_gates is not False:
            names = self._names_of(return_cells, return_gates)
        y, final, tape = self._run(x, state, lengths, (None, False) if names else None)
        if tape is None:
            return y, final
        return y, final, self._inside(tape, names)

    def forward(
        self,
        x: ArrayLike,
        state: ArrayLike | Sequence[ArrayLike] | None = None,
        lengths: ArrayLike | None = None,
        *,
        checkpoint: str | None = None,
    ) -> tuple[Array, State, Tape]:
        """Run the layer, with dropout, and record what `backward` needs.

        The other parameters and the first two results are those of calling the layer; the third
        is the tape.

        Parameters
        ----------
        checkpoint : "sqrt", optional
            For long sequences: record the state before every part of about sqrt(T) steps only,
            and let `backward` compute the parts again. The gradients have the same bits; the tape
            grows with sqrt(T), for about a third more time.
        """
        if checkpoint not in (None, "sqrt"):
            raise ValueError(f'checkpoint must be "sqrt" or None, got {checkpoint!r}')
        record = (self._seed(), checkpoint is not None)
        y, final, tape = self._run(x, state, lengths, record)
        assert tape is not None
        return y, final, tape

    def _run(
        self,
        x: ArrayLike,
        state: ArrayLike | Sequence[ArrayLike] | None,
        lengths: ArrayLike | None,
        record: tuple[int | None, bool] | None,
    ) -> tuple[Array, State, Tape | None]:
        array, batch = self._batch_of(x, lengths)
        states = self._states_to_core("state", state, batch)
        core_x = batch.to_three(array)
        # Before there is one more reference to the parameters.
        version = self._arrays.version() if record is None else None
        core_y, final, core_tape = self._core.forward(
            [self._arrays.array],
            core_x,
            states,
            self.batch_first,
            batch.lengths,
            record,
            version,
        )
        tape = None if core_tape is None else Tape(core_tape, self, core_x, core_y, batch)
        return batch.from_three(core_y), batch.states_from_core(final), tape

    def _batch_of(self, x: ArrayLike, lengths: ArrayLike | None) -> tuple[Array, Batch]:
        array = check.floats("x", x, self.dtype)
        batch = Batch(array, lengths, self.batch_first)
        if array.shape[-1] != self.input_size:
            raise ValueError(
                f"x must have {self.input_size} features in its last dimension (input_size), "
                f"got shape {array.shape}"
            )
        return array, batch

    def _seed(self) -> int:
        """Return what the dropout of a pass draws from."""
        draws = self.recurrent_dropout or self.zoneout or (self.dropout and self.num_layers > 1)
        return int(self._rng.integers(2**63)) if draws else 0

    def backward(
        self,
        tape: Tape,
        dy: ArrayLike | None,
        dstate: ArrayLike | Sequence[ArrayLike] | None = None,
    ) -> tuple[Array, State, dict[str, Array]]:
        """Backpropagation through time.

        Parameters
        ----------
        tape : Tape
            From `forward` of this layer, not used before; the parameters must be as they were then.
        dy : array_like or None
            Gradient of the loss with respect to y, in y's shape; None for zeros. Where `lengths`
            left steps out, it is not looked at.
        dstate : array_like or tuple of array_like, optional
            Gradient with respect to the final state, in its shapes: of an RNN or GRU also that of
            h alone. Zeros by default.

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
        batch = tape._batch
        shape = (*batch.shape, self._outputs)
        array = np.zeros(shape, self.dtype) if dy is None else check.floats("dy", dy, self.dtype)
        if array.shape != shape:
            raise ValueError(f"dy must have the shape of y, {shape}, got {array.shape}")
        states = self._states_to_core("dstate", dstate, batch)
        dx, initial, flat = self._core.backward(
            [self._arrays.array],
            tape._x,
            tape._y,
            tape._core,
            batch.to_three(array),
            states,
            self.batch_first,
            batch.lengths,
            True,
            True,
        )
        assert dx is not None and flat is not None  # both were asked for
        tape._used = True
        return batch.from_three(dx), batch.states_from_core(initial), self._views(flat)

    def _names_of(self, return_cells: bool, return_gates: bool) -> list[str]:
        """Return the names of the cell's values that are wanted."""
        gates = [name for name in self._values if name not in ("c", "h")]
        names = gates if check.flag("return_gates", return_gates) else []
        if check.flag("return_cells", return_cells):
            names = [*names, "c"]
        kind = type(self).__name__
        if return_cells and "c" not in self._values:
            raise ValueError(f"return_cells: {kind} has no cell state, only an LSTM has")
        if return_gates and not gates:
            raise ValueError(f"return_gates: {kind} has no gates, only an LSTM or a GRU has")
        return names

    def _inside(self, tape: Tape, names: list[str]) -> dict[str, Array]:
        """Return some of the cell's values in a recorded pass, by their names."""
        values = {}
        for direction in range(self.num_layers * (2 if self.bidirectional else 1)):
            layer, reverse = divmod(direction, 2) if self.bidirectional else (direction, 0)
            suffix = f"_l{layer}" + ("_reverse" if reverse else "")
            for name in names:
                flat = tape._core.values(direction, self._values.index(name))
                values[name + suffix] = tape._batch.from_steps(flat, self.hidden_size)
        return values

    def stepper(self, batch: int = 1) -> Stepper:
        """Return a `Stepper`, which is given one step of `batch` rows at a time."""
        model = Model([self._core], self.dtype == np.float64)
        return Stepper([self], model, [self._flat], batch)

    def _state_shapes(self, rows: int) -> list[tuple[int, ...]]:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        return [(layers, rows, size) for size in sizes[: self._states]]

    def _state_parts(
        self, name: str, state: ArrayLike | Sequence[ArrayLike]
    ) -> Sequence[ArrayLike]:
        """Give the parts of a state: ``(h, c)``, ``(h,)``, or h alone where h is all of it."""
        if self._states == 1 and hasattr(state, "__array__"):
            return (state,)
        if isinstance(state, (tuple, list)) and len(state) == self._states:
            return state
        want = "a tuple (h, c)" if self._states == 2 else "h or a tuple (h,)"
        got = f"{len(state)} items" if isinstance(state, (tuple, list)) else type(state).__name__
        raise ValueError(f"{name} must be {want}, got {got}")

    def _states_to_core(
        self, name: str, state: ArrayLike | Sequence[ArrayLike] | None, batch: Batch
    ) -> list[Array]:
        """States as (L D, B, H) arrays; none for zeros."""
        if state is None:
            return []  # zeros
        names = ("h", "c")[: self._states]
        state = self._state_parts(name, state)
        arrays = []
        for part, value, core_shape in zip(names, state, self._state_shapes(batch.rows)):
            shape = core_shape if batch.batched else (core_shape[0], core_shape[2])
            array = check.floats(f"{name} {part}", value, self.dtype)
            if array.shape != shape:
                raise ValueError(f"{name} {part} must have shape {shape}, got {array.shape}")
            arrays.append(array.reshape(core_shape))
        return arrays


def explain(layer: Recurrent, x: ArrayLike, lengths: ArrayLike | None = None) -> str:
    """Tell what a pass of a recurrent layer over x does, and why.

    Parameters
    ----------
    layer : LSTM, GRU or RNN
    x, lengths : array_like
        As the layer takes them; only their shapes matter.

    Returns
    -------
    str
        To print: the instructions and threads there are, and for each layer the arithmetic of a
        pass, the memory of its weights and of a tape, and how threads share it. None of that shows
        in the results.

    Raises
    ------
    TypeError
        If the layer is none of those.
    ValueError
        If x or the lengths do not fit it.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> text = bptt.explain(bptt.LSTM(64, 256), np.zeros((100, 1, 64), np.float32))
    >>> "layer 0" in text
    True
    """
    if not isinstance(layer, Recurrent):
        kind = type(layer).__name__
        raise TypeError(f"explain takes an LSTM, GRU or RNN of bptt, got {kind}")
    array, batch = layer._batch_of(x, lengths)
    return layer._core.explain(batch.to_three(array), layer.batch_first, batch.lengths)
