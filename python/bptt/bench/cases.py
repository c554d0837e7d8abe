"""The cases of the comparison: the rows of the tables, their operations and their data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bptt.bench.rules import Array, Case, Contender, Results
from bptt.lab import airline_passengers

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

#: T, B, I, H of an LSTM without options, from the sizes of the lab to one that fills the machine.
SIZES = (
    (16, 1, 4, 50),
    (4, 8, 1, 50),
    (100, 1, 64, 64),
    (100, 1, 256, 256),
    (100, 1, 512, 512),
    (100, 32, 32, 64),
    (100, 32, 64, 128),
    (100, 64, 128, 256),
    (100, 256, 128, 256),
    (50, 64, 256, 512),
    (50, 64, 512, 1024),
)

#: T, B, I, H of layers with options and of the other layers.
MIDDLE_SIZES = ((100, 32, 64, 128), (100, 64, 128, 256))
#: Products in bf16, for torch under autocast. bptt in float32 is a contender, too.
BF16 = "bf16"
OPTIONS = ("packed", "float64", "projection 64", "bidirectional", "two layers", BF16)

#: The largest error of results, relative to the largest number of the array. bf16 has 8 bits.
TOLERANCES = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 5e-2}


class Competitor(Protocol):
    """A library: for each kind of case it returns contenders, or raises an UnsupportedError."""

    name: str
    version: str

    def layer(self, case: LayerCase, data: LayerData) -> list[Contender]:
        """Compute whole passes through a layer."""

    def step(self, case: StepCase, data: LayerData) -> list[Contender]:
        """Take one step at a time."""

    def fit(self, case: FitCase, data: FitData) -> list[Contender]:
        """Train a model."""


@dataclass(frozen=True)
class LayerData:
    """The input, the gradient of the output, the lengths, and weights by torch's names."""

    x: Array
    dy: Array
    lengths: NDArray[np.int64] | None
    weights: Results

    @property
    def mask(self) -> Array:
        """(T, B, 1): ones at steps of sequences, zeros at padding."""
        assert self.lengths is not None
        steps = np.arange(len(self.x))[:, None, None]
        return (steps < self.lengths[None, :, None]).astype(self.x.dtype)


@dataclass(frozen=True)
class LayerCase:
    """A recurrent layer over a batch of sequences: a forward pass, or forward and backward.

    Examples
    --------
    >>> from bptt.bench.cases import LayerCase
    >>> case = LayerCase("LSTM", (100, 32, 64, 128), train=True)
    >>> case.flops == 3 * 2 * 100 * 32 * (64 + 128) * 4 * 128
    True
    >>> sorted(case.required)[:3]
    ['bias_hh_l0', 'bias_ih_l0', 'c']
    """

    cell: str
    sizes: tuple[int, int, int, int]  # T, B, I, H
    train: bool
    option: str = ""

    @property
    def group(self) -> str:
        """The table of this row."""
        plain = self.cell == "LSTM" and not self.option
        return "LSTM, float32" if plain else "Other layers and options"

    @property
    def label(self) -> str:
        """The name of the row, the same in both modes."""
        sizes = ", ".join(map(str, self.sizes))
        name = f"{self.cell} {self.option}".strip()
        return sizes if name == "LSTM" else f"{name}, {sizes}"

    @property
    def mode(self) -> str:
        """``"infer"`` or ``"train"``."""
        return "train" if self.train else "infer"

    @property
    def double(self) -> bool:
        """Whether the numbers are float64."""
        return self.option == "float64"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of all numbers."""
        return np.dtype("float64" if self.double else "float32")

    @property
    def tolerance(self) -> float:
        """The largest relative difference between results."""
        return TOLERANCES["bfloat16" if self.option == BF16 else self.dtype.name]

    @property
    def layers(self) -> int:
        """The number of layers."""
        return 2 if self.option == "two layers" else 1

    @property
    def directions(self) -> int:
        """The number of directions of a layer."""
        return 2 if self.option == "bidirectional" else 1

    @property
    def projected(self) -> int:
        """The size of the projection of h; 0 for none."""
        return min(64, self.sizes[3] // 2) if self.option == "projection 64" else 0

    @property
    def outputs(self) -> int:
        """The size of h in one direction."""
        return self.projected or self.sizes[3]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of torch.nn's layers and bptt's, without the dtype."""
        arguments: dict[str, Any] = {"num_layers": self.layers}
        arguments["bidirectional"] = self.directions == 2
        if self.projected:
            arguments["proj_size"] = self.projected
        return arguments

    @property
    def places(self) -> list[tuple[str, int]]:
        """For each layer and direction the suffix of its parameters and the size of its input."""
        return [
            (f"l{layer}{suffix}", self.directions * self.outputs if layer else self.sizes[2])
            for layer in range(self.layers)
            for suffix in ("", "_reverse")[: self.directions]
        ]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters by torch's names."""
        hidden, rows = self.sizes[3], GATES[self.cell] * self.sizes[3]
        shapes: dict[str, tuple[int, ...]] = {}
        for place, inputs in self.places:
            shapes[f"weight_ih_{place}"] = (rows, inputs)
            shapes[f"weight_hh_{place}"] = (rows, self.outputs)
            shapes[f"bias_ih_{place}"] = shapes[f"bias_hh_{place}"] = (rows,)
            if self.projected:
                shapes[f"weight_hr_{place}"] = (self.projected, hidden)
        return shapes

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """The length of each sequence; None if all have T steps."""
        steps, rows = self.sizes[:2]
        if self.option != "packed":
            return None
        return np.random.default_rng(1).integers(steps // 4, steps + 1, rows)

    @property
    def flops(self) -> int:
        """Operations: all products forward, twice as many backward; cells are not counted."""
        lengths = self.lengths
        steps = self.sizes[0] * self.sizes[1] if lengths is None else int(lengths.sum())
        weights = sum(
            rows * columns
            for name, (rows, *rest) in self.shapes.items()
            if name.startswith("weight") and (columns := rest[0])
        )
        return 2 * steps * weights * (3 if self.train else 1)

    @property
    def required(self) -> set[str]:
        """The names of the results that every contender must compute."""
        names = {"y", "h"}
        if self.cell == "LSTM" and self.lengths is None:
            names.add("c")  # torch's fast path for padded sequences has no final c
        return names | ({"dx", *self.shapes} if self.train else set())

    def data(self) -> LayerData:
        """Draw input, gradients and weights, the same in every call."""
        rng = np.random.default_rng(0)
        steps, rows, inputs, hidden = self.sizes

        def normal(features: int) -> Array:
            return rng.standard_normal((steps, rows, features)).astype(self.dtype)

        weights = {
            name: rng.uniform(-(hidden**-0.5), hidden**-0.5, shape).astype(self.dtype)
            for name, shape in self.shapes.items()
        }
        x, dy = normal(inputs), normal(self.directions * self.outputs)
        return LayerData(x, dy, self.lengths, weights)

    def ask(self, library: Competitor, data: LayerData) -> list[Contender]:
        """Return the contenders of a library."""
        return library.layer(self, data)


@dataclass(frozen=True)
class StepCase:
    """An LSTM that takes one step at a time, as for live signals and generated text.

    A run takes all steps of x, so that the cost of calling it is small beside the steps.
    """

    group: ClassVar[str] = "The lab's steps"
    mode: ClassVar[str] = "infer"
    double: ClassVar[bool] = False
    tolerance: ClassVar[float] = TOLERANCES["float32"]
    flops: ClassVar[None] = None
    required: ClassVar[set[str]] = {"y", "h", "c"}
    steps: int = 64
    inputs: int = 4
    hidden: int = 50

    @property
    def label(self) -> str:
        """The name of the row."""
        return f"LSTM, one step, B = 1, I = {self.inputs}, H = {self.hidden}"

    @property
    def layer(self) -> LayerCase:
        """The same LSTM over all steps at once."""
        return LayerCase("LSTM", (self.steps, 1, self.inputs, self.hidden), train=False)

    def data(self) -> LayerData:
        """Draw input and weights, the same in every call."""
        return self.layer.data()

    def ask(self, library: Competitor, data: LayerData) -> list[Contender]:
        """Return the contenders of a library."""
        return library.step(self, data)


@dataclass(frozen=True)
class FitData:
    """Sequences (N, T, 1), their targets, and initial weights by name."""

    x: Array
    y: Array
    weights: Results

    def batches(self, size: int) -> list[tuple[Array, Array]]:
        """Cut the sequences into batches, in their order."""
        starts = range(0, len(self.x), size)
        return [(self.x[n : n + size], self.y[n : n + size]) for n in starts]


@dataclass(frozen=True)
class FitCase:
    """A training step of part 4 of the lab: forward, loss, backward and Adam.

    LSTM(1, 50) and Linear(50, 1) on windows of four months, in batches of 8, with the mean squared
    error. A run takes one epoch or several, in the order of the data; its time is divided by its
    steps. Unlike in the lab, numbers are at most 1: the gradients of a saturated LSTM are rounding
    errors, Adam scales them up, and then results could not be compared.
    """

    group: ClassVar[str] = StepCase.group
    label: ClassVar[str] = "part 4, a whole training step, 8 x 4 steps, H = 50"
    mode: ClassVar[str] = "train"
    double: ClassVar[bool] = False
    tolerance: ClassVar[float] = TOLERANCES["float32"]
    flops: ClassVar[None] = None
    hidden: int = 50
    batch_size: int = 8
    learning_rate: float = 1e-3

    @property
    def layer(self) -> LayerCase:
        """The LSTM of the model."""
        return LayerCase("LSTM", (4, self.batch_size, 1, self.hidden), train=True)

    @property
    def required(self) -> set[str]:
        """The results that every contender must compute: all parameters after the first epoch."""
        return {*self.layer.shapes, "weight", "bias"}

    def data(self) -> FitData:
        """Load the passengers and draw weights, the same in every call."""
        passengers = airline_passengers()
        scale = passengers.series.max()
        weights = self.layer.data().weights
        bound = self.hidden**-0.5
        rng = np.random.default_rng(2)
        weights["weight"] = rng.uniform(-bound, bound, (1, self.hidden)).astype(np.float32)
        weights["bias"] = rng.uniform(-bound, bound, 1).astype(np.float32)
        return FitData(passengers.train_x / scale, passengers.train_y / scale, weights)

    def ask(self, library: Competitor, data: FitData) -> list[Contender]:
        """Return the contenders of a library."""
        return library.fit(self, data)


def grid() -> list[Case]:
    """Return all rows of the comparison.

    Examples
    --------
    >>> from bptt.bench.cases import grid
    >>> cases = grid()
    >>> cases[0].group, cases[0].label, cases[0].mode
    ('LSTM, float32', '16, 1, 4, 50', 'infer')
    """
    modes = (False, True)
    layers: list[Case] = [LayerCase("LSTM", sizes, train) for sizes in SIZES for train in modes]
    for cell, option in [("LSTM", option) for option in OPTIONS] + [("GRU", ""), ("RNN", "")]:
        for sizes in MIDDLE_SIZES:
            layers += [LayerCase(cell, sizes, train, option) for train in modes]
    layers += [LayerCase("RNN", (100, 1, 64, 64), train) for train in modes]
    return [*layers, StepCase(), FitCase()]
