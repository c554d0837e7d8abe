"""Recurrent networks as scikit-learn estimators. Needs scikit-learn (the extra "sklearn").

`SequenceClassifier` and `SequenceRegressor` have the habits of scikit-learn's MLPClassifier and
MLPRegressor; `SequenceForecaster` continues time series. They work in pipelines, searches and
cross-validation, and pass all of scikit-learn's checks of estimators.

Data are a table (n, T): n sequences of T steps of one feature; an array (n, T, F); or a list of n
arrays (T_i,) or (T_i, F) of any lengths. An estimator that was trained with a table takes tables
with as many columns, as all of scikit-learn does; sequences of other lengths are given in the other
forms. They are standardised inside, so no scaler is needed before.

In a worker process of joblib (``n_jobs=2``) an estimator uses as many threads as joblib allots to a
worker, in other processes that multiprocessing starts one; ``BPTT_NUM_THREADS`` overrules both.
Results are the same.

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
