"""`Sequential`: layers one after the other, trained in Rust with the habits of Keras.

What a model is without its training is in `_model`, and the loop of its training in `_fit`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from bptt import _check, _fit
from bptt._checkpoint import Checkpoint
from bptt._layer import Layer
from bptt._metrics import METRICS, check_metrics
from bptt._model import Batches, Data, Model
from bptt._sources import training_source, validation_source
from bptt.callbacks import Callback, Calls, EarlyStopping
from bptt.history import History
from bptt.losses import Loss, loss_of
from bptt.optimizers import Optimizer
from bptt.schedules import Schedule, schedule_of


class Sequential(Model):
    """Layers one after the other, every step of one the input of the next.

    Parameters
    ----------
    *layers : RNN, LSTM, GRU, Linear, OneHot, Embedding, LayerNorm, Dropout or LastStep
        OneHot or Embedding only as the first, for data that are tokens. All of one dtype.

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
    for a model that starts with OneHot or Embedding, (N, T) or N arrays (T_i,) of whole numbers.
    Targets have a value for every step: classes (N, T) for the loss "cross_entropy", real numbers
    (N, T, O) for the others. With a LastStep among the layers, they have one for every sequence:
    (N, O), or (N,) classes.

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
        super().__init__(*layers)
        self.stop_training = False
        self._training: _fit.Training | None = None

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
        checkpoint : str or path, optional
            A file to which model and training state are written after epochs, as `save` does it:
            killed at any moment, the one before or the new one is there. `bptt.load` gives the
            model in it.
        checkpoint_every : int, default 1
            Epochs from one checkpoint to the next; there is one after the last epoch, too.
        resume : bool, default False
            Whether to go on from `checkpoint`, if it is there, with its parameters, the state of
            the optimiser, the schedule, callbacks and all random numbers, and its history, so that
            the result has the bits of a run that was never broken off. `epochs` counts those that
            are done; a run that early stopping has ended does not go on. The
            model, the data and all other settings must be those of the first run; the parameters
            of this model, and the seed, do not matter.

        Returns
        -------
        History
            The losses, each epoch's mean over all steps, as `evaluate` has it, and the metrics.

        Raises
        ------
        ValueError, TypeError
            For data or settings that do not fit, also those of the checkpoint; for `tbptt` and
            `stateful` also if a layer is bidirectional, since its second direction starts at the
            end. Nothing is changed then, but for batches of an iterable: earlier epochs stay.
        OSError
            If the checkpoint cannot be written. The layers keep what they learnt.
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

        Training that can be broken off at any time, and goes on where it was:

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
        >>> options = {"loss": "mse", "optimizer": bptt.Adam(0.01), "rng": 0, "progress": False}
        >>> twin = bptt.Sequential(bptt.GRU(1, 8, rng=2), bptt.Linear(8, 1, rng=3))
        >>> for epochs in (2, 5):  # as if the process had ended after two of five epochs
        ...     history = twin.fit(wave[:, :-1], wave[:, 1:], epochs=epochs, checkpoint=path,
        ...                        resume=True, **options)
        >>> len(history.loss)
        5
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
            check_metrics(metrics, loss.name),
            _check.flag("progress", progress),
        )
        generator = _check.generator(rng)
        schedule = schedule_of(schedule)
        calls = Calls(self, callbacks, early_stopping)
        training = _fit.training_of(self._training, optimizer, schedule)
        clip_norm = None if clip_norm is None else _check.real("clip_norm", clip_norm)
        resume = _check.flag("resume", resume)
        if resume and checkpoint is None:
            raise ValueError("resume=True needs the file to go on from: give checkpoint=path")
        source = training_source(self, loss, "", x, y, sample_weight, epochs)
        if stateful:
            _fit.check_stateful(shuffle, batch_size, source.lengths)
        checked = None
        if validation is not None:
            checked = validation_source(self, loss, validation, epochs)
        watchers = [schedule, *calls.callbacks]
        _fit.check_monitors(watchers, settings.metrics, checked is not None)
        file = None
        if checkpoint is not None:
            same = {
                "loss": repr(loss),
                "optimizer": repr(training.optimizer),
                "schedule": repr(schedule),
                "batch_size": batch_size,
                "accumulate": settings.accumulate,
                "validation": validation is not None,
                "sample_weight": sample_weight is not None,
                "metrics": settings.metrics,
                "clip_norm": clip_norm,
                "shuffle": shuffle,
                "tbptt": tbptt,
                "stateful": stateful,
                "sequences": None if source.lengths is None else len(source.lengths),
                "steps": None if source.lengths is None else int(source.lengths.sum()),
            }
            file = Checkpoint(checkpoint, checkpoint_every, same)
        trainer = self._trainer(
            loss,
            training.optimizer,
            clip_norm=clip_norm,
            tbptt=tbptt,
            stateful=stateful,
            accumulate=settings.accumulate,
            metrics=[METRICS[name][0] for name in settings.metrics],
        )
        if not all(layer._flat.flags.writeable for layer in self._trained):
            raise ValueError("a layer's parameters are read-only; copy the model to train it")
        run = _fit.Run(self, trainer, training, source, checked, calls, generator, settings, file)
        if resume:
            run.resume()
        return run()
