"""What LSTM, GRU and RNN share: forward and backward passes, states, the tape, and `explain`."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Layer as CoreLayer
from bptt._core import Model
from bptt._core import Tape as CoreTape
from bptt._support import check
from bptt._support.text import Text, table_html
from bptt.layers._arrays import Array
from bptt.layers._base import TrainableLayer, uniform
from bptt.layers._batch import Batch, State
from bptt.layers.stepper import Stepper


class Tape:
    """What `forward` keeps for `backward`. A tape serves one backward pass.

    It refers to the input and output arrays, so do not change them before `backward`.
    """

    def __init__(self, core: CoreTape, layer: Recurrent, x: Array, y: Array, batch: Batch) -> None:
        self._core, self._layer, self._used = core, layer, False
        self._x, self._y = x.view(), y.view()  # own views: the user may reshape the originals
        self._batch = batch

    def __reduce__(self) -> str:
        raise TypeError(
            "a tape cannot be copied or pickled, because it belongs to its layer: run forward of "
            "the other layer"
        )


class Recurrent(TrainableLayer):
    """A recurrent layer: all of LSTM, GRU and RNN but the parameters of their constructors."""

    _states: int
    _cell: str
    _values: tuple[str, ...]  # what the cell writes to the tape, in its order
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
        """Run the layer for inference: without dropout, and without a tape for `backward`.

        Parameters
        ----------
        x : array_like
            (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) without a batch.
        state : array_like or tuple of array_like, optional
            The initial state: h or ``(h,)``, for an LSTM ``(h, c)``. Each is (L D, B, H), or
            (L D, H) without a batch, for L layers and D directions; with a projection h has P
            instead of H features. Zeros by default.
        lengths : array_like of int, optional
            (B,): the number of steps of each sequence, from 0 to T. Steps beyond it are padding:
            they are not computed and zero in the output. T by default.
        return_cells : bool, default False
            Whether to return c_t of every step, too (LSTM).
        return_gates : bool, default False
            Whether to return the gates of every step (LSTM and GRU). `bptt.plot.gates` draws them.

        Returns
        -------
        y : ndarray
            h_t of the last layer for every step: the shape of x with D H instead of I.
        state : tuple of ndarray
            The final state, in the shapes of the initial one: the state after the last step of
            each sequence.
        values : dict of str to ndarray
            Only with return_cells or return_gates: ``c_l0``, and ``i_l0``, ``f_l0``, ``g_l0``,
            ``o_l0`` of an LSTM or ``r_l0``, ``z_l0``, ``n_l0`` of a GRU, each the shape of x with H
            instead of I. The second direction has names as ``i_l0_reverse``, the layers above as
            ``i_l1``.
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
        """Run the layer for training: with dropout, and with a tape for `backward`.

        The parameters x, state and lengths and the first two results are those of calling the
        layer. The third result is the tape.

        Parameters
        ----------
        checkpoint : "sqrt", optional
            Saves memory for long sequences: the tape keeps only the state before every chunk of
            about sqrt(T) steps, and `backward` computes the chunks again. The tape grows with
            sqrt(T) instead of T, and training takes about a third more time. Checkpoints do not
            change results.
        """
        if checkpoint is not None and not (isinstance(checkpoint, str) and checkpoint == "sqrt"):
            raise ValueError(f'checkpoint must be "sqrt" or None, got {check.shown(checkpoint)}')
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
        # `version` counts references to the parameters, so it comes before the next one.
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
        """Draw the seed for the dropout of a pass."""
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
            From `forward` of this layer; it serves one backward pass. The parameters must not have
            changed since.
        dy : array_like or None
            Gradient of the loss with respect to y, in the shape of y; None for zeros. Values at
            padding are ignored.
        dstate : array_like or tuple of array_like, optional
            Gradient with respect to the final state, in its shapes; for an RNN or GRU also the
            gradient of h alone. Zeros by default.

        Returns
        -------
        dx : ndarray
            Gradient with respect to x, in the shape of x.
        dstate : tuple of ndarray
            Gradient with respect to the initial state.
        grads : dict of str to ndarray
            Gradients with respect to the parameters, by name.
        """
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must come from forward, got {type(tape).__name__}")
        if tape._layer is not self:
            raise ValueError("the tape must come from forward of this layer, it is another layer's")
        if tape._used:
            raise ValueError("the tape serves one backward pass and is used up: run forward again")
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
        assert dx is not None and flat is not None  # both were requested
        tape._used = True
        return batch.from_three(dx), batch.states_from_core(initial), self._views(flat)

    def _names_of(self, return_cells: bool, return_gates: bool) -> list[str]:
        """Return the names of the requested gates and cells."""
        gates = [name for name in self._values if name not in ("c", "h")]
        names = gates if check.flag("return_gates", return_gates) else []
        if check.flag("return_cells", return_cells):
            names = [*names, "c"]
        kind = type(self).__name__
        if return_cells and "c" not in self._values:
            raise ValueError(f"return_cells needs an LSTM: {kind} has no cell state")
        if return_gates and not gates:
            raise ValueError(f"return_gates needs an LSTM or a GRU: {kind} has no gates")
        return names

    def _inside(self, tape: Tape, names: list[str]) -> dict[str, Array]:
        """Return gates and cells from the tape, by name."""
        values = {}
        for direction in range(self.num_layers * (2 if self.bidirectional else 1)):
            layer, reverse = divmod(direction, 2) if self.bidirectional else (direction, 0)
            suffix = f"_l{layer}" + ("_reverse" if reverse else "")
            for name in names:
                flat = tape._core.values(direction, self._values.index(name))
                values[name + suffix] = tape._batch.from_steps(flat, self.hidden_size)
        return values

    def stepper(self, batch: int = 1) -> Stepper:
        """Return a `Stepper`, which takes one step of `batch` rows at a time."""
        model = Model([self._core], self.dtype == np.float64)
        return Stepper([self], model, self.dtype, batch)

    def _state_shapes(self, rows: int) -> list[tuple[int, ...]]:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        return [(layers, rows, size) for size in sizes[: self._states]]

    def _state_parts(
        self, name: str, state: ArrayLike | Sequence[ArrayLike], ndim: int = 3
    ) -> Sequence[ArrayLike]:
        """Return a state as ``(h, c)`` or ``(h,)``; an RNN or GRU also takes h alone."""
        if self._is_h(state, ndim):
            return (state,)  # type: ignore[return-value]
        if isinstance(state, (tuple, list)) and len(state) == self._states:
            return state
        want = "a tuple (h, c)" if self._states == 2 else "h or a tuple (h,)"
        got = f"{len(state)} items" if isinstance(state, (tuple, list)) else type(state).__name__
        raise ValueError(f"{name} must be {want}, got {got}")

    def _is_h(self, state: object, ndim: int = 3) -> bool:
        """Tell whether this is h alone, as an RNN or GRU takes it: an array, or nested lists."""
        lists = isinstance(state, (tuple, list))
        return self._states == 1 and (_depth(state) == ndim if lists else not _is_scalar(state))

    def _is_state(self, state: object) -> bool:
        """Tell whether this is a state of the layer, instead of a sequence of one state."""
        if isinstance(state, (tuple, list)):
            return len(state) == self._states == 2 or self._is_h(state)
        return not _is_scalar(state)

    def _states_to_core(
        self, name: str, state: ArrayLike | Sequence[ArrayLike] | None, batch: Batch
    ) -> list[Array]:
        """Return a state as arrays (L D, B, H); an empty list stands for zeros."""
        if state is None:
            return []
        names = ("h", "c")[: self._states]
        state = self._state_parts(name, state, 3 if batch.batched else 2)
        arrays = []
        for part, value, core_shape in zip(names, state, self._state_shapes(batch.rows)):
            shape = core_shape if batch.batched else (core_shape[0], core_shape[2])
            array = check.floats(f"{name} {part}", value, self.dtype)
            if array.shape != shape:
                raise ValueError(f"{name} {part} must have shape {shape}, got {array.shape}")
            arrays.append(array.reshape(core_shape))
        return arrays


def _is_scalar(value: object) -> bool:
    return isinstance(value, (Number, str, bytes))


def _depth(value: Any) -> int:
    """Return the number of dimensions of lists of lists or arrays, as their first items show."""
    depth = 0
    while isinstance(value, (tuple, list)) and value:
        value, depth = value[0], depth + 1
    return depth + getattr(value, "ndim", 0)


def explain(layer: Recurrent, x: ArrayLike, lengths: ArrayLike | None = None) -> str:
    """Describe how a recurrent layer processes x, and why.

    Parameters
    ----------
    layer : LSTM, GRU or RNN
        The layer.
    x, lengths : array_like
        As the layer takes them; only their shapes matter.

    Returns
    -------
    str
        A text to print, which a notebook shows as a table: the instruction set and the threads,
        and for each layer the arithmetic of a pass, the memory of its weights and of a tape, and
        how threads share the work. None of these choices changes results.

    Raises
    ------
    TypeError
        If `layer` is not an LSTM, GRU or RNN.
    ValueError
        If x or the lengths do not fit the layer.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> text = bptt.explain(bptt.LSTM(64, 256), np.zeros((100, 1, 64), np.float32))
    >>> "layer 0" in text
    True
    """
    if not isinstance(layer, Recurrent):
        kind = type(layer).__name__
        raise TypeError(f"layer must be an LSTM, GRU or RNN of bptt, got {kind}")
    array, batch = layer._batch_of(x, lengths)
    text = layer._core.explain(batch.to_three(array), layer.batch_first, batch.lengths)
    about, *lines = text.split("\n")
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith(" "):  # more about the layer above
            rows[-1][2] += "\n" * bool(rows[-1][2]) + line.strip()
        else:
            rows.append([*line.split(": ", 1), ""])
    head = ("layer", "work and memory", "how threads share it")
    return Text(text, table_html(head, rows, about, ("left", "left", "left")))
