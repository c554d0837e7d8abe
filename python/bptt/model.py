"""`Sequential`: layers one after the other, trained in Rust with the habits of Keras.

What a model is without its training is in `_model`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check, _core
from bptt._checkpoint import Checkpoint, HistoryState, Order, Part, TrainerState
from bptt._data import Sequences, one_per_sequence
from bptt._fit import check_stateful, evaluate, train_epoch
from bptt._model import Model
from bptt._progress import progress_bar
from bptt.history import DivergedError, History
from bptt.optimizers import SGD, Adam

Array = NDArray[Any]
Data = ArrayLike | Sequence[ArrayLike]


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

    Notes
    -----
    Data sets are batch-first: an array (N, T, F), or a list of N arrays (T_i, F) of any lengths;
    for a model that starts with OneHot or Embedding, (N, T) or N arrays (T_i,) of whole numbers.
    Targets have a value for every step: real numbers (N, T, O) for the loss "mse", classes (N, T)
    for "cross_entropy". With a LastStep among the layers, they have one for every sequence: (N, O),
    or (N,) classes.

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
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        resume: bool = False,
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
        checkpoint : str or path, optional
            A file to which model and training state are written after epochs, as `save` does it:
            killed at any moment, the one before or the new one is there. `bptt.load` gives the
            model in it.
        checkpoint_every : int, default 1
            Epochs from one checkpoint to the next; there is one after the last epoch, too.
        resume : bool, default False
            Whether to go on from `checkpoint`, if it is there, with its parameters, the state of
            the optimiser and of all random numbers, and its history, so that the result has the
            bits of a run that was never broken off. `epochs` counts those that are done. The
            model, the data and all other settings must be those of the first run; the parameters
            of this model, and the seed, do not matter.

        Returns
        -------
        History
            The losses: each epoch's mean over its sequences.

        Raises
        ------
        ValueError, TypeError
            For data or settings that do not fit, also those of the checkpoint; for `tbptt` and
            `stateful` also if a layer is bidirectional, since its second direction starts at the
            end. Nothing is changed then.
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
        epochs = _check.size("epochs", epochs, least=0)
        batch_size = _check.size("batch_size", batch_size)
        shuffle = _check.flag("shuffle", shuffle)
        progress = _check.flag("progress", progress)
        tbptt = None if tbptt is None else _check.size("tbptt", tbptt)
        stateful = _check.flag("stateful", stateful)
        resume = _check.flag("resume", resume)
        if resume and checkpoint is None:
            raise ValueError("resume=True needs the file to go on from: give checkpoint=path")
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
        file = saved = None
        if checkpoint is not None:
            settings = {
                "loss": str(loss),
                "optimizer": repr(optimizer),
                "batch_size": batch_size,
                "validation": validation is not None,
                "clip_norm": None if clip_norm is None else _check.real("clip_norm", clip_norm),
                "shuffle": shuffle,
                "tbptt": tbptt,
                "stateful": stateful,
                "sequences": len(sequences),
                "steps": sequences.offsets[-1],
            }
            file = Checkpoint(checkpoint, checkpoint_every, settings)
            saved = file.read(self) if resume else None
        source = self if saved is None else saved.model
        trainer = source._trainer(loss, optimizer, clip_norm, tbptt, stateful)
        if not all(layer._flat.flags.writeable for layer in self._trained):
            raise ValueError("a layer's parameters are read-only; copy the model to train it")
        history = History()
        order = Order(len(sequences), generator if shuffle else None)
        parts: dict[str, Part] = {
            "trainer": TrainerState(trainer),
            "order": order,
            "history": HistoryState(history),
        }
        done = 0
        if saved is not None:
            saved.restore(parts)
            self.load_state_dict(saved.model.state_dict())
            done = saved.epochs
        seed = sum(layer._seed() for layer in self.layers) % 2**64
        if saved is None:
            trainer.set_seed(seed)
        self.history = history
        start = time.perf_counter() - history.seconds
        try:
            with progress_bar(max(epochs - done, 0), progress) as bar:
                for epoch in range(done, epochs):
                    mean = train_epoch(trainer, data, lengths, order.next(), batch_size, bar)
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
                    if file is not None and (epoch + 1 == epochs or file.is_due(epoch + 1)):
                        history.seconds = time.perf_counter() - start
                        file.write(self, epoch + 1, parts)
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
