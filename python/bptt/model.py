"""`Sequential`: layers one after the other, trained in Rust with the habits of Keras."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check, _core, _fit
from bptt._data import Sequences, one_per_sequence, sample_weights
from bptt._layer import Layer, TrainableLayer, load_arrays
from bptt._sources import Source, source_of
from bptt.callbacks import Callback, Calls, EarlyStopping
from bptt.history import History
from bptt.layers import LastStep
from bptt.losses import CrossEntropyLoss, Loss, loss_of
from bptt.optimizers import SGD, Optimizer
from bptt.schedules import Schedule, schedule_of
from bptt.stepper import Stepper

Array = NDArray[Any]
Data = ArrayLike | Sequence[ArrayLike]
Batches = Iterable[tuple[Any, ...]]


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
    stop_training : bool
        Set to True by a callback, ends `fit` after the epoch.

    Notes
    -----
    Data sets are batch-first: an array (N, T, F), or a list of N arrays (T_i, F) of any lengths;
    for a model that starts with OneHot, (N, T) or N arrays (T_i,) of whole numbers. Targets have a
    value for every step: classes (N, T) for the loss "cross_entropy", real numbers (N, T, O) for
    the others. With a LastStep among the layers, they have one for every sequence: (N, O), or
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
        self.stop_training = False
        self._training: _fit.Training | None = None
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
        x: Data | Batches,
        y: Data | None = None,
        *,
        loss: str | Loss,
        optimizer: Optimizer | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation: tuple[Data, Data] | Batches | None = None,
        clip_norm: float | None = None,
        shuffle: bool = True,
        rng: object = None,
        progress: bool = True,
        tbptt: int | None = None,
        stateful: bool = False,
        sample_weight: ArrayLike | None = None,
        schedule: Schedule | None = None,
        metrics: Sequence[str] = (),
        early_stopping: EarlyStopping | None = None,
        callbacks: Sequence[Callback | Any] = (),
        accumulate: int = 1,
    ) -> History:
        """Train the layers, in place.

        Ctrl-C ends training early: the layers keep what they learnt, and the history so far is
        returned, marked as interrupted.

        Fitting again goes on from the layers' parameters. What the optimiser remembers (momentum,
        running means) lives on with the optimiser object, as in Keras: given the same object, or
        none, the next `fit` of this model goes on with it, and given another it begins anew. So
        does a schedule. The model keeps them of its last `fit`.

        Parameters
        ----------
        x, y : array_like or list of array_like
            Sequences of any lengths, and a target for each of their steps, or with LastStep for
            each sequence; see the notes of the class. Without y, x is an iterable of batches
            ``(x, y)`` or ``(x, y, sample_weight)``, gone through once an epoch: a list, a data
            loader. Batches are trained on as they come, whatever `batch_size` and `shuffle` say.
            Arrays in files (numpy.memmap) may be larger than memory: of a batch, only its own
            sequences are read.
        loss : str or loss
            "cross_entropy", "bce_with_logits", "mse", "mae", "huber", or an object with options,
            such as ``bptt.CrossEntropyLoss(label_smoothing=0.1)``. The mean over all steps, or
            numbers, of a batch.
        optimizer : Optimizer, optional
            The update rule, such as ``bptt.Adam()``; by default that of the last `fit`.
        epochs : int, default 1
            Passes over the data.
        batch_size : int, default 32
            Sequences of a batch.
        validation : tuple (x, y) or iterable of batches, optional
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
        sample_weight : array_like (N,), optional
            What the losses of each sequence are multiplied with in training, at least 0. As in
            Keras, the mean is still divided by how many steps there are. Weights for classes belong
            to the loss.
        schedule : Schedule, optional
            Changes the learning rate, such as ``bptt.StepLR(10)``.
        metrics : list of str, default none
            For the history, as means over all steps of an epoch (training data: while training):
            "accuracy" (for "cross_entropy"; for "bce_with_logits", the share of numbers on the
            right side), "perplexity" (for "cross_entropy"), "rmse" (for the others).
        early_stopping : EarlyStopping, optional
            Stops training when it no longer improves, and restores the best parameters.
        callbacks : list, default none
            Objects that are called between epochs; see `Callback`.
        accumulate : int, default 1
            Batches whose gradients make one step of the optimiser, the same, up to rounding, as if
            they were one batch. Not with `tbptt`.

        Returns
        -------
        History
            The losses, each epoch's mean over its sequences, and the metrics.

        Raises
        ------
        ValueError, TypeError
            For data or settings that do not fit; for `tbptt` and `stateful` also if a layer is
            bidirectional, since its second direction starts at the end. Nothing is changed then,
            but for batches of an iterable: earlier epochs stay.
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

        Which of three kinds a sequence is, with what else can be set:

        >>> rng = np.random.default_rng(0)
        >>> kinds = rng.integers(0, 3, 60)
        >>> x = rng.standard_normal((60, 10, 1)) + kinds[:, None, None]
        >>> model = bptt.Sequential(bptt.GRU(1, 16, rng=rng), bptt.LastStep(),
        ...                         bptt.Linear(16, 3, rng=rng))
        >>> history = model.fit(x, kinds, loss=bptt.CrossEntropyLoss(label_smoothing=0.05),
        ...                     optimizer=bptt.AdamW(0.01), schedule=bptt.CosineAnnealingLR(40),
        ...                     metrics=["accuracy"], epochs=40, rng=rng, progress=False)
        >>> history.accuracy[-1] > 0.9
        True
        """
        batch_size = _check.size("batch_size", batch_size)
        epochs = _check.size("epochs", epochs, least=0)
        shuffle = _check.flag("shuffle", shuffle)
        tbptt = None if tbptt is None else _check.size("tbptt", tbptt)
        stateful = _check.flag("stateful", stateful)
        loss = loss_of(loss)
        settings = _fit.Settings(
            epochs,
            batch_size,
            shuffle,
            tbptt,
            _check.size("accumulate", accumulate),
            _fit.check_metrics(metrics, loss.name),
            _check.flag("progress", progress),
        )
        generator = _check.generator(rng)
        schedule = schedule_of(schedule)
        calls = Calls(self, callbacks, early_stopping)
        training = _fit.training_of(self._training, optimizer, schedule)
        source = self._source(loss, "", (x, y, sample_weight), epochs)
        if stateful:
            _fit.check_stateful(shuffle, batch_size, source.lengths)
        checked = None
        if validation is not None:
            checked = self._validation(loss, validation, epochs)
        watchers = [schedule, *calls.callbacks]
        _fit.check_monitors(watchers, settings.metrics, checked is not None)
        trainer = self._trainer(
            loss,
            training.optimizer,
            clip_norm=None if clip_norm is None else _check.real("clip_norm", clip_norm),
            tbptt=tbptt,
            stateful=stateful,
            accumulate=settings.accumulate,
            metrics=[_fit.METRICS[name][0] for name in settings.metrics],
        )
        if not all(layer._flat.flags.writeable for layer in self._trained):
            raise ValueError("a layer's parameters are read-only; copy the model to train it")
        trainer.set_seed(sum(layer._seed() for layer in self.layers) % 2**64)
        return _fit.run(self, trainer, training, source, checked, calls, generator, settings)

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
        flat = self._trainer(loss_of("mse"), SGD(0.0)).predict(data)
        return flat if self._per_sequence else sequences.split(flat)

    @overload
    def evaluate(self, x: Data | Batches, y: Data | None = None, *, loss: str | Loss) -> float: ...

    @overload
    def evaluate(
        self,
        x: Data | Batches,
        y: Data | None = None,
        *,
        loss: str | Loss,
        metrics: Sequence[str],
    ) -> dict[str, float]: ...

    def evaluate(
        self,
        x: Data | Batches,
        y: Data | None = None,
        *,
        loss: str | Loss,
        metrics: Sequence[str] | None = None,
    ) -> float | dict[str, float]:
        """Return the mean loss of the sequences.

        Parameters
        ----------
        x, y : array_like or list of array_like
            Sequences and targets, as for `fit`, of any lengths.
        loss, metrics
            As for `fit`.

        Returns
        -------
        float or dict of str to float
            The mean over the sequences of each one's mean loss; with `metrics`, that as "loss"
            beside them.
        """
        loss = loss_of(loss)
        names = _fit.check_metrics(() if metrics is None else metrics, loss.name)
        source = self._validation(loss, (x, y), 1, "")
        means = [_fit.METRICS[name][0] for name in names]
        trainer = self._trainer(loss, SGD(0.0), metrics=means)
        value = _fit.evaluate(trainer, source)
        if metrics is None:
            return value
        return {"loss": value} | _fit.metrics_of(names, trainer.take_metrics(True))

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

    def _trainer(self, loss: Loss, optimizer: Optimizer, **options: Any) -> _core.Trainer:
        defaults: dict[str, Any] = {
            "clip_norm": None,
            "tbptt": None,
            "stateful": False,
            "accumulate": 1,
            "metrics": [],
        }
        return _core.Trainer(
            [layer._core for layer in self.layers],
            [layer._flat for layer in self._trained],
            self._dtype == np.float64,
            {"loss": loss._core(), "optimizer": optimizer._core()} | defaults | options,
        )

    def _source(
        self,
        loss: Loss,
        prefix: str,
        data: tuple[Any, Any, Any],
        epochs: int,
        evaluated: bool = False,
    ) -> Source:
        """Return where x, y and sample weights come from; without a y, x is an iterable of them."""
        tokens = self.layers[0]._core.tokens is not None
        dtypes = [np.uint32 if whole else self._dtype for whole in (tokens, loss._classes)]

        def convert(prefix: str, x: Any, y: Any, weights: Any) -> tuple[_core.Dataset, Any]:
            return self._dataset(loss, prefix, x, y, weights, evaluated)

        return source_of(convert, dtypes, prefix, *data, epochs)

    def _validation(
        self, loss: Loss, given: Any, epochs: int, prefix: str = "validation "
    ) -> Source:
        if isinstance(given, np.ndarray) or not isinstance(given, Iterable):
            raise ValueError("validation must be a tuple (x, y) or an iterable of batches")
        if not isinstance(given, (tuple, list)):
            given = (given, None)
        if len(given) != 2:
            raise ValueError("validation must be a tuple (x, y) or an iterable of batches")
        return self._source(loss, prefix, (*given, None), epochs, evaluated=True)

    def _inputs(self, name: str, x: Data) -> Sequences:
        classes, features = self.layers[0]._core.tokens, self._features[0][0]
        if classes is not None:
            return Sequences(name, x, None, lambda part, v: _check.classes(part, v, classes))
        return Sequences(name, x, features, lambda part, v: _check.floats(part, v, self._dtype))

    def _dataset(
        self, loss: Loss, prefix: str, x: Any, y: Any, weights: Any, evaluated: bool
    ) -> tuple[_core.Dataset, Any]:
        """Return a core data set and the lengths of its sequences."""
        outputs = self._features[-1][1]
        inputs = self._inputs(f"{prefix}x", x)
        name, features = f"{prefix}y", None if loss._classes else outputs

        def convert(part: str, value: Any) -> Array:
            if isinstance(loss, CrossEntropyLoss):
                return loss._targets(part, value, outputs)
            return _check.floats(part, value, self._dtype)

        if self._per_sequence:
            flat = one_per_sequence(name, y, features, len(inputs), convert)
        else:
            targets = Sequences(name, y, features, convert)
            if len(inputs) != len(targets):
                raise ValueError(
                    f"{prefix}x has {len(inputs)} sequences and {prefix}y has {len(targets)}"
                )
            for n, (given, wanted) in enumerate(zip(targets.lengths, inputs.lengths)):
                if given != wanted:
                    raise ValueError(
                        f"{prefix}y[{n}] has {given} steps, {prefix}x[{n}] has {wanted}: there "
                        "must be a target for every step, or put LastStep into the model"
                    )
            flat = targets.flat
        if evaluated and isinstance(loss, CrossEntropyLoss):
            starts = range(len(inputs)) if self._per_sequence else inputs.offsets[:-1]
            counted = np.logical_or.reduceat(loss._counted(flat), starts)
            if not counted.all():
                where = f"{name}[{int(np.argmin(counted))}]"
                raise ValueError(f"{where} has no target that counts: there is nothing to evaluate")
        if weights is not None:
            weights = sample_weights(f"{prefix}sample_weight", weights, len(inputs))
        core = _core.Dataset(inputs.flat, flat, inputs.offsets, self._per_sequence, weights)
        return core, np.diff(inputs.offsets)
