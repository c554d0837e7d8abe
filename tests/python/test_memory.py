"""Memory that runs out: a call raises MemoryError; the process goes on."""

import os
import resource
import signal
import subprocess
import sys

import pytest

LIMITS = (0, 64, 256, 512, 1024, 2048, 4096, 16384, 2**18)  # KiB above what the process has

SETUP = """
import os, resource, sys
import numpy as np, bptt

rng = np.random.default_rng(0)
x = rng.standard_normal((64, 200, 32)).astype("float32")
ragged = [part[: 50 + 2 * n] for n, part in enumerate(x)]
tokens = rng.integers(0, 50, (64, 200)).astype("uint32")
of_steps, of_rows = rng.integers(0, 2, (64, 200)), rng.integers(0, 2, 64)
model = bptt.Sequential(bptt.LSTM(32, 64, rng=0), bptt.Linear(64, 2, rng=1))
reader = bptt.Sequential(
    bptt.Embedding(50, 32, rng=0), bptt.GRU(32, 64, rng=1, bidirectional=True), bptt.LastStep(),
    bptt.Linear(128, 2, rng=2),
)
layer = bptt.LSTM(32, 64, num_layers=2, bidirectional=True, rng=0)
options = {"loss": "cross_entropy", "progress": False}

def backward():
    y, _, tape = layer.forward(x, lengths=np.full(200, 64) - np.arange(200) % 7)
    layer.backward(tape, y)

calls = {
    "predict": lambda: model.predict(x, progress=False),
    "predict ragged": lambda: model.predict(ragged, progress=False),
    "evaluate": lambda: model.evaluate(x, of_steps, **options),
    "fit": lambda: model.fit(x, of_steps, optimizer=bptt.Adam(), metrics=["accuracy"], **options),
    "fit in chunks": lambda: model.fit(
        x, of_steps, optimizer=bptt.SGD(0.1), tbptt=20, sample_weight=np.ones(64), **options
    ),
    "fit tokens": lambda: reader.fit(tokens, of_rows, optimizer=bptt.SGD(0.1), **options),
    "layer": lambda: layer(x),
    "backward": backward,
    "stepper": lambda: model.stepper(64).step(x[:, 0]),
}
call = calls[sys.argv[1]]
for limit in map(int, sys.argv[2:]):
    child = os.fork()
    if not child:
        try:
            # The threads begin here: the system's linker aborts where a new one has no memory.
            bptt.LSTM(32, 64, rng=3)(x)
            has = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            most = has + 1024 * limit
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            try:
                call()
                end = 0
            except MemoryError:
                end = 1
            os._exit(end)
        finally:
            os._exit(2)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_AS")
@pytest.mark.parametrize(
    "call",
    [
        "predict",
        "predict ragged",
        "evaluate",
        "fit",
        "fit in chunks",
        "fit tokens",
        "layer",
        "backward",
        "stepper",
    ],
)
def test_no_call_aborts_under_a_limit(call):
    """The children of one process have a limit each."""
    run = subprocess.run(
        [sys.executable, "-c", SETUP, call, *map(str, LIMITS)],
        capture_output=True,
        text=True,
        env=os.environ | {"BPTT_NUM_THREADS": "2"},
    )
    ends = [int(line) for line in run.stdout.split()]
    assert len(ends) == len(LIMITS), run.stderr
    assert set(ends) <= {0, 1}, (ends, -signal.SIGABRT, run.stderr)
    assert ends[-1] == 0, "256 MiB are enough"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
