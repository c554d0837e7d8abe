"""Recurrent networks at the speed of the machine.

LSTM, GRU and vanilla RNN layers on NumPy arrays. Fused SIMD kernels in Rust compute the forward
pass and backpropagation through time. Names and layouts are torch.nn's.

Examples
--------
>>> import numpy as np, bptt
>>> model = bptt.Sequential(bptt.LSTM(1, 16, rng=0), bptt.Linear(16, 1, rng=1))
>>> x = np.sin(np.arange(200.0)).reshape(10, 20, 1)  # (N, T, F)
>>> history = model.fit(x[:, :-1], x[:, 1:], loss="mse", optimizer=bptt.Adam(0.01), epochs=100,
...                     rng=0, progress=False)
>>> history.loss[-1] < 0.1 * history.loss[0]
True
"""

from typing import TYPE_CHECKING, Any

from bptt import plot
from bptt._core import __version__, get_num_threads, set_num_threads, simd_level
from bptt._data.findings import DataWarning
from bptt._support import names as _names
from bptt.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    MLflow,
    ModelCheckpoint,
    TensorBoard,
    WandB,
)
from bptt.history import DivergedError, History
from bptt.layers import (
    GRU,
    LSTM,
    RNN,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    Linear,
    OneHot,
    Stepper,
    explain,
)
from bptt.losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss
from bptt.model import Sequential, check, load
from bptt.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, SparseAdam
from bptt.schedules import (
    CosineAnnealingLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "BCEWithLogitsLoss",
    "CSVLogger",
    "Callback",
    "CosineAnnealingLR",
    "CrossEntropyLoss",
    "DataWarning",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "History",
    "HuberLoss",
    "L1Loss",
    "LastStep",
    "LayerNorm",
    "Linear",
    "LinearLR",
    "MLflow",
    "MSELoss",
    "ModelCheckpoint",
    "OneCycleLR",
    "OneHot",
    "RMSprop",
    "ReduceLROnPlateau",
    "Sequential",
    "SparseAdam",
    "StepLR",
    "Stepper",
    "TensorBoard",
    "WandB",
    "__version__",
    "check",
    "explain",
    "get_num_threads",
    "load",
    "plot",
    "set_num_threads",
    "simd_level",
]

if not TYPE_CHECKING:  # type checkers know which names there are

    def __getattr__(name: str) -> Any:
        near = {known.lower(): known for known in __all__}.get(name.lower())
        known = "" if near is None else f": type bptt.{near}"
        raise _names.no_attribute("module 'bptt'", "MODULE", name, known)
