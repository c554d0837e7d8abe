"""Models in files: what comes back, and what is refused."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import bptt
from bptt._support import atomic, safetensors


def models():
    yield bptt.Sequential(bptt.LSTM(2, 3, num_layers=2, bidirectional=True, rng=0))
    yield bptt.Sequential(
        bptt.Embedding(5, 4, rng=0),
        bptt.LayerNorm(4, 1e-3, bias=False),
        bptt.LSTM(4, 6, proj_size=2, dropout=0.1, peepholes=True, batch_first=True, rng=1),
        bptt.Dropout(0.25),
        bptt.GRU(2, 3, reset_after=False, zoneout=0.1, rng=2),
        bptt.RNN(3, 4, nonlinearity="relu", layer_norm=True, bias=False, rng=3),
        bptt.LastStep(batch_first=True),
        bptt.LayerNorm(4, elementwise_affine=False),
        bptt.Linear(4, 2, bias=False, rng=4),
    )
    yield bptt.Sequential(bptt.OneHot(3), bptt.GRU(3, 2, dtype="float64", rng=0))
    yield bptt.Sequential(bptt.OneHot(3))


@pytest.mark.parametrize("model", list(models()), ids=repr)
def test_a_model_comes_back_with_all_its_bits(model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    for twin in (bptt.load(path), bptt.load(str(path))):
        assert repr(twin) == repr(model)
        for layer, other in zip(model.layers, twin.layers):
            assert type(layer) is type(other)
            hidden = ("_core", "_arrays", "_rng")
            for name, value in vars(layer).items():
                assert name in hidden or getattr(other, name) == value, name
        ours, theirs = model.state_dict(), twin.state_dict()
        assert list(ours) == list(theirs)
        for name, array in ours.items():
            assert array.tobytes() == theirs[name].tobytes()
            assert array.dtype == theirs[name].dtype
            assert theirs[name].flags.writeable
    first = path.read_bytes()
    bptt.load(path).save(path)
    assert path.read_bytes() == first


def test_special_numbers_come_back(tmp_path):
    model = bptt.Sequential(bptt.Linear(2, 2, bias=False))
    model.layers[0].parameters["weight"][:] = [[np.nan, -np.inf], [-0.0, 1e-45]]
    model.save(tmp_path / "m")
    twin = bptt.load(tmp_path / "m")
    assert twin.layers[0]._flat.tobytes() == model.layers[0]._flat.tobytes()


def test_the_safetensors_package_reads_the_weights(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    from safetensors.numpy import load_file

    for n, model in enumerate(models()):
        path = tmp_path / f"{n}.safetensors"
        model.save(path)
        theirs = load_file(path)
        assert sorted(theirs) == sorted(model.state_dict())
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(theirs[name], array)
        with safetensors.safe_open(path, "np") as file:
            assert json.loads(file.metadata()["bptt"])["version"] == 1


def test_the_old_file_stays_where_saving_fails(tmp_path, monkeypatch):
    model, path = next(models()), tmp_path / "model"
    model.save(path)
    before = path.read_bytes()
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:

            def full(*_):
                raise OSError("no space left")

            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="no space left"):
                bptt.Sequential(bptt.OneHot(3)).save(path)
        assert path.read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "there is none" / "model")


def test_a_link_stays_a_link_and_modes_are_the_users(tmp_path):
    model = next(models())
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "model")
    mask = os.umask(0o027)
    try:
        model.save(link)
    finally:
        os.umask(mask)
    assert link.is_symlink() and repr(bptt.load(link)) == repr(model)
    assert stat.S_IMODE((tmp_path / "real" / "model").stat().st_mode) == 0o640


def test_every_cut_off_file_is_refused(tmp_path):
    path, cut = tmp_path / "model", tmp_path / "cut"
    bptt.Sequential(bptt.RNN(1, 2, rng=0)).save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged"):
            bptt.load(cut)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="1 bytes after its last array"):
        bptt.load(cut)


def test_changed_bytes_of_a_header_are_a_value_error_or_another_model(tmp_path):
    """Whatever a byte becomes, loading raises nothing but a ValueError."""
    path, bad = tmp_path / "model", tmp_path / "bad"
    bptt.Sequential(bptt.RNN(1, 2, rng=0), bptt.Linear(2, 1, rng=0)).save(path)
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        changed = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            changed[rng.integers(end)] = rng.choice(np.frombuffer(b'0129{}[]",:xF\xff ', np.uint8))
        bad.write_bytes(changed)
        try:
            bptt.load(bad)
        except ValueError:
            refused += 1
    assert refused > 1000


def rewrite(path, change):
    """Change the metadata and tensors of a file."""
    tensors, metadata = safetensors.read(path)
    text = json.loads(metadata["bptt"])
    change(text, tensors)
    safetensors.write(path, tensors, {**metadata, "bptt": json.dumps(text)})


def of_layer(n, **settings):
    return lambda text, tensors: text["layers"][n].update(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text, tensors: text.update(version=2), "has version 2 .* reads version 1"),
        (lambda text, tensors: text.update(version="1"), "description of the layers is damaged"),
        (lambda text, tensors: text.pop("layers"), "description of the layers is damaged"),
        (lambda text, tensors: text["layers"].clear(), "at least one layer"),
        (lambda text, tensors: text["layers"].append(3), "layer 2 has no type"),
        (of_layer(0, type="Conv1d"), "layer 0 has unknown type 'Conv1d', must be one of Dropout, "),
        (of_layer(0, type="__import__"), "unknown type"),
        (of_layer(0, rng=3), "layer 0, GRU, has .*'rng'.* must have"),
        (lambda text, tensors: text["layers"][1].pop("bias"), "layer 1, Linear, has"),
        (of_layer(0, hidden_size="4"), "layer 0, GRU: hidden_size must be a whole number"),
        (of_layer(0, hidden_size=3), "layer 0 gives 3 features, layer 1 takes 4"),
        (of_layer(0, hidden_size=10**9), "more than there are in the file|too large|memory"),
        (of_layer(0, num_layers=2**20 - 1), "num_layers 1048575, more than the file has tensors"),
        (of_layer(0, hidden_size=10**30), r"hidden_size must be below 2\*\*62"),
        (of_layer(0, dtype="float64"), "the same dtype"),
        (of_layer(0, dtype="object"), "dtype must be float32 or float64"),
        (of_layer(0, batch_first=1), "batch_first must be True or False"),
        (lambda text, tensors: tensors.pop("1.bias"), "the parameter 1.bias is missing"),
        (
            lambda text, tensors: tensors.update({"1.bias": np.zeros((1, 2), np.float32)}),
            r"1.bias must be \(2,\) of float32, got \(1, 2\) of float32",
        ),
        (
            lambda text, tensors: tensors.update({"1.bias": np.zeros(2)}),
            r"1.bias must be \(2,\) of float32, got \(2,\) of float64",
        ),
        (
            lambda text, tensors: tensors.update({"2.bias": np.zeros(2)}),
            r"no layer has the tensors \['2.bias'\]",
        ),
    ],
)
def test_what_is_no_model_is_refused(change, message, tmp_path):
    path = tmp_path / "model"
    bptt.Sequential(bptt.GRU(3, 4, rng=0), bptt.Linear(4, 2, rng=0)).save(path)
    rewrite(path, change)
    with pytest.raises(ValueError, match=message):
        bptt.load(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "no bptt model in it"),
        ([], "its header must be a JSON object"),
        ({"__metadata__": {"bptt": 3}}, "metadata must map strings to strings"),
        ({"a": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}}, "dtype BF16"),
        ({"a": {"dtype": [], "shape": [], "data_offsets": [0, 2]}}, "dtype"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "not valid"),
        ({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, "not valid"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "fit neither"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "fit neither"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, "not valid"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "must have dtype, shape and data_offsets"),
        ({"a": 3}, "must have dtype, shape and data_offsets"),
        ('{"a": 1, "a": 2}', "a name occurs twice"),
        ("[" * 100_000, "not valid"),
        (b"\xff\xfe", "not valid"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(header, message, tmp_path):
    path = tmp_path / "model"
    text = header if isinstance(header, (str, bytes)) else json.dumps(header)
    text = text.encode() if isinstance(text, str) else text
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4 if b'"a"' in text else 0))
    with pytest.raises(ValueError, match=message):
        bptt.load(path)


def test_bad_arguments(tmp_path):
    model = next(models())
    for bad in (None, 3, b"x" * 0 or []):
        with pytest.raises(TypeError, match="path must be a str or a path"):
            model.save(bad)
        with pytest.raises(TypeError, match="path must be a str or a path"):
            bptt.load(bad)
    with pytest.raises(FileNotFoundError):
        bptt.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        bptt.load(tmp_path)

    class Mine(bptt.Linear):
        pass

    with pytest.raises(TypeError, match=r"only layers of bptt can be saved, got .*Mine"):
        bptt.Sequential(Mine(2, 2)).save(tmp_path / "m")


def leftovers(directory):
    return sorted(entry.name for entry in directory.iterdir() if entry.suffix == ".tmp")


KILLED = """
import os, signal, sys
import bptt
from bptt._support import atomic
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
bptt.Sequential(bptt.OneHot(3)).save(sys.argv[1])
"""

WAITS = """
import sys
from pathlib import Path
from bptt._support import atomic
with atomic.replacing(Path(sys.argv[1])) as file:
    file.write(b"late")
    file.flush()
    print("writes", flush=True)
    sys.stdin.readline()
"""

with_locks = pytest.mark.skipif(atomic.fcntl is None, reason="files cannot be locked here")


@with_locks
def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    model, path, other = bptt.Sequential(bptt.OneHot(4)), tmp_path / "m", tmp_path / "m.more"
    for target in (path, other):
        killed = subprocess.run([sys.executable, "-c", KILLED, target])
        assert killed.returncode == -signal.SIGKILL
    mine, others = leftovers(tmp_path)
    (tmp_path / ".m.tmp").touch()  # these are somebody else's
    (tmp_path / ".m.1-x.tmp").touch()
    model.save(path)
    assert leftovers(tmp_path) == sorted([others, ".m.tmp", ".m.1-x.tmp"]) and mine != others
    assert repr(bptt.load(path)) == repr(model)


@with_locks
def test_a_file_that_somebody_writes_is_no_leftover(tmp_path):
    """Whatever number its process has: those of other containers do not say whether it lives."""
    model, path = bptt.Sequential(bptt.OneHot(4)), tmp_path / "m"
    with subprocess.Popen(
        [sys.executable, "-c", WAITS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"writes\n"
        (written,) = leftovers(tmp_path)
        os.rename(tmp_path / written, tmp_path / ".m.0123456789abcdef.tmp")
        model.save(path)
        assert leftovers(tmp_path) == [".m.0123456789abcdef.tmp"]
        os.rename(tmp_path / ".m.0123456789abcdef.tmp", tmp_path / written)
        writer.communicate(b"\n")
    assert writer.returncode == 0
    assert path.read_bytes() == b"late" and not leftovers(tmp_path)


@with_locks
def test_many_that_save_at_once_do_not_remove_each_others_files(tmp_path):
    path, count = tmp_path / "m", 4
    models = [bptt.Sequential(bptt.RNN(1, 2, rng=n)) for n in range(count)]
    errors = []

    def save(model):
        try:
            for _ in range(100):
                model.save(path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]
    last = bptt.load(path).layers[0]._flat.tobytes()
    assert last in [model.layers[0]._flat.tobytes() for model in models]


@with_locks
def test_a_new_file_that_was_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    """Another process that opened it between its making and its locking has removed it."""
    lock, removed = atomic._lock, []

    def late(file):
        if not removed:
            removed.append(os.unlink(tmp_path / leftovers(tmp_path)[0]))
        return lock(file)

    monkeypatch.setattr(atomic, "_lock", late)
    model = bptt.Sequential(bptt.OneHot(4))
    model.save(tmp_path / "m")
    assert removed and repr(bptt.load(tmp_path / "m")) == repr(model)
