"""Copies and pickles of every public object: they work, and go their own way."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import bptt
from bptt import lab
from bptt.optimizers import Optimizer

X = np.random.default_rng(0).standard_normal((4, 6, 2)).astype(np.float32)
Y = X[..., :1] * 0.5
TOKENS = np.arange(24).reshape(4, 6) % 3

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda value, protocol=protocol: pickle.loads(
            pickle.dumps(value, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


def recurrent(kind, **options):
    return getattr(bptt, kind)(2, 3, rng=0, **options)


def model():
    return bptt.Sequential(recurrent("LSTM", num_layers=2), bptt.Linear(3, 1, rng=1))


def fitted():
    m = model()
    m.fit(X, Y, loss="mse", optimizer=bptt.Adam(0.01), progress=False, rng=0,
          schedule=bptt.StepLR(2), validation=(X, Y))  # fmt: skip
    return m


LAYERS = {
    "LSTM": lambda: recurrent("LSTM", peepholes=True, proj_size=2),
    "GRU": lambda: recurrent("GRU", reset_after=False, dtype="float64"),
    "RNN": lambda: recurrent("RNN", nonlinearity="relu", bidirectional=True),
    "bf16": lambda: recurrent("LSTM", compute="bf16"),
    "Linear": lambda: bptt.Linear(2, 3, rng=0),
    "LayerNorm": lambda: bptt.LayerNorm(2),
    "Dropout": lambda: bptt.Dropout(0.5, rng=0),
    "Embedding": lambda: bptt.Embedding(3, 2, rng=0),
    "OneHot": lambda: bptt.OneHot(3),
    "LastStep": lambda: bptt.LastStep(batch_first=True),
    "Sequential": model,
    "Sequential, fitted": fitted,
}


def run(layer):
    tokens = getattr(layer, "_core", None) is not None and layer._core.tokens
    if isinstance(layer, bptt.Sequential):
        return layer.predict(X)
    x = TOKENS if tokens else X
    y = layer(x)
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers_and_models(make, how):
    layer = make()
    run(layer)  # keeps memory for the next call
    twin = how(layer)
    want = run(layer)
    np.testing.assert_array_equal(run(twin), want)
    assert repr(twin) == repr(layer)
    if not hasattr(layer, "load_state_dict"):
        return
    for changed, kept in ((twin, layer), (layer, twin)):
        before = kept.state_dict()
        changed.load_state_dict({name: 2 * a + 1 for name, a in changed.state_dict().items()})
        for name, array in kept.state_dict().items():
            np.testing.assert_array_equal(array, before[name])


def test_a_copied_model_trains_on_its_own():
    m = fitted()
    twin = copy.copy(m)
    assert twin.layers[0] is not m.layers[0]
    before = m.state_dict()
    more = {"loss": "mse", "progress": False, "rng": 1, "schedule": None}
    history = twin.fit(X, Y, optimizer=None, **more)
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert m.fit(X, Y, optimizer=None, **more).loss == history.loss  # the moments were copied


def steppers():
    tokens = bptt.Sequential(
        bptt.Embedding(3, 2, rng=0), bptt.LayerNorm(2), recurrent("GRU"), bptt.Dropout(0.3),
        bptt.Linear(3, 3, rng=1),
    )  # fmt: skip
    yield "layer", recurrent("LSTM", num_layers=2), X
    yield "float64", recurrent("GRU", dtype="float64"), X
    yield "bf16", recurrent("LSTM", compute="bf16"), X
    yield "model", model(), X
    yield "tokens", tokens, TOKENS
    yield "one-hot", bptt.Sequential(bptt.OneHot(3), bptt.RNN(3, 3, rng=0)), TOKENS
    yield "no state", bptt.Sequential(bptt.Linear(2, 2, rng=0)), X
    yield "no parameters", bptt.Sequential(bptt.OneHot(3)), TOKENS


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize(
    ("owner", "x"), [s[1:] for s in steppers()], ids=[s[0] for s in steppers()]
)
def test_steppers(owner, x, how):
    """A copy continues from the state and the parameters of the stepper, not of the layer."""
    stepper = owner.stepper(4)
    whole = owner.stepper(4)
    want = [whole.step(x[:, t]).copy() for t in range(6)]
    for t in range(3):
        stepper.step(x[:, t])
    if owner.state_dict():
        kept = owner.state_dict()
        owner.load_state_dict({name: a + 1 for name, a in kept.items()})
    twin = how(stepper)
    if owner.state_dict():
        owner.load_state_dict(kept)
    for t in range(3, 6):
        np.testing.assert_array_equal(twin.step(x[:, t]), want[t])
    for t in range(3, 6):  # the original has not moved
        np.testing.assert_array_equal(stepper.step(x[:, t]), want[t])
    third = how(twin)
    third.reset()
    np.testing.assert_array_equal(third.step(x[:, 0]), want[0])


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
def test_tapes_and_records_say_why_not(how):
    lstm, linear, last = recurrent("LSTM"), bptt.Linear(2, 3), bptt.LastStep()
    for kept in (lstm.forward(X)[2], linear.forward(X)[1], last.forward(X)[1]):
        with pytest.raises(TypeError, match="cannot be copied or pickled, because it belongs"):
            how(kept)


OPTIMIZERS = {
    name: lambda name=name: getattr(bptt, name)(0.1)
    for name in bptt.__all__
    if inspect.isclass(getattr(bptt, name)) and issubclass(getattr(bptt, name), Optimizer)
}


#: Objects of every other public class.
def tracker(kind, module, *arguments):
    pytest.importorskip(module)
    return kind(*arguments)


OTHERS = {
    **OPTIMIZERS,
    "BCEWithLogitsLoss": lambda: bptt.BCEWithLogitsLoss(np.ones(3)),
    "CrossEntropyLoss": lambda: bptt.CrossEntropyLoss(np.ones(3), label_smoothing=0.1),
    "HuberLoss": lambda: bptt.HuberLoss(2.0),
    "L1Loss": bptt.L1Loss,
    "MSELoss": bptt.MSELoss,
    "CosineAnnealingLR": lambda: bptt.CosineAnnealingLR(3),
    "LinearLR": bptt.LinearLR,
    "OneCycleLR": lambda: bptt.OneCycleLR(0.1),
    "ReduceLROnPlateau": bptt.ReduceLROnPlateau,
    "StepLR": lambda: bptt.StepLR(3),
    "Callback": bptt.Callback,
    "EarlyStopping": bptt.EarlyStopping,
    "ModelCheckpoint": lambda: bptt.ModelCheckpoint("model"),
    "CSVLogger": lambda: bptt.CSVLogger("table.csv"),
    "TensorBoard": lambda: tracker(bptt.TensorBoard, "tensorboard", "runs"),
    "MLflow": lambda: tracker(bptt.MLflow, "mlflow"),
    "WandB": lambda: tracker(bptt.WandB, "wandb"),
    "History": lambda: fitted().history,
    "DataWarning": lambda: bptt.DataWarning("x has a mean of 300"),
    "DivergedError": lambda: bptt.DivergedError("training diverged", fitted().history),
    "ByHand": lambda: lab.train_rnn(epochs=1, hidden_size=3, progress=False),
    "PairSet": lambda: lab.PairSet([[0, 1]], [[1, 2]]),
    "Part": lambda: lab.train_lstm_torch(epochs=1, progress=False),
}


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_objects(make, how):
    value = make()
    twin = how(value)
    assert type(twin) is type(value)
    if not isinstance(value, bptt.Callback):
        assert repr(twin) == repr(value)
    if isinstance(value, bptt.DivergedError):
        assert twin.history == value.history


def test_every_public_class_is_copied_here():
    classes = {
        name
        for module in (bptt, lab)
        for name in module.__all__
        if inspect.isclass(getattr(module, name))
    }
    assert classes - OTHERS.keys() - LAYERS.keys() - {"Stepper"} == set()


def test_a_pickle_of_read_only_memory_can_be_trained():
    """Readers of pickles may map a file, or share memory with other processes."""
    layer, buffers = recurrent("GRU"), []
    data = pickle.dumps(layer, 5, buffer_callback=buffers.append)
    given = [memoryview(bytes(1) + bytes(buffer.raw()))[1:] for buffer in buffers]  # misaligned
    twin = pickle.loads(data, buffers=given)
    np.testing.assert_array_equal(twin(X)[0], layer(X)[0])
    twin.parameters["bias_ih_l0"][:] = 1
    twin.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(twin(X)[0], layer(X)[0])
