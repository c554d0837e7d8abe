"""Damaged files and checkpoints with wrong contents are refused, and nothing has changed."""

import copy
import json
import os

import numpy as np
import pytest

import bptt
from bptt._support import safetensors

X = np.random.default_rng(0).standard_normal((6, 4, 2))


def model(seed=0):
    return bptt.Sequential(bptt.GRU(2, 3, rng=seed), bptt.Linear(3, 2, rng=seed))


class Run:
    """A run that can be resumed, and all that a refused resumption may not change."""

    def __init__(self, path, generator="PCG64", **options):
        self.path = path
        self.stopping = bptt.EarlyStopping(patience=50)
        self.mine = Mine()
        self.rng = np.random.Generator(getattr(np.random, generator)(3))
        self.options = {
            "loss": "mse",
            "optimizer": bptt.Adam(0.01),
            "schedule": bptt.ReduceLROnPlateau(patience=1),
            "validation": (X, X),
            "metrics": ["rmse"],
            "progress": False,
            "early_stopping": self.stopping,
            "callbacks": [self.mine],
            "checkpoint": path,
            **options,
        }

    def fit(self, m, epochs, **options):
        return m.fit(X, X, epochs=epochs, rng=self.rng, **self.options, **options)

    def state(self, m):
        """Everything that the user has."""
        return (
            [(name, array.tobytes()) for name, array in m.state_dict().items()],
            m.history,
            m.stop_training,
            repr(self.rng.bit_generator.state),
            [dict(vars(callback)) for callback in (self.stopping, self.mine)],
            repr(self.options["optimizer"]),
            self.path.read_bytes(),
            sorted(os.listdir(self.path.parent)),
        )

    def refuses(self, match="run'"):
        m = model(1)
        before = self.state(m)
        with pytest.raises(ValueError, match=match) as error:
            self.fit(m, 3, resume=True)
        assert type(error.value) is ValueError, error.value
        assert len(str(error.value)) < 3000
        assert repr(self.state(m)) == repr(before)


class Mine(bptt.Callback):
    """A callback with a state of its own, which comes after the others."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, epoch, logs):
        self.seen = [*self.seen, logs["loss"]]

    def state_dict(self):
        return {"seen": self.seen, "array": np.arange(3)}

    def load_state_dict(self, state):
        self.seen = state["seen"]
        if len(state["array"]) != 3:
            raise KeyError("three numbers")


@pytest.fixture
def run(tmp_path):
    first = Run(tmp_path / "run")
    first.fit(model(), 2)
    return Run(tmp_path / "run")


def damaged(whole, rng):
    """Change a file: bytes flipped, replaced, cut off, taken out, put in, moved."""
    data, place = bytearray(whole), int(rng.integers(len(whole)))
    length = int(rng.integers(1, 9))
    kind = rng.integers(7)
    if kind == 0:
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        data[place : place + length] = rng.bytes(len(data[place : place + length]))
    elif kind == 2:
        del data[place:]
    elif kind == 3:
        del data[place : place + length]
    elif kind == 4:
        data[place:place] = rng.bytes(length)
    elif kind == 5:
        data[place:place] = data[place : place + length]
    else:
        data[place : place + length] = bytes(len(data[place : place + length]))
    return bytes(data)


def test_a_model_with_any_damage_is_refused(tmp_path):
    path, rng = tmp_path / "m", np.random.default_rng(17)
    model().save(path)
    whole = path.read_bytes()
    changed = {damaged(whole, rng) for _ in range(600)}
    changed |= {
        whole[:n] + bytes([whole[n] ^ 1 << n % 8]) + whole[n + 1 :] for n in range(len(whole))
    }
    for data in changed - {whole}:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"m'"):
            bptt.load(path)
        assert path.read_bytes() == data
    path.write_bytes(whole)
    assert repr(bptt.load(path)) == repr(model())


def test_a_checkpoint_with_any_damage_changes_nothing(run):
    rng, whole = np.random.default_rng(18), run.path.read_bytes()
    for data in {damaged(whole, rng) for _ in range(400)} - {whole}:
        run.path.write_bytes(data)
        run.refuses()
    run.path.write_bytes(whole)
    assert len(run.fit(model(1), 3, resume=True).loss) == 3


def test_no_byte_of_the_checksum_can_be_changed(tmp_path):
    """Also where it is said that there is one, and with another's checksum."""
    path = tmp_path / "m"
    model(1).save(path)
    other = safetensors.reading(path)
    with other as reader:
        another = reader.checksum.encode()
    model().save(path)
    whole = path.read_bytes()
    with safetensors.reading(path) as reader:
        checksum = reader.checksum.encode()
    for old, new in (
        (b"bptt.sha256", b"bptt.sha257"),
        (b'"bptt.sha256": "' + checksum + b'", ', b""),
        (checksum, another),
        (checksum, checksum.upper()),
        (checksum, b"0" * 64),
        (checksum, b""),
        (checksum[:1], b"\\u%04x" % checksum[0]),
        (b'\\"checksum\\"', b'\\"checksun\\"'),
        (b'": ', b'":\t'),
    ):
        assert old in whole
        text = whole[8:].replace(old, new, 1)
        length = int.from_bytes(whole[:8], "little") + len(new) - len(old)
        path.write_bytes(length.to_bytes(8, "little") + text)
        with pytest.raises(ValueError, match=r"checksum|damaged"):
            bptt.load(path)


def test_files_without_a_checksum_load(tmp_path):
    """Those of bptt 0.1.0, and those that other programs write."""
    numpy = pytest.importorskip("safetensors.numpy")
    m, path = model(), tmp_path / "m"
    m.save(path)
    with safetensors.reading(path) as reader:
        text = json.loads(reader.metadata["bptt"])
    del text["checksum"]
    numpy.save_file(m.state_dict(), path, {"bptt": json.dumps(text), "author": "Zoë 🦀"})
    assert bptt.load(path).predict(X).tobytes() == m.predict(X).tobytes()


def test_long_histories_come_back(tmp_path):
    """A header does not grow with every epoch: long lists of floats are tensors."""
    x, path = np.zeros((1, 1, 1)), tmp_path / "run"
    options = {"loss": "mse", "optimizer": bptt.SGD(0.1), "progress": False, "shuffle": False}
    options |= {"checkpoint": path, "checkpoint_every": 10**6, "resume": True}
    whole, m = bptt.Sequential(bptt.Linear(1, 1, rng=0)), bptt.Sequential(bptt.Linear(1, 1, rng=0))
    m.fit(x, x, epochs=1500, **options)
    assert int.from_bytes(path.read_bytes()[:8], "little") < 4000
    history = m.fit(x, x, epochs=1510, **options)
    path.unlink()
    assert history.loss == whole.fit(x, x, epochs=1510, **options).loss
    assert all(type(value) is float for value in history.loss)


@pytest.mark.parametrize(
    "state", [{"tensor": 3}, {"list": "x"}, {"dict": {"tensor": None}}, {"dict": 1}]
)
def test_no_state_of_a_callback_is_taken_for_another(state, tmp_path):
    class Keeps(Mine):
        def state_dict(self):
            return {"a": state}

        def load_state_dict(self, state):
            self.seen = state

    options = {"callbacks": [Keeps()]}
    Run(tmp_path / "run", **options).fit(model(), 1)
    Run(tmp_path / "run", **options).fit(model(), 1, resume=True)
    assert options["callbacks"][0].seen == {"a": state}


def test_arrays_of_any_dtype_of_a_callback_come_back(tmp_path):
    kinds = "?bBhHiIqQefd"

    class Keeps(Mine):
        def state_dict(self):
            return {kind: np.arange(4).astype(kind) for kind in kinds}

        def load_state_dict(self, state):
            self.seen = state

    options = {"callbacks": [Keeps()]}
    Run(tmp_path / "run", **options).fit(model(), 1)
    Run(tmp_path / "run", **options).fit(model(), 1, resume=True)
    for kind, array in options["callbacks"][0].seen.items():
        assert (
            array.dtype == np.dtype(kind) and array.tolist() == np.arange(4).astype(kind).tolist()
        )


def parts(name, **changes):
    return lambda training, tensors: training["parts"][name].update(changes)


def tensor(training, *path):
    value = training["parts"]
    for name in path:
        value = value[name]
    return value["tensor"]


def in_generator(*names_and_value):
    *names, last, value = names_and_value

    def change(training, tensors):
        state = training["parts"]["order"]["generator"]
        for name in names:
            state = state[name]
        state[last] = value

    return change


NAN, INF = float("nan"), float("inf")
NO_NUMBERS = ["x", None, True, [], {}, [1.0], NAN, INF, -INF, "tensor"]
WRONG = {
    "version true": lambda t, _: t.update(version=True),
    "version text": lambda t, _: t.update(version="1"),
    "epochs true": lambda t, _: t.update(epochs=True),
    "epochs real": lambda t, _: t.update(epochs=2.0),
    "epochs huge": lambda t, _: t.update(epochs=10**30),
    "epochs other": lambda t, _: t.update(epochs=3),
    "settings list": lambda t, _: t.update(settings=[]),
    "settings nested": lambda t, _: t["settings"].update(loss={"a": []}),
    "parts list": lambda t, _: t.update(parts=[]),
    "parts more": lambda t, _: t["parts"].update(more={}),
    "a tensor that is none": lambda t, _: t["parts"]["trainer"].update(seed={"tensor": "x"}),
    "a tensor by a list": lambda t, _: t["parts"]["trainer"].update(seed={"tensor": []}),
    "a list that is none": lambda t, _: t["parts"]["history"].update(loss={"list": 3}),
    "nested": lambda t, _: t["parts"].update(order=nested(900)),
    **{
        f"{name} {value!r}": lambda t, _, name=name, value=value: t["parts"].update({name: value})
        for name in ("trainer", "order", "history", "schedule", "run", "callbacks.0", "callbacks.1")
        for value in (None, 3, "x", [], {}, [{}])
    },
    **{
        f"{field} of history {value!r}": parts("history", **{field: value})
        for field in ("loss", "validation_loss", "lr")
        for value in (
            "oops",
            None,
            3.0,
            {},
            [],
            [1.0],
            [1.0, 2.0, 3.0],
            ["a", "b"],
            [True, False],
            [None, 1.0],
            [[1.0], [2.0]],
        )
    },
    "loss nan": parts("history", loss=[NAN, 1.0]),
    "lr nan": parts("history", lr=[0.1, NAN]),
    "lr infinite": parts("history", lr=[0.1, INF]),
    "metrics": parts("history", metrics={}),
    "metrics list": parts("history", metrics=[]),
    "metrics of others": parts("history", metrics={"accuracy": [1.0, 1.0]}),
    "metrics text": parts("history", metrics={"rmse": "xy", "validation_rmse": [1.0, 1.0]}),
    "metrics short": parts("history", metrics={"rmse": [1.0], "validation_rmse": [1.0, 1.0]}),
    "seconds": parts("history", seconds="3"),
    "seconds nan": parts("history", seconds=NAN),
    "interrupted": parts("history", interrupted=0),
    "history more": parts("history", extra=3),
    **{
        f"{field} of schedule {value!r}": parts("schedule", **{field: value})
        for field in ("lr", "bad", "cooldown")
        for value in (*NO_NUMBERS, -1)
    },
    **{f"bad of schedule {value!r}": parts("schedule", bad=value) for value in (0.5, 2**80)},
    "best nan": parts("schedule", best=NAN),
    "best text": parts("schedule", best="0"),
    "schedule more": parts("schedule", more=1),
    **{
        f"{field} of trainer {value!r}": parts("trainer", **{field: value})
        for field in ("seed", "steps")
        for value in (*NO_NUMBERS, -1, 0.5, 2**64)
    },
    **{
        f"vectors {value!r}": parts("trainer", vectors=value)
        for value in ("x", 3, None, [], [1, 2, 3], [[], [], []])
    },
    "vectors short": lambda t, x: resized(t, x, lambda a: a[:-1]),
    "vectors of another dtype": lambda t, x: resized(t, x, lambda a: a.astype("f8")),
    "vectors of whole numbers": lambda t, x: resized(t, x, lambda a: a.astype("i4")),
    "vectors of two dimensions": lambda t, x: resized(t, x, lambda a: a[None]),
    "vectors nan": lambda t, x: x[tensor(t, "trainer", "vectors", 0)].fill(NAN),
    "squares below 0": lambda t, x: x[tensor(t, "trainer", "vectors", 1)].fill(-1),
    "parameters nan": lambda _, x: x["0.bias_ih_l0"].fill(NAN),
    "parameters infinite": lambda _, x: x["1.weight"].fill(INF),
    "order of another dtype": lambda t, x: x.update({tensor(t, "order", "now"): np.arange(6)}),
    "order of two dimensions": lambda t, x: x.update(
        {tensor(t, "order", "now"): np.zeros((6, 1), "u8")}
    ),
    "order not all": lambda t, x: x[tensor(t, "order", "now")].fill(1),
    "order list": parts("order", now=[0, 1, 2, 3, 4, 5]),
    "generator list": parts("order", generator=[]),
    "generator other": parts("order", generator={"bit_generator": "Philox"}),
    "generator no text": parts("order", generator={"bit_generator": []}),
    **{
        f"generator {field} {value!r}": in_generator(field, value)
        for field in ("state", "has_uint32", "uinteger")
        for value in (None, "x", -1, 2**33, [], 0.5, {})
    },
    **{
        f"generator state {field} {value!r}": in_generator("state", field, value)
        for field in ("state", "inc")
        for value in (None, "x", -1, 2**128, [], 0.5)
    },
    "generator even": in_generator("state", "inc", 2),
    **{f"stopped {value!r}": parts("run", stopped=value) for value in (0, None, "no", [])},
    **{
        f"{field} of stopping {value!r}": parts("callbacks.0", **{field: value})
        for field in ("best", "wait", "best_epoch", "stopped_epoch")
        for value in ("x", [], {}, True, NAN)
        if field != "best" or value == value  # a loss of NaN can be the best so far
    },
    "wait below 0": parts("callbacks.0", wait=-1),
    **{
        f"weights {value!r}": parts("callbacks.0", weights=value)
        for value in ("x", 3, [], {}, {"a": 1})
    },
    "weights of another shape": lambda t, x: x.update(
        {tensor(t, "callbacks.0", "weights", "1.bias"): np.zeros(3, "f4")}
    ),
    "weights text": lambda t, _: t["parts"]["callbacks.0"]["weights"].update({"1.bias": "x"}),
    "stopping less": lambda t, _: t["parts"]["callbacks.0"].pop("wait"),
    "a callback's own": lambda t, x: x.update({tensor(t, "callbacks.1", "array"): np.arange(2)}),
    "a callback's own missing": lambda t, _: t["parts"]["callbacks.1"].pop("seen"),
}


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def resized(training, tensors, change):
    name = tensor(training, "trainer", "vectors", 0)
    tensors[name] = change(tensors[name])


def rewrite(path, change):
    """Change the state of training in a checkpoint, with the right checksum."""
    tensors, texts = safetensors.read(path)
    training = json.loads(texts["bptt.training"])
    change(training, tensors)
    safetensors.write(path, tensors, {**texts, "bptt.training": json.dumps(training)})


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_checkpoint_with_wrong_contents_changes_nothing(change, run):
    rewrite(run.path, change)
    run.refuses("^resume: ")


GENERATORS = {
    "MT19937": [("pos", 625), ("pos", -1), ("key", 3), ("key", [1])],
    "Philox": [("buffer_pos", 5), ("buffer_pos", -1), ("buffer", [1]), ("uinteger", 2**32)],
    "SFC64": [("has_uint32", 2), ("state", 3)],
    "PCG64DXSM": [("inc", 4), ("state", -1)],
}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(kind, *case) for kind, cases in GENERATORS.items() for case in cases],
)
def test_no_generator_gets_a_state_beyond_its_memory(kind, field, value, tmp_path):
    """NumPy takes any position in the buffer of a generator, and reads there."""

    def change(training, tensors):
        state = training["parts"]["order"]["generator"]
        (state if field in state and field != "state" else state["state"])[field] = value

    Run(tmp_path / "run", kind).fit(model(), 2)
    rewrite(tmp_path / "run", change)
    Run(tmp_path / "run", kind).refuses("^resume: .* state of order")


def test_a_schedule_that_has_no_steps_left_changes_nothing(tmp_path):
    options = {"schedule": bptt.OneCycleLR(0.1, total_steps=9)}
    Run(tmp_path / "run", **options).fit(model(), 2)
    rewrite(tmp_path / "run", parts("schedule", step=9))
    Run(tmp_path / "run", **options).refuses("has 0 steps left of total_steps=9")


def test_hostile_training_states_cost_little(run):
    texts = [
        "[" * 200_000,
        "[" + "[]," * 2_000_000 + "0]",
        '{"a":' * 100_000,
        "9" * 10**6,
        "NaN",
        "",
    ]
    metadata = safetensors.read(run.path)[1]
    for text in texts:
        raw = json.dumps({"__metadata__": {**metadata, "bptt.training": text}}).encode()
        run.path.write_bytes(len(raw).to_bytes(8, "little") + raw)
        run.refuses()


def test_early_stopping_takes_its_own_states_alone():
    stopping = bptt.EarlyStopping()
    good, before = stopping.state_dict(), copy.deepcopy(vars(stopping))
    for bad in (np.zeros(3), None, 3, "x", [], {}, {**good, "best": "x"}, {**good, "wait": None}):
        with pytest.raises((TypeError, ValueError), match=r"state|best|wait"):
            stopping.load_state_dict(bad)
        assert vars(stopping) == before
    stopping.load_state_dict(good)
