"""Callbacks: objects that `fit` calls while it trains, as in Keras."""

from bptt.callbacks.base import Callback
from bptt.callbacks.calls import Calls
from bptt.callbacks.early_stopping import EarlyStopping
from bptt.callbacks.files import CSVLogger, ModelCheckpoint
from bptt.callbacks.trackers import MLflow, TensorBoard, WandB

__all__ = [
    "CSVLogger",
    "Callback",
    "Calls",
    "EarlyStopping",
    "MLflow",
    "ModelCheckpoint",
    "TensorBoard",
    "WandB",
]
