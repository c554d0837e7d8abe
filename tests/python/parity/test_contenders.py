"""Everybody who takes part in the comparison computes the same, as far as they are installed."""

import pytest

import bptt
from bptt.bench import cases, contenders, runner

pytest.importorskip("torch")

from twins import torch_has_bf16

SIZES = (7, 3, 4, 6)
ROWS = [
    cases.LayerCase(cell, SIZES, train, option)
    for cell, option in [
        *(("LSTM", option) for option in ("", *cases.OPTIONS)),
        *((cell, option) for cell in ("GRU", "RNN") for option in ("", "packed", "bidirectional")),
    ]
    for train in (False, True)
]


@pytest.fixture(scope="module")
def libraries():
    return contenders.available(bptt.get_num_threads())[0]


@pytest.mark.parametrize("case", ROWS, ids=lambda case: f"{case.label}, {case.mode}")
def test_layers(libraries, case):
    if case.option == cases.BF16 and not torch_has_bf16():
        pytest.skip("torch has no LSTM in bf16 on this CPU")
    (result,) = runner.run([case], libraries, runner.QUICK)
    assert not result.wrong
    names = [timing.name for timing in result.timings]
    ours = ["bptt", "bptt float32"] if case.option == cases.BF16 else ["bptt"]
    assert names[: len(ours) + 1] == [*ours, "torch"]
    installed = {library.name for library in libraries}
    if case.option != cases.BF16:
        assert "JAX" not in installed or "JAX" in names
    if not case.train and case.option in ("", "packed", "bidirectional", "two layers"):
        assert "ONNX Runtime" not in installed or "ONNX Runtime" in names


@pytest.mark.parametrize("case", [cases.StepCase(), cases.FitCase()], ids=lambda case: case.label)
def test_the_lab_s_steps(libraries, case):
    (result,) = runner.run([case], libraries, runner.QUICK)
    assert not result.wrong
    assert {"bptt", "torch"} < {timing.name for timing in result.timings}
