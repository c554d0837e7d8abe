"""`SequenceClassifier` and `SequenceRegressor`: a class, or numbers, for every sequence."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from bptt._support.check import unmasked
from bptt._support.entry import entry
from bptt.sklearn._base import SequenceEstimator
from bptt.sklearn._sequences import Scale, Sequences, r_squared, read_sequences

Array = NDArray[Any]


class SequenceClassifier(ClassifierMixin, SequenceEstimator):
    """A recurrent network that predicts a class for every sequence.

    LSTM, GRU or RNN layers, the last step of their output, a linear layer and a softmax, trained
    with cross-entropy and Adam. It behaves like `sklearn.neural_network.MLPClassifier`.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray
        The classes, sorted.
    {attributes}

    Notes
    -----
    X is a table (n, T) of T steps of one feature, an array (n, T, F), or a list of n arrays (T_i,)
    or (T_i, F) of any lengths. The loss is in nats; the score is the accuracy. The outputs of
    `network_` are logits, in the order of `classes_`.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt.sklearn import SequenceClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [np.sin(k * np.arange(rng.integers(10, 30))) for k in (0.5, 1.0) for _ in range(20)]
    >>> y = ["slow"] * 20 + ["fast"] * 20
    >>> classifier = SequenceClassifier(8, learning_rate_init=0.02, max_iter=40, random_state=0)
    >>> classifier = classifier.set_params(tol=0.01).fit(X, y)
    >>> classifier.predict([np.sin(0.5 * np.arange(15)), np.sin(np.arange(25))]).tolist()
    ['slow', 'fast']

    The gates for a sequence, and the class after its last step, step by step:

    >>> steps = classifier.network_input(X[:1])[0]
    >>> y, state, gates = classifier.network_.layers[0](steps, return_gates=True)
    >>> gates["f_l0"].shape == (len(X[0]), 8)
    True
    >>> stepper = classifier.network_.stepper()
    >>> classes = [classifier.classes_[stepper.step(step).argmax()] for step in steps]
    >>> print(classes[-1])
    slow
    """

    _loss = "cross_entropy"

    @entry
    def fit(self, X: Any, y: Any) -> Self:
        """Train with sequences X and classes y, (n,)."""
        return self._fit(X, y)

    @entry
    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Make one pass over some data, continuing from the previous call.

        The first call needs all classes, unless y has them all. Its X determines the scale.
        """
        unmasked("classes", classes)
        return self._partial_fit(X, y, classes)

    @entry
    def predict(self, X: Any) -> Array:
        """Return the most likely class of every sequence, (n,)."""
        sequences = self._read_fitted(X)
        predicted: Array = self.classes_[self._predict(sequences).argmax(axis=1)]
        return predicted

    @entry
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the mean accuracy, the share of sequences whose class is predicted."""
        unmasked("y", y)
        return float(super().score(X, y, sample_weight))

    @entry
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities of the classes, (n, classes), in the order of `classes_`."""
        return np.exp(self.predict_log_proba(X))

    @entry
    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithms of `predict_proba`."""
        logits = self._predict(self._read_fitted(X)).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        result: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return result

    def _read(self, X: Any, y: Any, fresh: bool, classes: Any = None) -> tuple[Sequences, Array]:
        sequences = read_sequences(self, X, reset=fresh, y=y)
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        check_consistent_length(sequences, y)
        given = np.unique(y if classes is None else column_or_1d(classes))
        if fresh:
            self.classes_ = given
        elif classes is not None and not np.array_equal(given, self.classes_):
            raise ValueError(
                "classes must be those of the first call of partial_fit, "
                f"{self.classes_.tolist()}, got {given.tolist()}"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(
                f"y must hold classes among {self.classes_.tolist()}, got {unknown.tolist()}"
            )
        return sequences, np.searchsorted(self.classes_, y)

    def _outputs(self, targets: Array) -> int:
        return len(self.classes_)

    def _to_model(self, targets: Array) -> Array:
        return targets

    def _score(self, sequences: Sequences, targets: Array) -> float:
        return float(np.mean(self._predict(sequences).argmax(axis=1) == targets))

    def _hold_out(self, targets: Array, seed: int) -> tuple[Array, Array]:
        rows = np.arange(len(targets))
        train, held_out = train_test_split(
            rows, test_size=self.validation_fraction, stratify=targets, random_state=seed
        )
        return train, held_out


class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """A recurrent network that predicts one number, or several, for every sequence.

    LSTM, GRU or RNN layers, the last step of their output and a linear layer, trained with the mean
    squared error and Adam. It behaves like `sklearn.neural_network.MLPRegressor`.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    Notes
    -----
    X is a table (n, T) of T steps of one feature, an array (n, T, F), or a list of n arrays (T_i,)
    or (T_i, F) of any lengths; y is (n,) or (n, outputs). With ``scale=True`` y is standardised,
    too, so the loss is relative to its variance; so are the outputs of `network_`. The score is
    R^2.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt.sklearn import SequenceRegressor
    >>> X = np.random.default_rng(0).uniform(size=(200, 10))
    >>> y = X.mean(axis=1)
    >>> regressor = SequenceRegressor(16, max_iter=60, tol=0.01, random_state=0).fit(X, y)
    >>> regressor.score(X, y) > 0.9
    True
    """

    _loss = "mse"

    @entry
    def fit(self, X: Any, y: Any) -> Self:
        """Train with sequences X and targets y, (n,) or (n, outputs)."""
        return self._fit(X, y)

    @entry
    def partial_fit(self, X: Any, y: Any) -> Self:
        """Make one pass over some data, continuing from the previous call.

        The data of the first call determine the scale.
        """
        return self._partial_fit(X, y)

    @entry
    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return predictions for the sequences, (n,) or (n, outputs) as y in `fit`."""
        outputs = self._predict_targets(self._read_fitted(X))
        return outputs[:, 0] if self._target_rank == 1 else outputs

    @entry
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R^2 of the predictions for sequences X."""
        unmasked("y", y)
        targets = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
        return r_squared(targets, self.predict(X), sample_weight)

    def _predict_targets(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return (n, outputs) in the units of y."""
        return self._target_scale.undo(self._predict(sequences))

    def _read(self, X: Any, y: Any, fresh: bool, classes: Any = None) -> tuple[Sequences, Array]:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        sequences = read_sequences(self, X, reset=fresh, y=y)
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y", estimator=self)
        check_consistent_length(sequences, y)
        targets = y.reshape(len(y), -1)
        if fresh:
            self._target_rank = y.ndim
        elif targets.shape[1] != len(self._target_scale.mean):
            raise ValueError(
                "y must have as many outputs as in the first fit, "
                f"{len(self._target_scale.mean)}, got {targets.shape[1]}"
            )
        return sequences, targets

    def _begin(self, sequences: Sequences, targets: Array) -> None:
        super()._begin(sequences, targets)
        self._target_scale = scale = Scale.of(targets, self.scale)
        for parameter in self.network_.layers[-1].parameters.values():
            parameter[scale.constant] = 0  # a constant target is known: its mean

    def _outputs(self, targets: Array) -> int:
        return int(targets.shape[1])

    def _to_model(self, targets: Array) -> Array:
        return self._target_scale.apply(targets, "y")

    def _score(self, sequences: Sequences, targets: Array) -> float:
        return r_squared(targets, self._predict_targets(sequences))

    def _hold_out(self, targets: Array, seed: int) -> tuple[Array, Array]:
        rows = np.arange(len(targets))
        train, held_out = train_test_split(
            rows, test_size=self.validation_fraction, random_state=seed
        )
        if len(held_out) < 2:
            raise ValueError(
                f"early_stopping needs two or more sequences for R^2, but it holds out "
                f"{len(held_out)} of {len(rows)}: raise validation_fraction or give more data"
            )
        return train, held_out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
