"""`Sequential`: layers one after the other, trained in Rust with the habits of Keras."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check, _core
from bptt._data import Sequences, one_per_sequence
from bptt._fit import check_stateful, evaluate, train_epoch
from bptt._layer import Layer, TrainableLayer, load_arrays
from bptt._progress import progress_bar
from bptt.history import DivergedError, History
from bptt.layers import LastStep
from bptt.optimizers import SGD, Adam
from bptt.stepper import Stepper

Array = NDArray[Any]
Data = ArrayLike | Sequence[ArrayLike]


class Sequential:
    """Layers one after the other, every step of one the input of the next.

    Parameters
    ----------
    *layers : RNN, LSTM, GRU, Linear, OneHot or LastStep
        OneHot only as the first, for data that are tokens. All of one dtype.

    Attributes
    ----------
    layers : tuple
        The layers. They are shared, not copied: training changes their parameters in place.
    history : History or None
        Of the last `fit`, also when it ended with an error.

    Notes
    -----
    Data sets are batch-first: an array (N, T, F), or a list of N arrays (T_i, F) of any lengths;
    for a model that starts with OneHot, (N, T) or N arrays (T_i,) of whole numbers. Targets have a
    value for every step: real numbers (N, T, O) for the loss "mse", classes (N, T) for
    "cross_entropy". With a LastStep among the layers, they have one for every sequence: (N, O), or
    (N,) classes.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> model = bptt.Sequential(bptt.OneHot(3), bptt.RNN(3, 8, rng=0), bptt.Linear(8, 3, rng=1))
    >>> x = [[0, 1, 2, 0, 1], [1, 2, 0]]  # what comes next in 0 1 2 0 1 2 ...
    >>> y = [[1, 2, 0, 1, 2], [2, 0, 1]]
    >>> history = model.fit(x, y, loss="cross_entropy", optimizer=bptt.Adam(0.02), epochs=200,
    ...                     batch_size=1, rng=0, progress=False)
    >>> [scores.argmax(axis=-1).tolist() for scores in model.predict(x)]
    [[1, 2, 0, 1, 2], [2, 0, 1]]
    """

    def __init__(self, *layers: Layer) -> None:
        for n, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {n} must be a bptt layer, got {type(layer).__name__}")
        self.layers = layers
        self.history: History | None = None
        self._trained = [layer for layer in layers if isinstance(layer, TrainableLayer)]
        dtypes = {layer.dtype for layer in self._trained}
        if len(dtypes) > 1:
            raise ValueError("all layers must have one dtype, got float32 and float64")
        if len({id(layer) for layer in self._trained}) < len(self._trained):
            raise ValueError("a layer can be in a model only once")
        self._dtype = dtypes.pop() if dtypes else np.dtype(np.float32)
        # (in, out) of every layer, in is None for tokens; the core checks that they fit together.
        self._features = _core.features_of([layer._core for layer in layers])
        self._per_sequence = any(isinstance(layer, LastStep) for layer in layers)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters, named ``"<layer>.<parameter>"``."""
        return {name: array.copy() for name, array in self._named().items()}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Copy parameters into the layers, in place; all or, with a ValueError, none."""
        load_arrays(self._named(), state_dict)

    def _named(self) -> dict[str, Array]:
        return {
            f"{n}.{name}": array
            for n, layer in enumerate(self.layers)
            for name, array in layer.parameters.items()
        }

    def fit(
        self,
        x: Data,
        y: Data,
        *,
        loss: str,
        optimizer: SGD | Adam,
        epochs: int = 1,
        batch_size: int = 32,
        validation: tuple[Data, Data] | None = None,
        clip_norm: float | None = None,
        shuffle: bool = True,
        rng: object = None,
        progress: bool = True,
        tbptt: int | None = None,
        stateful: bool = False,
    ) -> History:
        """Train the layers, in place.

        Ctrl-C ends training early: the layers keep what they learnt, and the history so far is
        returned, marked as interrupted.

        Parameters
        ----------
        x, y : array_like or list of array_like
            Sequences of any lengths, and a target for each of their steps; see the notes of the
            class.
        loss : {"cross_entropy", "mse"}
            Softmax cross-entropy of the outputs as logits, the mean over all steps of a batch, in
            nats; or the mean squared error over all numbers of a batch.
        optimizer : SGD or Adam
            The update rule.
        epochs : int, default 1
            Passes over the data.
        batch_size : int, default 32
            Sequences a step takes.
        validation : tuple (x, y), optional
            Evaluated after every epoch.
        clip_norm : float, optional
            Gradients whose norm, over all parameters, is above this are scaled down to it.
        shuffle : bool, default True
            Whether the sequences take a new order every epoch.
        rng : None, int or numpy.random.Generator
            For the shuffling.
        progress : bool, default True
            Whether to show a progress bar (needs tqdm, ``pip install "bptt[progress]"``).
        tbptt : int, optional
            Truncated backpropagation through time: a batch is walked in chunks of so many steps,
            and every chunk is a step of the optimiser on the mean loss of its own steps. It starts
            from the states that the one before ended with; gradients do not go back beyond it.
            Memory is that of a chunk, and Ctrl-C waits for a chunk rather than a batch. The losses
            of a batch's chunks are averaged over their steps. By default, sequences are whole.
        stateful : bool, default False
            Whether row b of a batch starts from the states that row b of the batch before ended
            with, as Keras has it; from zero at the start of every epoch, and in evaluation. For a
            long sequence in pieces: with batch_size B, piece n + B goes on where piece n ends.
            Needs ``shuffle=False``, sequences of one length, and a batch_size that divides their
            number.

        Returns
        -------
        History
            The losses: each epoch's mean over its sequences.

        Raises
        ------
        ValueError, TypeError
            For data or settings that do not fit; for `tbptt` and `stateful` also if a layer is
            bidirectional, since its second direction starts at the end. Nothing is changed then.
        DivergedError
            If a loss or a parameter becomes NaN or infinite. The layers keep the parameters of the
            end of the last good epoch.

        Examples
        --------
        One sequence of 2000 steps, in chunks of 50:

        >>> import numpy as np, bptt
        >>> wave = np.sin(0.3 * np.arange(2001)).reshape(1, -1, 1)
        >>> model = bptt.Sequential(bptt.GRU(1, 8, rng=0), bptt.Linear(8, 1, rng=1))
        >>> history = model.fit(wave[:, :-1], wave[:, 1:], loss="mse", optimizer=bptt.Adam(0.01),
        ...                     epochs=5, tbptt=50, progress=False)
        >>> history.loss[-1] < 0.1 * history.loss[0]
        True
        """
        epochs = _check.size("epochs", epochs, least=0)
        batch_size = _check.size("batch_size", batch_size)
        shuffle = _check.flag("shuffle", shuffle)
        progress = _check.flag("progress", progress)
        tbptt = None if tbptt is None else _check.size("tbptt", tbptt)
        stateful = _check.flag("stateful", stateful)
        generator = _check.generator(rng)
        data, sequences = self._dataset(x, y, loss)
        lengths = np.diff(sequences.offsets)
        if stateful:
            check_stateful(shuffle, batch_size, lengths)
        checked = None
        if validation is not None:
            if not isinstance(validation, (tuple, list)) or len(validation) != 2:
                raise ValueError("validation must be a tuple (x, y)")
            checked = self._dataset(*validation, loss, "validation ")
        trainer = self._trainer(loss, optimizer, clip_norm, tbptt, stateful)
        if not all(layer._flat.flags.writeable for layer in self._trained):
            raise ValueError("a layer's parameters are read-only; copy the model to train it")
        trainer.set_seed(sum(layer._seed() for layer in self.layers) % 2**64)

        history = self.history = History()
        start = time.perf_counter()
        order = np.arange(len(sequences), dtype=np.uint64)
        try:
            with progress_bar(epochs, progress) as bar:
                for epoch in range(epochs):
                    if shuffle:
                        generator.shuffle(order)
                    mean = train_epoch(trainer, data, lengths, order, batch_size, bar)
                    if not (math.isfinite(mean) and self._write(trainer)):
                        raise DivergedError(
                            f"training diverged in epoch {epoch + 1}, mean loss {mean:g}; the "
                            "layers keep the parameters from before that epoch. A smaller learning "
                            "rate or clip_norm may help.",
                            history,
                        )
                    validated = None
                    if checked is not None:
                        validated = evaluate(trainer, checked[0], len(checked[1]))
                    history.loss.append(mean)
                    if validated is not None:
                        history.validation_loss.append(validated)
                    bar.advance(history)
        except KeyboardInterrupt:
            self._write(trainer)
            history.interrupted = True
        finally:
            history.seconds = time.perf_counter() - start
        return history

    def _write(self, trainer: _core.Trainer) -> bool:
        """Copy the trained parameters to the layers, unless some are not finite; tell whether."""
        return trainer.write_params([layer._flat for layer in self._trained])

    def predict(self, x: Data) -> Array | list[Array]:
        """Return the outputs for every step, or with LastStep for every sequence.

        Parameters
        ----------
        x : array_like or list of array_like
            Sequences, as for `fit`.

        Returns
        -------
        ndarray or list of ndarray
            (N, T, O) if x is one array, else a list of N arrays (T_i, O); (N, O) with LastStep.
        """
        sequences = self._inputs("x", x)
        data = _core.Dataset(sequences.flat, None, sequences.offsets)
        flat = self._trainer("mse", SGD(0.0)).predict(data)
        return flat if self._per_sequence else sequences.split(flat)

    def evaluate(self, x: Data, y: Data, *, loss: str) -> float:
        """Return the mean loss of the sequences.

        Parameters
        ----------
        x, y : array_like or list of array_like
            Sequences and targets, as for `fit`, of any lengths.
        loss : {"cross_entropy", "mse"}
            As for `fit`.

        Returns
        -------
        float
            The mean over the sequences of each one's mean loss.
        """
        data, sequences = self._dataset(x, y, loss)
        return evaluate(self._trainer(loss, SGD(0.0)), data, len(sequences))

    def stepper(self, batch: int = 1) -> Stepper:
        """Return a `Stepper`, which is given one step of `batch` rows at a time.

        LastStep does nothing there: of the steps so far, the last is the one at hand.

        Examples
        --------
        >>> import bptt
        >>> model = bptt.Sequential(bptt.OneHot(3), bptt.GRU(3, 8, rng=0), bptt.Linear(8, 3, rng=1))
        >>> model.stepper().step(2).shape
        (1, 3)
        """
        flat = [layer._flat for layer in self._trained]
        return Stepper(self.layers, flat, self._dtype, batch)

    def _trainer(
        self,
        loss: str,
        optimizer: SGD | Adam,
        clip_norm: float | None = None,
        tbptt: int | None = None,
        stateful: bool = False,
    ) -> _core.Trainer:
        if not isinstance(optimizer, (SGD, Adam)):
            raise TypeError(f"optimizer must be bptt.SGD or bptt.Adam, got {optimizer!r}")
        return _core.Trainer(
            [layer._core for layer in self.layers],
            [layer._flat for layer in self._trained],
            self._dtype == np.float64,
            {
                "loss": _check_loss(loss),
                "optimizer": optimizer._core(),
                "clip_norm": None if clip_norm is None else _check.real("clip_norm", clip_norm),
                "tbptt": tbptt,
                "stateful": stateful,
            },
        )

    def _inputs(self, name: str, x: Data) -> Sequences:
        classes, features = self.layers[0]._core.tokens, self._features[0][0]
        if classes is not None:
            return Sequences(name, x, None, lambda part, v: _check.classes(part, v, classes))
        return Sequences(name, x, features, lambda part, v: _check.floats(part, v, self._dtype))

    def _dataset(
        self, x: Data, y: Data, loss: str, prefix: str = ""
    ) -> tuple[_core.Dataset, Sequences]:
        loss = _check_loss(loss)
        outputs = self._features[-1][1]
        inputs = self._inputs(f"{prefix}x", x)
        name, features = f"{prefix}y", None if loss == "cross_entropy" else outputs

        def convert(part: str, value: Any) -> Array:
            if features is None:
                return _check.classes(part, value, outputs)
            return _check.floats(part, value, self._dtype)

        if self._per_sequence:
            array = one_per_sequence(name, y, features, len(inputs), convert)
            return _core.Dataset(inputs.flat, array, inputs.offsets, True), inputs
        targets = Sequences(name, y, features, convert)
        if len(inputs) != len(targets):
            raise ValueError(
                f"{prefix}x has {len(inputs)} sequences and {prefix}y has {len(targets)}"
            )
        for n, (given, wanted) in enumerate(zip(targets.lengths, inputs.lengths)):
            if given != wanted:
                raise ValueError(
                    f"{prefix}y[{n}] has {given} steps, {prefix}x[{n}] has {wanted}: there must be "
                    "a target for every step, or put LastStep into the model"
                )
        return _core.Dataset(inputs.flat, targets.flat, inputs.offsets), inputs


def _check_loss(loss: object) -> str:
    if loss not in ("cross_entropy", "mse"):
        raise ValueError(f'loss must be "cross_entropy" or "mse", got {loss!r}')
    return str(loss)
