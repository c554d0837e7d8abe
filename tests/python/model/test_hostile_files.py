"""Files that ask for more than they hold: refused before they cost time or memory."""

import json
import os
import tracemalloc

import numpy as np
import pytest

import bptt
from bptt._support import safetensors, strict_json


def header(text, more=b""):
    return len(text).to_bytes(8, "little") + text + more


def described(layers, **tensors):
    text = json.dumps({"version": 1, "layers": layers})
    return header(json.dumps({"__metadata__": {"bptt": text}, **tensors}).encode())


def described_as(text):
    return header(json.dumps({"__metadata__": {"bptt": text}}).encode())


def overlapping(*places):
    arrays = {
        str(n): {"dtype": "F32", "shape": [2], "data_offsets": p} for n, p in enumerate(places)
    }
    return header(json.dumps(arrays).encode(), bytes(20))


def empty_tensors(count):
    entry = json.dumps(EMPTY)
    entries = ", ".join(f'"training.{n}": {entry}' for n in range(count))
    return header(f"{{{entries}}}".encode())


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
DROPOUT = {"type": "Dropout", "p": 0.5}
HUGE = {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}
HOSTILE = {
    "a million layers": lambda: described([DROPOUT] * 10**6),
    "many layers": lambda: described([DROPOUT] * 80_000),
    "as many layers as there may be": lambda: described([DROPOUT] * 1024),
    "a million tensors": lambda: empty_tensors(10**6),
    "many tensors": lambda: empty_tensors(70_000),
    "tensors without a model": lambda: empty_tensors(30_000),
    "lists": lambda: header(b"[" + b"[]," * 33_000_000 + b"0]"),
    "some lists": lambda: header(b'{"a": [' + b"[]," * 2_500_000 + b"0]}"),
    "few lists": lambda: header(b'{"a": [' + b"[]," * 100_000 + b"0]}"),
    "objects": lambda: header(b"[" + b"{}," * 2_500_000 + b"0]"),
    "texts": lambda: header(b"[" + b'"a",' * 2_000_000 + b"0]"),
    "numbers": lambda: header(b"[" + b"1e9," * 2_000_000 + b"0]"),
    "deep": lambda: header(b"[" * 8_000_000),
    "deep objects": lambda: header(b'{"a":' * 200_000),
    "deep description": lambda: described_as("[" * 200_000),
    "lists in the description": lambda: described_as("[" + "[]," * 2_000_000 + "0]"),
    "hidden commas": lambda: header(
        b'{"__metadata__": {"bptt": "[0' + b"\\u002c0" * 1_000_000 + b']"}}'
    ),
    "a long name": lambda: header(b'{"' + b"a" * 8_000_000 + b'": 3}'),
    "a long number": lambda: header(b'{"a": ' + b"9" * 8_000_000 + b"}"),
    "a long dtype": lambda: header(
        b'{"a": {"dtype": "' + b"F" * 8_000_000 + b'", "shape": [], "data_offsets": [0, 0]}}'
    ),
    "an array of a terabyte": lambda: described([DROPOUT], a=HUGE),
    "a layer of a terabyte": lambda: described(
        [{"type": "Embedding", "num_embeddings": 2**20, "embedding_dim": 2**18, "dtype": "float32"}]
    ),
    "layers of nearly all there is": lambda: described(
        [
            {
                "type": "LayerNorm",
                "normalized_shape": 2**19,
                "eps": 1e-5,
                "elementwise_affine": True,
            }
            | {"bias": True, "dtype": "float32"}
        ]
        * 1024,
        **{"0.weight": {"dtype": "F32", "shape": [0, 2**40], "data_offsets": [0, 0]}},
    ),
    "overlap": lambda: overlapping([0, 8], [4, 12]),
    "twice the same bytes": lambda: overlapping([0, 8], [0, 8]),
    "a gap": lambda: overlapping([0, 8], [12, 20]),
    "backwards": lambda: overlapping([8, 0], [8, 16]),
    "a name twice": lambda: header(b'{"a": 1, "a": 2}'),
    "a name twice below": lambda: header(b'{"a": {"dtype": "F32", "dtype": "F64"}}'),
    "metadata twice": lambda: header(b'{"__metadata__": {}, "__metadata__": {}}'),
    "NaN": lambda: header(b'{"a": NaN}'),
    "Infinity": lambda: described_as(
        '{"version": 1, "layers": [{"type": "Dropout", "p": Infinity}]}'
    ),
    "more than infinite": lambda: described_as(
        '{"version": 1, "layers": [{"type": "Dropout", "p": 1e999}]}'
    ),
    "huge offsets": lambda: overlapping([0, 8], [8, 10**400]),
    "huge shape": lambda: header(
        b'{"a": {"dtype": "F32", "shape": [0, 4611686018427387903, 4611686018427387903], '
        b'"data_offsets": [0, 0]}}'
    ),
    "negative": lambda: overlapping([-8, 0], [0, 8]),
    "lone surrogates": lambda: described_as('{"version": 1, "layers": [{"type": "\\ud800"}]}'),
    "a lone surrogate as a name": lambda: header(b'{"\\ud800": 3}'),
    "UTF-16": lambda: header("{}".encode("utf-16")),
    "a byte-order mark": lambda: header(b"\xef\xbb\xbf{}"),
    "a header of 2**63 bytes": lambda: (2**63).to_bytes(8, "little") + b"{}",
    "a header of 2**64 - 1 bytes": lambda: b"\xff" * 8 + b"{}",
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_cost_little(make, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(make())
    with pytest.raises(ValueError, match=r"m'") as error:
        bptt.load(path)
    assert len(str(error.value)) < 3000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"m'"):
            bptt.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * path.stat().st_size + 2**25


@pytest.mark.parametrize(("whole", "error"), [(True, MemoryError), (False, ValueError)])
def test_a_file_of_a_terabyte_without_contents(whole, error, tmp_path):
    """Real lack of memory is a MemoryError, a file that says what it does not have a ValueError."""
    path = tmp_path / "m"
    array = HUGE if whole else {**HUGE, "data_offsets": [0, 2**40 - 4], "shape": [2**38 - 1]}
    text = described([{"type": "OneHot", "num_classes": 3}], **{"training.0": array})
    path.write_bytes(text)
    try:
        os.truncate(path, len(text) + 2**40)
    except OSError:
        pytest.skip("no sparse files here")
    with pytest.raises(error, match=r"m'"):
        bptt.load(path)


def test_reading_needs_no_second_copy_of_the_numbers(tmp_path):
    path = tmp_path / "m"
    m = bptt.Sequential(bptt.Embedding(2**16, 64, rng=0))
    m.save(path)
    tracemalloc.start()
    try:
        assert bptt.load(path).layers[0]._flat.tobytes()[:99] == m.layers[0]._flat.tobytes()[:99]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * path.stat().st_size  # the test itself makes a copy


def test_more_layers_than_a_file_may_have_are_not_saved(tmp_path):
    m = bptt.Sequential(bptt.OneHot(2), *(bptt.Dropout(0.1) for _ in range(1024)))
    with pytest.raises(ValueError, match="at most 1024 layers, this model has 1025"):
        m.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(strict_json, "MOST_VALUES", 20)
    with pytest.raises(ValueError, match="more than 20 values"):
        bptt.Sequential(bptt.GRU(2, 3, rng=0), bptt.Linear(3, 2, rng=1)).save(tmp_path / "m")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="callbacks can keep numbers in arrays"):
        safetensors.write(tmp_path / "m", {}, {"text": "a" * 2**23})
    with pytest.raises(TypeError, match="complex128"):
        safetensors.write(tmp_path / "m", {"a": np.ones(2, complex)}, {})
    assert not list(tmp_path.iterdir())


def test_errors_tell_only_a_little_of_large_values():
    for value in (
        np.zeros((2,) * 22),
        [np.zeros((2,) * 22)],
        list(range(10**6)),
        {"a": np.zeros((2,) * 22)},
    ):
        with pytest.raises((TypeError, ValueError)) as error:
            bptt.load(value)
        assert len(str(error.value)) < 3000
