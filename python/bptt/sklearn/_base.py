"""What the three estimators share: parameters, the model, and training as in MLPClassifier."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

import bptt
from bptt._support import check
from bptt._support.screen import redraws
from bptt._support.warn import warn
from bptt.sklearn._sequences import FAR, Scale, Sequences, read_sequences, take
from bptt.sklearn._threads import limit_worker_threads

Array = NDArray[Any]
_CELLS = {"lstm": bptt.LSTM, "gru": bptt.GRU, "rnn": bptt.RNN}


#: The documentation of shared parameters and attributes; it replaces "{parameters}" and
#: "{attributes}".
_PARAMETERS = """hidden_size : int, default 64
        Hidden units of each recurrent layer.
    num_layers : int, default 1
        Stacked recurrent layers.
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        The type of the layers.
    bidirectional : bool, default False
        Whether a second direction reads each sequence from its end. Its output is taken at the
        first step, after it has read the whole sequence.
    dropout : float, default 0.0
        Probability, in [0, 1), that training zeroes an output of a recurrent layer.
    batch_size : int, default 32
        Sequences in a batch.
    learning_rate_init : float, default 0.003
        The learning rate of Adam.
    max_iter : int, default 200
        The largest number of passes over the data.
    shuffle : bool, default True
        Whether every pass takes the sequences in a new order.
    clip_norm : float or None, default 1.0
        Gradients are scaled down if their norm exceeds this; None for no limit.
    tol : float, default 1e-4
        The smallest improvement of the loss, or with `early_stopping` of the validation score, that
        counts.
    n_iter_no_change : int or numpy.inf, default 10
        Training ends after more than so many passes in a row without improvement. With `warm_start`
        passes of the `fit` before count, too.
    early_stopping : bool, default False
        Whether to hold out validation data, to end training by the score on them, and to keep the
        parameters of the best score.
    validation_fraction : float, default 0.1
        The fraction of the data that `early_stopping` holds out.
    scale : bool, default True
        Whether to standardise each feature by its mean and standard deviation over all steps of the
        training data.
    warm_start : bool, default False
        Whether `fit` continues from the parameters of the previous `fit`.
    random_state : int, numpy.random.RandomState, numpy.random.Generator or None, default None
        The source of the initial parameters, the shuffling and the choice of validation data.
    verbose : bool, default False
        Whether to show the training: in a notebook or a terminal as `Sequential.fit` does,
        elsewhere by printing the loss of every pass, as `MLPClassifier` does."""

_ATTRIBUTES = """network_ : bptt.Sequential
        The network. It takes what `network_input` returns, and its layers, gates and steppers are
        those of every model.
    loss_curve_ : list of float
        The mean loss of every pass, computed while training.
    loss_ : float
        The last of these losses.
    best_loss_ : float or None
        The lowest of them; None with `early_stopping`.
    validation_scores_ : list of float or None
        With `early_stopping`, the score on the validation data after every pass.
    best_validation_score_ : float or None
        The best of these scores; the model has its parameters.
    n_iter_ : int
        The number of passes of the last `fit` or `partial_fit`.
    n_features_in_ : int
        The number of columns, if X was a table; otherwise the number of features of each step.
    feature_names_in_ : ndarray of str
        The names of the columns, if X was a table with names."""


class SequenceEstimator(BaseEstimator):
    """Recurrent layers, their last step, and a linear layer: the base of the estimators."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        documentation = cls.__doc__ or ""
        documentation = documentation.replace("{parameters}", _PARAMETERS)
        cls.__doc__ = documentation.replace("{attributes}", _ATTRIBUTES)

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        num_layers: int = 1,
        cell: str = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_size: int = 32,
        learning_rate_init: float = 0.003,
        max_iter: int = 200,
        shuffle: bool = True,
        clip_norm: float | None = 1.0,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        scale: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.cell = cell
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.clip_norm = clip_norm
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.scale = scale
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # Subclasses define these. Targets are rows (n, outputs) of float64, or classes (n,) of intp.

    network_: bptt.Sequential
    _loss: str
    _optimizer: bptt.Adam | None
    _stale = 0  # passes in a row without improvement
    loss_curve_: list[float]
    loss_: float
    best_loss_: float | None
    n_iter_: int
    validation_scores_: list[float] | None
    best_validation_score_: float | None

    def _read(self, X: Any, y: Any, fresh: bool, classes: Any = None) -> tuple[Sequences, Array]:
        """Return sequences and targets; with `fresh`, store their features and classes."""
        raise NotImplementedError

    def _outputs(self, targets: Array) -> int:
        raise NotImplementedError

    def _to_model(self, targets: Array) -> Array:
        raise NotImplementedError

    def _score(self, sequences: Sequences, targets: Array) -> float:
        raise NotImplementedError

    def _hold_out(self, targets: Array, seed: int) -> tuple[Array, Array]:
        """Return the rows for training and the rows for validation."""
        raise NotImplementedError

    @contextmanager
    def _unchanged_by_errors(self) -> Iterator[None]:
        before = self.__dict__.copy()
        try:
            self._check_parameters()
            limit_worker_threads()
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _train_a_copy(self) -> None:
        """Put copies in the place of what training changes, so that an error can undo it."""
        parameters = self.get_params(deep=False)
        learned = {name: value for name, value in self.__dict__.items() if name not in parameters}
        self.__dict__.update(copy.deepcopy(learned))

    def _fit(self, X: Any, y: Any) -> Self:
        with self._unchanged_by_errors():
            fresh = not (self.warm_start and hasattr(self, "network_"))
            check.unmasked("y", y)
            sequences, targets = self._read(X, y, fresh)
            if fresh:
                self._forget()
            else:
                self._train_a_copy()
            validation = None
            if self.early_stopping:
                if self.validation_scores_ is None:
                    self.validation_scores_, self.best_validation_score_ = [], -math.inf
                self.best_loss_ = None
                rows, held_out = self._hold_out(targets, int(self._generator.integers(2**31)))
                validation = take(sequences, held_out), targets[held_out]
                sequences, targets = take(sequences, rows), targets[rows]
            if fresh:
                self._begin(sequences, targets)
            self._train(sequences, targets, self.max_iter, validation)
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        with self._unchanged_by_errors():
            if self.early_stopping:
                raise ValueError("partial_fit does not support early_stopping=True")
            fresh = not hasattr(self, "network_")
            check.unmasked("y", y)
            sequences, targets = self._read(X, y, fresh, classes)
            if fresh:
                self._forget()
                self._begin(sequences, targets)
            else:
                self._train_a_copy()
            self._train(sequences, targets, 1, None, until_stale=False)
        return self

    def _forget(self) -> None:
        """Reset everything that earlier training has left."""
        if isinstance(self.random_state, np.random.Generator):
            seed = int(self.random_state.integers(2**31))
        else:
            seed = check_random_state(self.random_state).randint(2**31 - 1)
        self._generator = np.random.default_rng(seed)
        self.loss_curve_ = []
        self.best_loss_ = math.inf
        self.validation_scores_ = None
        self.best_validation_score_ = None
        self._stale = 0

    def _begin(self, sequences: Sequences, targets: Array) -> None:
        """Make a new model for these data."""
        steps = np.concatenate([part.reshape(-1, self._input_size) for part in sequences])
        self._scale = Scale.of(steps, self.scale)
        self.network_ = self._make_model(self._outputs(targets), self._generator)
        self._optimizer = None

    def _make_model(self, outputs: int, rng: np.random.Generator) -> bptt.Sequential:
        width = self.hidden_size * (2 if self.bidirectional else 1)
        return bptt.Sequential(
            _CELLS[self.cell](
                self._input_size,
                self.hidden_size,
                self.num_layers,
                bidirectional=self.bidirectional,
                dropout=self.dropout if self.num_layers > 1 else 0.0,
                rng=rng,
            ),
            bptt.LastStep(),
            *([bptt.Dropout(self.dropout)] if self.dropout > 0 else []),
            bptt.Linear(width, outputs, rng=rng),
        )

    def _train(
        self,
        sequences: Sequences,
        targets: Array,
        passes: int,
        validation: tuple[Sequences, Array] | None,
        until_stale: bool = True,
    ) -> None:
        # Given the same optimiser object, the model continues with its moments.
        if until_stale or self._optimizer is None:
            self._optimizer = bptt.Adam(self.learning_rate_init)
        self.n_iter_ = 0
        watcher = _Passes(self, validation)
        self.network_._warns = False
        history = self.network_.fit(
            self._scaled(sequences),
            self._to_model(targets),
            loss=self._loss,
            optimizer=self._optimizer,
            epochs=passes,
            batch_size=self.batch_size,
            clip_norm=self.clip_norm,
            shuffle=self.shuffle,
            rng=self._generator,
            progress=bool(self.verbose) and redraws(),
            callbacks=[watcher],
        )
        if self.verbose and watcher.told:
            print(watcher.told)
        if history.interrupted:
            warn("Training interrupted by user.")
        elif until_stale and not self.network_.stop_training:
            warn(
                f"Maximum iterations ({passes}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )

    def network_input(self, X: Any) -> Any:
        """Return sequences X as `network_` takes them: in the scale of the training data.

        Returns
        -------
        ndarray of float32, or list of ndarray of float32
            (n, T, F), or n arrays (T_i, F) of a list.
        """
        return self._scaled(self._read_fitted(X))

    def _scaled(self, sequences: Sequences) -> Any:
        if isinstance(sequences, list):
            return [self._scale.apply(part) for part in sequences]
        return self._scale.apply(sequences)

    def _predict(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the outputs of the model, (n, outputs)."""
        limit_worker_threads()
        scaled = self._scaled(sequences)
        parts = scaled if isinstance(scaled, list) else [scaled]
        far = max(float(np.abs(part).max()) for part in parts)
        if self.scale and far > FAR:
            warn(
                f"X is up to {far:.3g} standard deviations away from the training data: give data "
                "in the same units"
            )
        outputs = np.asarray(self.network_.predict(scaled, progress=False))
        if not np.isfinite(outputs).all():
            n = int(np.isfinite(outputs).all(axis=1).argmin())
            raise ValueError(
                f"the network's output for X[{n}] is not finite: X[{n}] is too far from the "
                "training data, give it in their units"
            )
        return outputs

    def _read_fitted(self, X: Any) -> Sequences:
        check_is_fitted(self, "loss_curve_")
        return read_sequences(self, X, reset=False)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "loss_curve_")

    def _check_parameters(self) -> None:
        """Refuse parameters that are out of range, before anything changes."""
        for name in ("hidden_size", "num_layers", "batch_size", "max_iter"):
            check.size(name, getattr(self, name))
        if self.n_iter_no_change != math.inf:
            check.size("n_iter_no_change", self.n_iter_no_change)
        for name in ("bidirectional", "shuffle", "early_stopping", "scale", "warm_start"):
            check.flag(name, getattr(self, name))
        check.choice("cell", self.cell, *_CELLS)
        if not 0 <= check.real("dropout", self.dropout) < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not 0 < check.real("learning_rate_init", self.learning_rate_init) < math.inf:
            raise ValueError(
                f"learning_rate_init must be above 0 and finite, got {self.learning_rate_init}"
            )
        if self.clip_norm is not None and not check.real("clip_norm", self.clip_norm) > 0:
            raise ValueError(f"clip_norm must be above 0 or None, got {self.clip_norm}")
        if not check.real("tol", self.tol) >= 0:
            raise ValueError(f"tol must be at least 0, got {self.tol}")
        if not 0 < check.real("validation_fraction", self.validation_fraction) < 1:
            raise ValueError(
                f"validation_fraction must be between 0 and 1, got {self.validation_fraction}"
            )


class _Passes(bptt.Callback):
    """Stores loss and score after every pass and decides when to stop, as MLPClassifier does."""

    def __init__(
        self, estimator: SequenceEstimator, validation: tuple[Sequences, Array] | None
    ) -> None:
        self._estimator, self._validation = estimator, validation
        self._best: dict[str, Array] | None = None
        self._prints = estimator.verbose and not redraws()
        self.told = ""  # why training was stopped

    def on_train_begin(self) -> None:
        """Keep the parameters, in case no pass improves them."""
        if self._validation is not None:
            self._best = self.model.state_dict()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Store the loss; stop if there was no improvement for too long."""
        estimator, loss = self._estimator, logs["loss"]
        estimator.loss_curve_.append(loss)
        estimator.loss_, estimator.n_iter_ = loss, estimator.n_iter_ + 1
        if self._prints:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        if self._validation is not None:
            watched, improved = "Validation score", self._validate(*self._validation)
        else:
            best = math.inf if estimator.best_loss_ is None else estimator.best_loss_
            watched, improved = "Training loss", loss <= best - estimator.tol
            estimator.best_loss_ = min(best, loss)
        estimator._stale = 0 if improved else estimator._stale + 1
        if estimator._stale > estimator.n_iter_no_change:
            self.model.stop_training = True
            self.told = (
                f"{watched} did not improve more than tol={estimator.tol:f} for "
                f"{estimator.n_iter_no_change} consecutive epochs. Stopping."
            )

    def _validate(self, sequences: Sequences, targets: Array) -> bool:
        """Store the score on the validation data; tell whether it has improved."""
        estimator = self._estimator
        assert estimator.validation_scores_ is not None
        assert estimator.best_validation_score_ is not None
        score, best = estimator._score(sequences, targets), estimator.best_validation_score_
        estimator.validation_scores_.append(score)
        if self.model.history is not None:  # for the display
            self.model.history.metrics.setdefault("validation_score", []).append(score)
        if self._prints:
            print(f"Validation score: {score:f}")
        if score > best:
            self._best = self.model.state_dict()
            estimator.best_validation_score_ = score
        return score >= best + estimator.tol

    def on_train_end(self) -> None:
        """Restore the parameters of the best score."""
        if self._best is not None:
            self.model.load_state_dict(self._best)
