"""`Sequential`, which trains layers in Rust with the habits of Keras, and `load`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._data.findings import DataWarning, surely_wrong
from bptt._data.finite import FIX, not_finite
from bptt._data.sequences import Use
from bptt._data.sources import (
    Batches,
    Data,
    Whole,
    prediction_source,
    training_source,
    validation_source,
)
from bptt._support import check, names
from bptt._support.entry import entry
from bptt._support.progress import sequence_progress
from bptt._support.warn import warn
from bptt._training.checkpoint import Checkpoint
from bptt._training.evaluate import evaluate, predict
from bptt._training.metrics import check_metrics, metrics_of
from bptt._training.range_test import RangeTest, range_test
from bptt._training.run import Run
from bptt._training.settings import Settings, check_monitors, check_stateful
from bptt._training.state import Order, Training, training_of
from bptt._training.trainer import trainer_of
from bptt.callbacks import Callback, Calls, EarlyStopping
from bptt.history import History
from bptt.layers import _files, _summary
from bptt.layers._base import Layer
from bptt.layers._stack import Stack
from bptt.layers._states import GivenStates, States, states_of, zero_states
from bptt.losses import Loss, loss_of
from bptt.model._generate import generate
from bptt.optimizers import Optimizer
from bptt.schedules import Schedule, schedule_of

Array = NDArray[Any]


class Sequential(Stack):
    """Layers one after the other; the output of each is the input of the next.

    Parameters
    ----------
    *layers : RNN, LSTM, GRU, Linear, OneHot, Embedding, LayerNorm, Dropout or LastStep
        The layers, all of the same dtype, or one list of them. For data of tokens, the first is
        OneHot or Embedding.

    Attributes
    ----------
    layers : tuple
        The layers. They are shared, not copied: training changes their parameters in place.
    history : History or None
        The history of the last `fit`, also if it ended with an error.
    stop_training : bool
        A callback sets it to True to end `fit` after the epoch.

    Notes
    -----
    Data sets are batch-first: an array (N, T, F), or a list of N arrays (T_i, F) of any lengths.
    For a model that starts with OneHot or Embedding they are (N, T), or N arrays (T_i,), of whole
    numbers. Every step has a target: a class (N, T) for the loss "cross_entropy", real numbers (N,
    T, O) for the other losses. With a LastStep among the layers, every sequence has one target:
    (N,) or (N, O); where O is 1, (N,) does as well. Calling a model is `predict` without
    progress. Arrays may have any real dtype and layout. Masked values (numpy.ma) are refused.

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

    #: Whether `fit` warns of data that are nearly surely a mistake. Estimators scale theirs.
    _warns = True

    @entry
    def __init__(self, *layers: Layer | Sequence[Layer]) -> None:
        super().__init__(*layers)
        self.history: History | None = None
        self.stop_training = False
        self._training: Training | None = None

    if not TYPE_CHECKING:  # type checkers know which attributes there are

        def __getattr__(self, name: str) -> Any:
            raise names.no_attribute("'Sequential' object", "MODEL", name)

    @entry
    def __call__(self, x: Data) -> Array | list[Array]:
        """Return the outputs for x, as `predict` does, without progress.

        Examples
        --------
        >>> import numpy as np, bptt
        >>> model = bptt.Sequential(bptt.LSTM(1, 4, rng=0), bptt.Linear(4, 2, rng=1))
        >>> model(np.zeros((3, 5, 1))).shape
        (3, 5, 2)
        """
        return self.predict(x, progress=False)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def _repr_html_(self) -> str | None:
        return _summary.summary(self)._repr_html_()

    def summary(self) -> str:
        """Return a table of the layers, the shapes of their outputs and their parameters.

        Returns
        -------
        str
            Python's prompt shows the table as it is, and a notebook as HTML; elsewhere, print it.

        Examples
        --------
        >>> import bptt
        >>> layers = bptt.Embedding(9, 16), bptt.GRU(16, 32), bptt.LastStep(), bptt.Linear(32, 2)
        >>> bptt.Sequential(*layers).summary()
        layer             output      parameters
        ----------------------------------------
        Embedding(9, 16)  (N, T, 16)         144
        GRU(16, 32)       (N, T, 32)       4,800
        LastStep()        (N, 32)              0
        Linear(32, 2)     (N, 2)              66
        ----------------------------------------
        5,010 parameters, float32, 19.6 KiB
        """
        return _summary.summary(self)

    @entry
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
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        resume: bool = False,
        check_finite: bool = True,
    ) -> History:
        """Train the layers in place.

        Ctrl-C ends training early: the layers keep what they learned, and the history so far is
        returned, marked as interrupted.

        Another `fit` continues from the current parameters. The model keeps the state of the
        optimiser (momentum, running means) and of the schedule. If the next `fit` is given the same
        optimiser object, or none, it continues with that state; another optimiser starts from
        scratch, as in Keras. The same holds for the schedule.

        Parameters
        ----------
        x, y : array_like or list of array_like
            Sequences of any lengths, and a target for each step, or with LastStep for each
            sequence; see the notes of the class. Without y, x is an iterable of batches ``(x, y)``
            or ``(x, y, sample_weight)``, such as a list or a data loader, which is iterated once an
            epoch. `batch_size` and `shuffle` do not apply to its batches. Memory-mapped arrays
            (numpy.memmap) may be larger than memory: only the sequences of one batch are read at a
            time. Nobody may shorten such a file meanwhile: the system then ends the process
            (SIGBUS).
        loss : str or loss
            "cross_entropy", "bce_with_logits", "mse", "mae", "huber", or an object with options,
            such as ``bptt.CrossEntropyLoss(label_smoothing=0.1)``. The loss of a batch is the mean
            over its targets.
        optimizer : Optimizer, optional
            The update rule, such as ``bptt.Adam()``; by default the optimiser of the last `fit`.
        epochs : int, default 1
            Passes over the data.
        batch_size : int, default 32
            Sequences in a batch.
        validation : tuple (x, y) or iterable of batches, optional
            Data to evaluate after every epoch.
        clip_norm : float, optional
            Gradients are scaled down if their norm over all parameters exceeds this.
        shuffle : bool, default True
            Whether every epoch takes the sequences in a new order.
        rng : None, int or numpy.random.Generator
            The source of the shuffling.
        progress : bool, default True
            Whether to show the training while it runs: epoch, losses, metrics, best epoch and time
            left, in a notebook with curves, in a terminal as one line. Elsewhere, as in a file or a
            pipe, they are a line every few seconds. All but notebooks get them on stderr.
        tbptt : int, optional
            Truncated backpropagation through time: a batch is processed in chunks of so many steps.
            Each chunk starts from the final states of the chunk before and makes one step of the
            optimiser, on the mean loss of its own steps. Gradients do not cross chunks. Memory is
            needed for one chunk only, and Ctrl-C waits for a chunk instead of a batch. The loss of
            a batch is the mean over the steps of all its chunks. By default sequences are whole.
        stateful : bool, default False
            Whether row b of a batch starts from the final state of row b of the batch before, as in
            Keras. Every epoch and every evaluation starts from zero states. Use it for a long
            sequence in pieces: with batch_size B, piece n + B continues piece n. It needs
            ``shuffle=False``, sequences of the same length, and a batch_size that divides their
            number.
        sample_weight : array_like (N,), optional
            A factor of the losses of each sequence in training, at least 0. As in Keras, the mean
            is still divided by the number of steps. A sequence of weight 0 is not read: it may hold
            NaN, and metrics leave it out (with `stateful`, its x is read, for the states that go
            on). Weights of classes belong to the loss.
        schedule : Schedule, optional
            Changes the learning rate, such as ``bptt.StepLR(10)``.
        metrics : list of str, default none
            Further numbers for the history, as means over all steps of an epoch whose weight is not
            0 (for the training data: computed while training): "accuracy" (for "cross_entropy"; for
            "bce_with_logits" the share of numbers on the right side), "perplexity" (for
            "cross_entropy"), "rmse" (for the other losses).
        early_stopping : EarlyStopping, optional
            Stops training when it no longer improves, and restores the best parameters.
        callbacks : list, default none
            Objects that are called between epochs, and around every step; see `Callback`.
        accumulate : int, default 1
            The number of batches whose gradients make one step of the optimiser. Up to rounding,
            the step is that of one large batch. Not with `tbptt`.
        checkpoint : str or path, optional
            A file for the model and the state of training, written after epochs. As with `save`,
            the old or the new file exists at any moment. `bptt.load` reads the model in it. That
            the file can be written is checked before training.
        checkpoint_every : int, default 1
            The number of epochs between two checkpoints. The last epoch is always followed by one.
        resume : bool, default False
            Whether to continue from `checkpoint`, if the file exists: from its parameters and
            history, and the state of the optimiser, the schedule, the callbacks and all random
            numbers. Interrupting and resuming do not change results. `epochs` includes those
            that are done, and a run that early stopping has ended does not continue. The model, the
            data and all other settings must be those of the first run; the parameters of this model
            and the seed do not matter.
        check_finite : bool, default True
            Whether NaN and infinity in x, y and the validation data are an error: before training,
            or for iterables and memory-mapped arrays when a batch is read. With False they go
            through the model, as IEEE says.

        Warns
        -----
        DataWarning
            If x and y are nearly surely a mistake: numbers far above 1000, or hundreds of targets
            that are all the same. `bptt.check` tells more.

        Returns
        -------
        History
            The losses, each the mean over all steps of an epoch as in `evaluate`, and the metrics.

        Raises
        ------
        ValueError, TypeError
            If data or settings do not fit, including those of the checkpoint; if data are NaN or
            infinite (also because they are too large for float32), or no target has a weight; with
            `tbptt` or `stateful` also if a layer is bidirectional, because its second direction
            starts at the end. Then nothing has changed, unless the error is in a later batch of an
            iterable or a memory-mapped array: finished epochs stay. The first batch of an iterable
            is taken before training.
        OSError
            If the checkpoint cannot be written. If that shows before training, nothing has changed;
            otherwise the layers keep what they learned.
        DivergedError
            If a loss or a parameter becomes NaN or infinite. The layers keep the parameters of the
            end of the previous epoch.

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

        Classifying sequences, with more settings:

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

        Training that can be interrupted at any time and resumed:

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
        >>> options = {"loss": "mse", "optimizer": bptt.Adam(0.01), "rng": 0, "progress": False}
        >>> twin = bptt.Sequential(bptt.GRU(1, 8, rng=2), bptt.Linear(8, 1, rng=3))
        >>> for epochs in (2, 5):  # as if the process ended after two of five epochs
        ...     history = twin.fit(wave[:, :-1], wave[:, 1:], epochs=epochs, checkpoint=path,
        ...                        resume=True, **options)
        >>> len(history.loss)
        5
        """
        loss = loss_of(loss)
        settings = Settings(
            loss,
            epochs=check.size("epochs", epochs, least=0),
            batch_size=check.size("batch_size", batch_size),
            shuffle=check.flag("shuffle", shuffle),
            rng=check.generator(rng),
            clip_norm=None if clip_norm is None else check.real("clip_norm", clip_norm),
            tbptt=None if tbptt is None else check.size("tbptt", tbptt),
            stateful=check.flag("stateful", stateful),
            accumulate=check.size("accumulate", accumulate),
            metrics=check_metrics(metrics, loss.name),
            progress=check.flag("progress", progress),
            check_finite=check.flag("check_finite", check_finite),
        )
        schedule = schedule_of(schedule)
        calls = Calls(self, callbacks, early_stopping)
        training = training_of(self._training, optimizer, schedule)
        resume = check.flag("resume", resume)
        every = check.size("checkpoint_every", checkpoint_every)
        if resume and checkpoint is None:
            raise ValueError("resume=True needs a file to resume from: give checkpoint=path")
        use = Use(settings.check_finite, stateful=settings.stateful)
        source = training_source(self, loss, "", x, y, sample_weight, epochs, use)
        if (
            self._warns
            and isinstance(source, Whole)
            and (told := surely_wrong(self, loss, source.data))
        ):
            warn(f"{told}; bptt.check(model, x, y) tells more", DataWarning)
        check_stateful(settings, source.lengths)
        checked = None
        if validation is not None:
            checked = validation_source(self, loss, validation, epochs, use.check_finite)
        check_monitors([schedule, *calls.callbacks], settings.metrics, checked is not None)
        file = None
        if checkpoint is not None:
            shared = settings.shared(training, source, validation, sample_weight)
            file = Checkpoint(checkpoint, every, shared, self)
        run = Run(self, settings, training, source, checked, calls)
        run.prepare(file, resume)
        self.history, self.stop_training, self._training = run.history, run.stopped, run.kept
        return run()

    @entry
    def find_lr(
        self,
        x: Data | Batches,
        y: Data | None = None,
        *,
        loss: str | Loss,
        optimizer: Optimizer | None = None,
        batch_size: int = 32,
        low: float = 1e-7,
        high: float = 10.0,
        steps: int = 100,
        clip_norm: float | None = None,
        tbptt: int | None = None,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        rng: object = None,
        check_finite: bool = True,
    ) -> RangeTest:
        """Try learning rates from low to high for one step each, and suggest one for `fit`.

        The learning rate grows by the same factor from step to step, until the smoothed loss is
        four times its lowest value or no longer finite (Smith, "Cyclical Learning Rates for
        Training Neural Networks", 2017; settings of fast.ai and Lightning). It starts from the
        parameters and the state of the optimiser that `fit` would start from. The steps change
        copies: parameters, optimiser, history and the seeds of dropout stay as they are, also if
        an error or Ctrl-C ends the call.

        Parameters
        ----------
        x, y, loss, batch_size, clip_norm, tbptt, sample_weight, shuffle, rng, check_finite
            As for `fit`, and best the same values. An iterable of batches must be one that can be
            iterated again. `rng` is the source of dropout, too.
        optimizer : Optimizer, optional
            The update rule; by default the optimiser of the last `fit`. Its own learning rate does
            not matter.
        low, high : float, default 1e-7 and 10
            The first and the last learning rate, above 0.
        steps : int, default 100
            The number of steps, at least 10. There are as many passes over the data as they need.

        Returns
        -------
        RangeTest
            The learning rates (`lr`), the losses (`loss`, `smoothed`), a `suggestion` and
            ``plot()``.

        Raises
        ------
        ValueError, TypeError
            If data or settings do not fit, as for `fit`, or the first loss is not finite.

        Examples
        --------
        >>> import numpy as np, bptt
        >>> wave = np.sin(0.3 * np.arange(1001)).reshape(-1, 7, 1)  # (N, T, F)
        >>> x, y = wave[:, :-1], wave[:, 1:]
        >>> model = bptt.Sequential(bptt.GRU(1, 8, rng=0), bptt.Linear(8, 1, rng=1))
        >>> found = model.find_lr(x, y, loss="mse", optimizer=bptt.Adam(), rng=0)
        >>> 1e-4 < found.suggestion < 0.3
        True
        >>> history = model.fit(x, y, loss="mse", optimizer=bptt.Adam(found.suggestion), epochs=20,
        ...                     progress=False)
        """
        loss = loss_of(loss)
        low, high = check.real("low", low), check.real("high", high)
        if not 0 < low < high < math.inf:
            raise ValueError(
                f"low and high must be 0 < low < high < infinity, got {low} and {high}"
            )
        rates = np.geomspace(low, high, check.size("steps", steps, least=10))
        batch_size = check.size("batch_size", batch_size)
        generator, shuffle = check.generator(rng), check.flag("shuffle", shuffle)
        training = training_of(self._training, optimizer, None)
        use = Use(check.flag("check_finite", check_finite))
        source = training_source(self, loss, "", x, y, sample_weight, 2, use)
        trainer = trainer_of(
            self,
            loss,
            training.optimizer,
            clip_norm=None if clip_norm is None else check.real("clip_norm", clip_norm),
            tbptt=None if tbptt is None else check.size("tbptt", tbptt),
        )
        if training.moments is not None:
            trainer.restore_optimizer(*training.moments)
        trainer.set_seed(int(generator.integers(2**63)))
        count = None if source.lengths is None else len(source.lengths)
        order = Order(count, generator if shuffle else None)
        return range_test(trainer, source, order, batch_size, rates)

    @entry
    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model to a file, for `bptt.load`.

        The file has the safetensors format; its usual name ends in ``.safetensors``. It has the
        parameters, by the names of `state_dict`, and in the metadata a description of the layers.
        An existing file is replaced in one step: at any moment, also if the process is killed, the
        old or the new file exists as a whole. The new file has the owner, the group and the mode of
        the old one. A link stays a link, to the new file.

        Parameters
        ----------
        path : str or path
            The file.

        Raises
        ------
        OSError
            If the file cannot be written, or the path is a folder, a device, a pipe or a socket.
            What was there stays as it was.
        ValueError
            If the model has more than 1024 layers.

        Examples
        --------
        >>> import os, tempfile, bptt
        >>> model = bptt.Sequential(bptt.RNN(2, 3, rng=0))
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> model.save(path)
        >>> bptt.load(path)
        Sequential(RNN(2, 3))
        """
        _files.write(path, self, {}, {})

    @overload
    def predict(
        self,
        x: Data,
        *,
        state: GivenStates | None = None,
        return_state: Literal[False] = False,
        progress: bool = True,
        check_finite: bool = True,
    ) -> Array | list[Array]: ...

    @overload
    def predict(
        self,
        x: Data,
        *,
        state: GivenStates | None = None,
        return_state: Literal[True],
        progress: bool = True,
        check_finite: bool = True,
    ) -> tuple[Array | list[Array], States]: ...

    @entry
    def predict(
        self,
        x: Data,
        *,
        state: GivenStates | None = None,
        return_state: bool = False,
        progress: bool = True,
        check_finite: bool = True,
    ) -> Any:
        """Return the outputs for every step, or with LastStep for every sequence.

        Ctrl-C raises KeyboardInterrupt.

        Parameters
        ----------
        x : array_like or list of array_like
            Sequences, as for `fit`. Memory-mapped arrays are read piece by piece.
        state : tuple of states, optional
            The initial states: for each recurrent layer ``(h,)``, for an LSTM ``(h, c)``, as
            `return_state` gives them. Each array is (L D, N, H), for L layers and D directions of
            the layer; with a projection h has P instead of H features. Where there is only one
            recurrent layer, its state alone is accepted, too. Zeros by default.
        return_state : bool, default False
            Whether to return the final states, too: those after the last step of each sequence.
            With them as `state`, the next call continues the sequences, and the outputs have the
            bits of one call for the whole. This does not hold for layers with two directions,
            whose second direction starts at the end.
        progress : bool, default True
            Whether to show progress if it takes longer than two seconds.
        check_finite : bool, default True
            Whether NaN and infinity in x and state are an error, as for `fit`. With False, the
            outputs are what IEEE says.

        Returns
        -------
        y : ndarray or list of ndarray
            (N, T, O) if x is one array, otherwise a list of N arrays (T_i, O). With LastStep (N,
            O).
        state : tuple of tuples of ndarray
            Only with `return_state`: a state for each recurrent layer.

        Raises
        ------
        ValueError, TypeError
            If x or the states do not fit the model, or hold NaN or infinity.

        Examples
        --------
        >>> import numpy as np, bptt
        >>> model = bptt.Sequential(bptt.LSTM(1, 4, rng=0), bptt.Linear(4, 1, rng=1))
        >>> x = np.sin(np.arange(20.0)).reshape(2, 10, 1)
        >>> y, state = model.predict(x[:, :6], return_state=True)
        >>> [part.shape for part in state[0]]  # h and c of the only recurrent layer
        [(1, 2, 4), (1, 2, 4)]
        >>> rest = model.predict(x[:, 6:], state=state)
        >>> bool((np.concatenate([y, rest], axis=1) == model.predict(x)).all())
        True
        """
        progress = check.flag("progress", progress)
        return_state = check.flag("return_state", return_state)
        source = prediction_source(self, x, check.flag("check_finite", check_finite))
        lengths = source.lengths
        assert lengths is not None
        states: States = ()
        if state is not None:
            given = states_of(self.recurrent, state, len(lengths), self.dtype)
            states = tuple(tuple(part.copy() for part in parts) for parts in given)
            wrong = (not_finite("state", part.swapaxes(0, 1), None) for part in sum(states, ()))
            if check_finite and (told := next(filter(None, wrong), None)):
                raise ValueError(f"{told}: {FIX}")
        elif return_state:
            states = zero_states(self.recurrent, len(lengths), self.dtype)
        with sequence_progress("predict", len(lengths), progress) as display:
            flat = predict(self, source, display.advance, states)
        y: Array | list[Array] = flat
        if not self.per_sequence:
            if isinstance(x, (list, tuple)):
                y = np.split(flat, np.cumsum(lengths)[:-1])
            else:
                y = flat.reshape(len(lengths), -1, flat.shape[-1])
        return (y, states) if return_state else y

    @overload
    def evaluate(
        self,
        x: Data | Batches,
        y: Data | None = None,
        *,
        loss: str | Loss,
        progress: bool = True,
        check_finite: bool = True,
    ) -> float: ...

    @overload
    def evaluate(
        self,
        x: Data | Batches,
        y: Data | None = None,
        *,
        loss: str | Loss,
        metrics: Sequence[str],
        progress: bool = True,
        check_finite: bool = True,
    ) -> dict[str, float]: ...

    @entry
    def evaluate(
        self,
        x: Data | Batches,
        y: Data | None = None,
        *,
        loss: str | Loss,
        metrics: Sequence[str] | None = None,
        progress: bool = True,
        check_finite: bool = True,
    ) -> float | dict[str, float]:
        """Return the mean loss, defined as in `fit`.

        Ctrl-C raises KeyboardInterrupt.

        Parameters
        ----------
        x, y : array_like or list of array_like
            Sequences and targets, as for `fit`, of any lengths.
        loss, metrics
            As for `fit`.
        progress : bool, default True
            Whether to show progress if it takes longer than two seconds.
        check_finite : bool, default True
            Whether NaN and infinity in x and y are an error, as for `fit`.

        Returns
        -------
        float or dict of str to float
            The mean over the steps of all sequences, or with LastStep over all sequences.
            Cross-entropy leaves out ignored targets and weighs the others by their class. With
            `metrics`, a dict of the metrics and this mean as "loss".

        Raises
        ------
        ValueError, TypeError
            If data or settings do not fit, data are NaN or infinite, or all targets are ignored.
        """
        loss = loss_of(loss)
        names = check_metrics(() if metrics is None else metrics, loss.name)
        progress = check.flag("progress", progress)
        check_finite = check.flag("check_finite", check_finite)
        source = validation_source(self, loss, (x, y), 1, check_finite, "")
        trainer = trainer_of(self, loss, metrics=names)
        total = None if source.lengths is None else len(source.lengths)
        with sequence_progress("evaluate", total, progress) as display:
            value = evaluate(trainer, source, display.advance)
        if metrics is None:
            return value
        return {"loss": value} | metrics_of(names, trainer.take_metrics(True))

    @entry
    def generate(
        self,
        prompt: ArrayLike,
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        rng: object = None,
    ) -> NDArray[np.int64]:
        """Continue a sequence of tokens, drawing each new one from the logits of the model.

        The model starts with OneHot or Embedding, gives a logit for each token and is trained with
        "cross_entropy" to predict the next token. It processes one step at a time (`stepper`).

        Parameters
        ----------
        prompt : array_like of int
            The tokens to continue, (T,), at least one.
        n : int
            The number of tokens to draw.
        temperature : float, default 1.0
            A divisor of the logits: below 1, likely tokens become likelier. At 0 the most likely
            token is taken, the first of several.
        top_k : int, optional
            Draw from the k most likely tokens only; by default from all.
        rng : None, int or numpy.random.Generator
            The source of the draws; the same seed draws the same tokens.

        Returns
        -------
        ndarray of int64
            The n new tokens, without the prompt.

        Raises
        ------
        ValueError, TypeError
            If the model is not of this kind, has a layer with two directions or gives logits that
            are not finite, or if a parameter is out of range.

        Examples
        --------
        >>> import numpy as np, bptt
        >>> model = bptt.Sequential(bptt.OneHot(3), bptt.GRU(3, 8, rng=0), bptt.Linear(8, 3, rng=1))
        >>> x = np.arange(31)[None] % 3  # 0 1 2 0 1 2 ...
        >>> history = model.fit(x[:, :-1], x[:, 1:], loss="cross_entropy", epochs=100,
        ...                     optimizer=bptt.Adam(0.05), progress=False)
        >>> model.generate([0, 1], 5, temperature=0)
        array([2, 0, 1, 2, 0])
        """
        return generate(self, prompt, n, temperature, top_k, rng)


@entry
def load(path: str | os.PathLike[str]) -> Sequential:
    """Load a model from a file of `Sequential.save`, or from a checkpoint of `Sequential.fit`.

    Nothing in the file is executed, and a file that is not what it says costs little time and
    memory. A checksum shows whether any byte has changed since `save` wrote it, by accident: who
    changes a file on purpose can give it a new one. Files without a checksum, of bptt 0.1.0 and of
    other programs, are read, too. The generators of dropout get new seeds.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Sequential
        The model: the same layers, with bitwise the same parameters.

    Raises
    ------
    OSError
        If the file cannot be read, or is a folder, a device, a pipe or a socket.
    ValueError
        If the file is damaged, has another version, no model or unknown layers, or if a parameter
        is missing or has a wrong shape or dtype.
    MemoryError
        If the file is larger than memory.

    Examples
    --------
    >>> import os, tempfile, numpy as np, bptt
    >>> model = bptt.Sequential(bptt.GRU(1, 4, rng=0), bptt.Linear(4, 1, rng=1))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> model.save(path)
    >>> twin = bptt.load(path)
    >>> twin
    Sequential(GRU(1, 4), Linear(4, 1))
    >>> x = np.ones((2, 3, 1))
    >>> bool((twin.predict(x) == model.predict(x)).all())
    True
    """
    stack, _, _ = _files.read(path, training=False)
    return Sequential(*stack.layers)
