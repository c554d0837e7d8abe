"""What a model is without its training: layers, parameters, predictions, files, new tokens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check, _core, _evaluate, _show, saving
from bptt._generate import generate
from bptt._layer import Layer, TrainableLayer, load_arrays
from bptt._metrics import METRICS, check_metrics, metrics_of
from bptt._progress import sequence_bar
from bptt._sources import prediction_source, validation_source
from bptt.history import History
from bptt.layers import LastStep
from bptt.losses import Loss, loss_of
from bptt.optimizers import SGD, Optimizer
from bptt.stepper import Stepper

Array = NDArray[Any]
Data = ArrayLike | Sequence[ArrayLike]
Batches = Iterable[tuple[Any, ...]]


class Model:
    """Layers one after the other."""

    history: History | None

    def __init__(self, *layers: Layer) -> None:
        for n, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {n} must be a bptt layer, got {type(layer).__name__}")
        self.layers = layers
        self.history = None
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

    def _repr_html_(self) -> str:
        return _show.model_html(self)

    def summary(self) -> str:
        """Return a table of the layers, their outputs and how many parameters they have.

        Returns
        -------
        str
            A prompt shows it as it is; elsewhere, print it.

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
        return _show.summary(self)

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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model to a file, for `bptt.load`.

        It is in the safetensors format, by custom named ``.safetensors``: the parameters by the names of
        `state_dict`, and of what layers the model is in the metadata. A file that was there is replaced in
        one step: at any moment, also if the process is killed, the old or the new one is there as a whole.

        Parameters
        ----------
        path : str or path
            Where to.

        Raises
        ------
        OSError
            If it cannot be written; what was there is left as it was.

        Examples
        --------
        >>> import os, tempfile, bptt
        >>> model = bptt.Sequential(bptt.RNN(2, 3, rng=0))
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> model.save(path)
        >>> bptt.load(path)
        Sequential(RNN(2, 3))
        """  # noqa: E501
        saving.write(path, self, {}, {})

    def predict(self, x: Data, *, progress: bool = True) -> Array | list[Array]:
        """Return the outputs for every step, or with LastStep for every sequence.

        Ctrl-C ends it with a KeyboardInterrupt.

        Parameters
        ----------
        x : array_like or list of array_like
            Sequences, as for `fit`; of arrays in files, too, only some are read at a time.
        progress : bool, default True
            Whether to show a progress bar (needs tqdm) if it takes longer than two seconds.

        Returns
        -------
        ndarray or list of ndarray
            (N, T, O) if x is one array, else a list of N arrays (T_i, O); (N, O) with LastStep.
        """
        progress = _check.flag("progress", progress)
        source = prediction_source(self, x)
        lengths = source.lengths
        assert lengths is not None
        with sequence_bar(len(lengths), progress) as bar:
            trainer = self._trainer(loss_of("mse"), SGD(0.0))
            flat = _evaluate.predict(trainer, source, self._per_sequence, bar)
        if self._per_sequence:
            return flat
        if isinstance(x, (list, tuple)):
            return np.split(flat, np.cumsum(lengths)[:-1])
        return flat.reshape(len(lengths), -1, flat.shape[-1])

    @overload
    def evaluate(
        self, x: Data | Batches, y: Data | None = None, *, loss: str | Loss, progress: bool = True
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
    ) -> dict[str, float]: ...

    def evaluate(
        self,
        x: Data | Batches,
        y: Data | None = None,
        *,
        loss: str | Loss,
        metrics: Sequence[str] | None = None,
        progress: bool = True,
    ) -> float | dict[str, float]:
        """Return the mean loss, of which `fit` tells the same kind.

        Ctrl-C ends it with a KeyboardInterrupt.

        Parameters
        ----------
        x, y : array_like or list of array_like
            Sequences and targets, as for `fit`, of any lengths.
        loss, metrics
            As for `fit`.
        progress : bool, default True
            Whether to show a progress bar (needs tqdm) if it takes longer than two seconds.

        Returns
        -------
        float or dict of str to float
            The mean over all steps (with LastStep: sequences), whichever sequence they are of; in
            cross-entropy, ignored ones do not count, others as their class's weight. With `metrics`, that
            as "loss" beside them.

        Raises
        ------
        ValueError, TypeError
            For data or settings that do not fit, or if no target counts.
        """  # noqa: E501
        loss = loss_of(loss)
        names = check_metrics(() if metrics is None else metrics, loss.name)
        progress = _check.flag("progress", progress)
        source = validation_source(self, loss, (x, y), 1, "")
        means = [METRICS[name][0] for name in names]
        trainer = self._trainer(loss, SGD(0.0), metrics=means)
        total = None if source.lengths is None else len(source.lengths)
        with sequence_bar(total, progress) as bar:
            value = _evaluate.evaluate(trainer, source, bar)
        if metrics is None:
            return value
        return {"loss": value} | metrics_of(names, trainer.take_metrics(True))

    def generate(
        self,
        prompt: ArrayLike,
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        rng: object = None,
    ) -> NDArray[np.int64]:
        """Continue a sequence of tokens: draw the next one from the model's logits, again and again.

        For a model that starts with OneHot or Embedding and gives a logit for each token, trained
        with "cross_entropy" to tell the next one. It is given one step at a time (`stepper`).

        Parameters
        ----------
        prompt : array_like of int
            The tokens to continue, (T,), at least one.
        n : int
            How many tokens to draw.
        temperature : float, default 1.0
            The logits are divided by it: below 1, likely tokens become likelier. At 0 the likeliest
            is taken, the first of several.
        top_k : int, optional
            Draw from the k likeliest tokens only; by default from all.
        rng : None, int or numpy.random.Generator
            What is drawn with; the same seed draws the same tokens.

        Returns
        -------
        ndarray of int64
            The n new tokens, without the prompt.

        Raises
        ------
        ValueError, TypeError
            If the model is not such a one, has a layer of two directions, or gives logits that are not
            finite, or if a parameter is out of range.

        Examples
        --------
        >>> import numpy as np, bptt
        >>> model = bptt.Sequential(bptt.OneHot(3), bptt.GRU(3, 8, rng=0), bptt.Linear(8, 3, rng=1))
        >>> x = np.arange(31)[None] % 3  # 0 1 2 0 1 2 ...
        >>> history = model.fit(x[:, :-1], x[:, 1:], loss="cross_entropy", epochs=100,
        ...                     optimizer=bptt.Adam(0.05), progress=False)
        >>> model.generate([0, 1], 5, temperature=0)
        array([2, 0, 1, 2, 0])
        """  # noqa: E501
        return generate(self, prompt, n, temperature, top_k, rng)

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
