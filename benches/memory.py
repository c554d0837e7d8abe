"""Peak memory of training: on a long sequence, with checkpoints and without; on a 4 GiB file.

`make bench`, or `python benches/memory.py`. Every run is a process of its own, whose peak resident
memory the system counts; what the arrays of the caller take (x, y and their gradients) is the same
in all and is shown as "arrays". The file is a temporary one, of float32 and of float64 numbers:
those that are not the core's are converted by batches.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import bptt

BATCH, INPUTS, HIDDEN = 4, 32, 64
STEPS = (25_000, 100_000)


def train(checkpoint, steps):
    """One forward and backward pass of an LSTM; return the peak memory in MB, and seconds."""
    steps = int(steps)
    layer = bptt.LSTM(INPUTS, HIDDEN, rng=0)
    x = np.random.default_rng(0).standard_normal((steps, BATCH, INPUTS), np.float32)
    start = time.perf_counter()
    if checkpoint != "arrays":
        option = None if checkpoint == "none" else checkpoint
        y, _, tape = layer.forward(x, checkpoint=option)
        layer.backward(tape, np.ones_like(y))
    else:
        y = np.ones((steps, BATCH, HIDDEN), np.float32)
        _held = y, np.ones_like(y), np.ones_like(x)
    seconds = time.perf_counter() - start
    return peak(), seconds


def peak():
    """Return the peak resident memory of this process in MB."""
    # In kilobytes on Linux, in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def fit_mapped(path):
    """Train a model on a mapped file for an epoch; return the peak memory in MB, and seconds."""
    x = np.load(path, mmap_mode="r")
    y = np.arange(len(x)) % 2
    layers = bptt.LSTM(x.shape[2], HIDDEN, rng=0), bptt.LastStep(), bptt.Linear(HIDDEN, 2, rng=0)
    start = time.perf_counter()
    bptt.Sequential(*layers).fit(
        x, y, loss="cross_entropy", optimizer=bptt.Adam(), epochs=1, batch_size=64, progress=False
    )
    return peak(), time.perf_counter() - start


def write(path, dtype):
    """Write a file of 4 GiB."""
    steps, features = 256, 128
    count = 2**32 // (steps * features * np.dtype(dtype).itemsize)
    x = np.lib.format.open_memmap(path, "w+", dtype, (count, steps, features))
    rng = np.random.default_rng(0)
    for first in range(0, count, 256):
        x[first : first + 256] = rng.standard_normal((256, steps, features), dtype)


def run(*arguments):
    """Run this file with arguments in a process of its own; return the numbers it prints."""
    command = [sys.executable, __file__, *arguments]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in out.split()]


def main():
    """Print the table."""
    if len(sys.argv) > 1:
        what, *arguments = sys.argv[1:]
        if what == "write":
            write(*arguments)
        else:
            print(*(fit_mapped(*arguments) if what == "mapped" else train(what, *arguments)))
        return
    print(f"LSTM({INPUTS}, {HIDDEN}), batch {BATCH}, float32, forward and backward\n")
    print("| T | arrays (MB) | without (MB) | checkpoints (MB) | time with / without |")
    print("|---|---|---|---|---|")
    for steps in STEPS:
        runs = {}
        for checkpoint in ("arrays", "none", "sqrt"):
            runs[checkpoint] = run(checkpoint, str(steps))
        memory = " | ".join(f"{runs[name][0]:.0f}" for name in ("arrays", "none", "sqrt"))
        print(f"| {steps} | {memory} | {runs['sqrt'][1] / runs['none'][1]:.2f} |", flush=True)
    print(f"\nfit on a mapped file of 4 GiB, LSTM(128, {HIDDEN}), batches of 64, an epoch\n")
    print("| numbers | peak (MB) | seconds |")
    print("|---|---|---|")
    for dtype in ("float32", "float64"):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "x.npy"))
            # In a process of its own, too: on Linux, one's peak is at least that of who started it.
            run("write", path, dtype)
            megabytes, seconds = run("mapped", path)
        print(f"| {dtype} | {megabytes:.0f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
