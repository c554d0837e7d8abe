"""Recurrent networks as scikit-learn estimators. Needs scikit-learn (the extra "sklearn").

`SequenceClassifier` and `SequenceRegressor` follow scikit-learn's MLPClassifier and MLPRegressor.
`SequenceForecaster` continues time series. All three work in pipelines, searches and
cross-validation, and pass scikit-learn's estimator checks.

Data are a table (n, T): n sequences of T steps with one feature; an array (n, T, F); or a list of n
arrays (T_i,) or (T_i, F) of any lengths. An estimator that was fitted with a table takes tables
with the same number of columns, as everywhere in scikit-learn; use the other forms for sequences of
other lengths. Estimators standardise their data, so they need no scaler.

Tables and sequences may be objects of pandas or polars. `SequenceForecaster` reads these along
their dates and returns forecasts in the same form; for the others a frame in a list is a sequence,
a MultiIndex of names and dates is several, and in any other frame each row is a sequence.

In a worker process of joblib (``n_jobs=2``) an estimator uses the number of threads that joblib
allots to a worker. In other processes of multiprocessing it uses one. ``BPTT_NUM_THREADS``
overrides both. Results do not depend on the number of threads.

Examples
--------
>>> import numpy as np
>>> from sklearn.model_selection import GridSearchCV
>>> from bptt.sklearn import SequenceClassifier
>>> X = np.random.default_rng(0).standard_normal((60, 12))
>>> y = X.sum(axis=1) > 0
>>> classifier = SequenceClassifier(max_iter=15, tol=0.01, n_iter_no_change=3, random_state=0)
>>> search = GridSearchCV(classifier, {"cell": ["gru", "rnn"]}, cv=2)
>>> import warnings; warnings.simplefilter("ignore")  # few iterations
>>> sorted(search.fit(X, y).best_params_)
['cell']
"""

from bptt._support.extras import require

require("sklearn", "sklearn")

from bptt.sklearn._estimators import SequenceClassifier, SequenceRegressor  # noqa: E402
from bptt.sklearn._forecaster import SequenceForecaster, make_windows  # noqa: E402

__all__ = ["SequenceClassifier", "SequenceForecaster", "SequenceRegressor", "make_windows"]
