from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EVALUATION_ROWS",
    "EVALUATION_STEPS",
    "IGNORED",
    "LAB_EPSILON",
    "Dataset",
    "LabProgress",
    "LabTraining",
    "Layer",
    "Lengths",
    "Loss",
    "Model",
    "Optimizer",
    "Progress",
    "Stepper",
    "Tape",
    "Trainer",
    "__version__",
    "fma_peak",
    "get_num_threads",
    "lab_backward",
    "lab_forward",
    "set_num_threads",
    "simd_level",
]

__version__: str
IGNORED: int
LAB_EPSILON: float
EVALUATION_ROWS: int
EVALUATION_STEPS: int

def simd_level() -> str: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def fma_peak(double: bool, seconds: float) -> float: ...
def lab_forward(
    params: list[NDArray[np.float64]],
    x: NDArray[np.float64],
    state: list[NDArray[np.float64]],
    vocab_size: int,
) -> list[NDArray[np.float64]]: ...
def lab_backward(
    params: list[NDArray[np.float64]],
    arrays_of_pass: list[NDArray[np.float64]],
    targets: NDArray[np.float64],
    sizes: tuple[int, int],
    exact: bool,
    max_norm: float,
) -> tuple[float, list[NDArray[np.float64]]]: ...

@final
class LabProgress:
    def __new__(cls) -> LabProgress: ...
    @property
    def done(self) -> int: ...
    @property
    def loss_sum(self) -> float: ...
    @property
    def diverged(self) -> bool: ...

@final
class LabTraining:
    def __new__(
        cls,
        params: list[NDArray[np.float64]],
        lstm: bool,
        sizes: tuple[int, int],
        lr: float,
        max_norm: float,
        exact: bool,
    ) -> LabTraining: ...
    def walk(
        self, data: Dataset, progress: LabProgress, learn: bool, seconds: float
    ) -> LabProgress: ...
    def params(self) -> list[NDArray[np.float64]]: ...

@final
class Tape:
    def values(self, direction: int, slot: int) -> NDArray[Any]: ...

@final
class Stepper:
    def __new__(cls, model: Model, params: list[NDArray[Any]], rows: int) -> Stepper: ...
    def step(self, x: NDArray[Any], y: NDArray[Any]) -> bool: ...
    def set_table(self, table: NDArray[Any]) -> None: ...
    def reset(self) -> None: ...
    def states(self) -> list[tuple[NDArray[Any], NDArray[Any]]]: ...
    def set_states(self, given: list[tuple[NDArray[Any], NDArray[Any]]]) -> None: ...

@final
class Lengths:
    def __new__(cls, lengths: list[int]) -> Lengths: ...
    @staticmethod
    def packed(counts: list[int]) -> Lengths: ...
    @property
    def order(self) -> list[int]: ...
    def pack(self, x: NDArray[Any], batch_first: bool) -> NDArray[Any]: ...
    def unpack(self, packed: NDArray[Any], steps: int, batch_first: bool) -> NDArray[Any]: ...

@final
class Layer:
    @staticmethod
    def one_hot(classes: int) -> Layer: ...
    @staticmethod
    def embedding(num_embeddings: int, embedding_dim: int) -> Layer: ...
    @staticmethod
    def layer_norm(features: int, eps: float, weight: bool, bias: bool) -> Layer: ...
    @staticmethod
    def dropout(p: float) -> Layer: ...
    @staticmethod
    def last_step() -> Layer: ...
    @staticmethod
    def recurrent(
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        dropout: tuple[float, float, float],
        bidirectional: bool,
        proj_size: int,
        layer_norm: bool,
        bf16: bool,
    ) -> Layer: ...
    @staticmethod
    def linear(in_features: int, out_features: int, bias: bool) -> Layer: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def in_features(self) -> int | None: ...
    @property
    def out_features(self) -> int | None: ...
    def parameters(self) -> list[tuple[str, list[int]]]: ...
    def apply(
        self,
        params: NDArray[Any],
        x: NDArray[Any],
        lengths: Lengths | None,
        seed: int | None,
        directions: int = 1,
    ) -> NDArray[Any]: ...
    def apply_back(
        self,
        params: NDArray[Any],
        x: NDArray[Any],
        dy: NDArray[Any],
        lengths: Lengths | None,
        seed: int,
        directions: int = 1,
    ) -> tuple[NDArray[Any] | None, NDArray[Any]]: ...
    def forward(
        self,
        params: list[NDArray[Any]],
        x: NDArray[Any],
        state: list[NDArray[Any]],
        batch_first: bool,
        lengths: Lengths | None,
        record: tuple[int | None, bool] | None,
        version: int | None = None,
    ) -> tuple[NDArray[Any], list[NDArray[Any]], Tape | None]: ...
    def explain(self, x: NDArray[Any], batch_first: bool, lengths: Lengths | None) -> str: ...
    def backward(
        self,
        params: list[NDArray[Any]],
        x: NDArray[Any],
        y: NDArray[Any],
        tape: Tape,
        dy: NDArray[Any],
        dstate: list[NDArray[Any]],
        batch_first: bool,
        lengths: Lengths | None,
        want_dx: bool,
        want_grads: bool,
    ) -> tuple[NDArray[Any] | None, list[NDArray[Any]], NDArray[Any] | None]: ...

@final
class Dataset:
    def __new__(
        cls,
        inputs: NDArray[Any],
        targets: NDArray[Any] | None,
        offsets: list[int],
        per_sequence: bool = False,
        weights: list[float] | None = None,
        may_ignore: bool = False,
    ) -> Dataset: ...

@final
class Model:
    def __new__(cls, layers: list[Layer], double: bool) -> Model: ...
    @property
    def features(self) -> list[tuple[int | None, int]]: ...
    def outputs(self, rows: int) -> NDArray[Any]: ...
    def predict(
        self,
        params: list[NDArray[Any]],
        data: Dataset,
        done: int,
        outputs: NDArray[Any],
        states: list[tuple[NDArray[Any], NDArray[Any]]] | None,
        seconds: float,
    ) -> int: ...

@final
class Loss:
    @staticmethod
    def cross_entropy(*, label_smoothing: float, weight: list[float] | None) -> Loss: ...
    @staticmethod
    def bce_with_logits(*, pos_weight: list[float] | None) -> Loss: ...
    @staticmethod
    def mse() -> Loss: ...
    @staticmethod
    def mae() -> Loss: ...
    @staticmethod
    def huber(*, delta: float) -> Loss: ...

@final
class Optimizer:
    @staticmethod
    def sgd(*, lr: float, weight_decay: float, momentum: float, nesterov: bool) -> Optimizer: ...
    @staticmethod
    def sparse_adam(*, lr: float, betas: tuple[float, float], eps: float) -> Optimizer: ...
    @staticmethod
    def adam(
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        eps: float,
        decoupled: bool,
    ) -> Optimizer: ...
    @staticmethod
    def rmsprop(
        *,
        lr: float,
        weight_decay: float,
        alpha: float,
        eps: float,
        momentum: float,
        centered: bool,
    ) -> Optimizer: ...
    @staticmethod
    def adagrad(*, lr: float, weight_decay: float, lr_decay: float, eps: float) -> Optimizer: ...

@final
class Progress:
    def __new__(
        cls, *, batches: int = 0, loss_sum: float = 0.0, count: float = 0.0
    ) -> Progress: ...
    @property
    def done(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def batches(self) -> int: ...
    @property
    def loss_sum(self) -> float: ...
    @property
    def count(self) -> float: ...
    @property
    def diverged(self) -> bool: ...

@final
class Trainer:
    def __new__(
        cls,
        model: Model,
        params: list[NDArray[Any]],
        *,
        loss: Loss,
        optimizer: Optimizer,
        clip_norm: float | None,
        tbptt: int | None,
        stateful: bool,
        accumulate: int,
        metrics: list[str],
    ) -> Trainer: ...
    def set_seed(self, seed: int) -> None: ...
    def read_params(self) -> None: ...
    def seed(self) -> int: ...
    def write_params(self) -> bool: ...
    def train(
        self,
        data: Dataset,
        order: NDArray[np.uint64],
        batch_size: int,
        progress: Progress,
        seconds: float,
    ) -> Progress: ...
    def evaluate(self, data: Dataset, progress: Progress, seconds: float) -> Progress: ...
    def finish_epoch(self) -> None: ...
    def take_steps(self) -> NDArray[np.float64]: ...
    def take_metrics(self, evaluated: bool) -> list[float]: ...
    def set_rates(self, rates: list[tuple[float, float | None]]) -> None: ...
    @property
    def optimizer_steps(self) -> int: ...
    def optimizer_state(self) -> tuple[int, list[NDArray[Any]]]: ...
    def restore_optimizer(self, steps: int, vectors: list[NDArray[Any]]) -> None: ...
