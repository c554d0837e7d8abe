"""What the machine's limits do to bptt: threads, sizes, company, denormal numbers, import, wheel.

`make bench`, or `python benches/machine.py`.

Everything that is compared is timed in turn in one process; medians. With PyTorch installed, its
OpenMP threads are also kept busy beside.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import bptt

ROUNDS = 11


def work_of(kind, T, B, I, H, scale=1.0):  # noqa: E741
    """Return a forward and backward pass of a layer."""
    rng = np.random.default_rng(0)
    layer = getattr(bptt, kind)(I, H, rng=0)
    for values in layer.parameters.values():
        values *= scale
    x = (scale * rng.standard_normal((T, B, I))).astype(np.float32)
    dy = np.full((T, B, H), scale, np.float32)

    def work():
        tape = layer.forward(x)[2]
        layer.backward(tape, dy)

    return work


def medians(*works):
    """Return the median time of each, run in turns, each often enough for the clock."""
    repeats = []
    for work in works:
        work()
        start = time.perf_counter()
        work()
        repeats.append(max(1, int(0.01 / (time.perf_counter() - start))))
    times = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, kept, count in zip(works, times, repeats, strict=True):
            work()
            start = time.perf_counter()
            for _ in range(count):
                work()
            kept.append((time.perf_counter() - start) / count)
    return [statistics.median(kept) for kept in times]


def with_threads(threads, work):
    """Return the work on so many threads."""

    def run():
        bptt.set_num_threads(threads)
        work()

    return run


def scaling():
    """From one thread to all."""
    threads = bptt.get_num_threads()
    print(f"\nTimes as fast on {threads} threads as on one, forward and backward\n")
    print("| layer | T, B, I, H | times as fast |\n|---|---|---|")
    sizes = ((100, 1, 256, 256), (100, 16, 64, 64), (100, 32, 32, 64), (100, 32, 64, 128))
    for kind in ("LSTM", "GRU", "RNN"):
        for size in (*sizes, (100, 64, 128, 256)):
            work = work_of(kind, *size)
            one, all_of_them = medians(with_threads(1, work), with_threads(threads, work))
            print(f"| {kind} | {', '.join(map(str, size))} | {one / all_of_them:.2f} |", flush=True)


def linearity():
    """Time for each step, and for each row."""
    print("\nTime of an LSTM (64, 128), forward and backward, a step and row: 1 is the first one\n")
    print("| " + " | ".join(f"T = {T}" for T in (50, 100, 200, 400)) + " |\n|---|---|---|---|")
    times = medians(*(work_of("LSTM", T, 32, 64, 128) for T in (50, 100, 200, 400)))
    print("| " + " | ".join(f"{t / times[0] / 2**n:.2f}" for n, t in enumerate(times)) + " |\n")
    print("| " + " | ".join(f"B = {B}" for B in (32, 64, 128, 256)) + " |\n|---|---|---|---|")
    times = medians(*(work_of("LSTM", 50, B, 64, 128) for B in (32, 64, 128, 256)))
    print("| " + " | ".join(f"{t / times[0] / 2**n:.2f}" for n, t in enumerate(times)) + " |")


def rate(work, callers, seconds=1.5):
    """Return passes a second of so many Python threads together."""
    end, counts = time.perf_counter() + seconds, [0] * callers

    def call(n):
        while time.perf_counter() < end:
            work[n]()
            counts[n] += 1

    threads = [threading.Thread(target=call, args=(n,)) for n in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def company():
    """Throughput with a second caller, and with somebody else's threads."""
    print("\nThroughput, LSTM, forward and backward, as a share of one caller's alone\n")
    print("| T, B, I, H | two Python threads | beside PyTorch's threads |\n|---|---|---|")
    for size in ((100, 1, 256, 256), (100, 32, 64, 128)):
        work = [work_of("LSTM", *size) for _ in range(2)]
        alone = rate(work, 1)
        two = rate(work, 2)
        beside = "-"
        try:
            import torch
        except ImportError:
            pass
        else:
            stop, a = threading.Event(), torch.ones(1024, 1024)

            def multiply(stop=stop, a=a):
                while not stop.is_set():
                    a @ a

            busy = threading.Thread(target=multiply)
            busy.start()
            beside = f"{rate(work, 1) / alone:.2f}"
            stop.set()
            busy.join()
        print(f"| {', '.join(map(str, size))} | {two / alone:.2f} | {beside} |", flush=True)


def denormals():
    """Numbers below the normal range beside normal ones."""
    print("\nTime with weights, inputs and gradients of 1e-40 over that with normal ones\n")
    print("| layer | one row | 32 rows |\n|---|---|---|")
    for kind in ("LSTM", "GRU", "RNN"):
        ratios = []
        for B in (1, 32):
            normal, tiny = (work_of(kind, 50, B, 64, 128, scale) for scale in (1.0, 1e-40))
            normal, tiny = medians(normal, tiny)
            ratios.append(f"{tiny / normal:.2f}")
        print(f"| {kind} | {' | '.join(ratios)} |", flush=True)


def package():
    """Seconds to import, and megabytes."""

    def seconds(code):
        code = (
            f"import time, numpy; s = time.perf_counter(); {code}; print(time.perf_counter() - s)"
        )
        runs = (subprocess.run([sys.executable, "-c", code], capture_output=True) for _ in range(9))
        return statistics.median(float(run.stdout) for run in runs)

    print(f"\nimport bptt, beyond NumPy: {1e3 * seconds('import bptt'):.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(__file__).resolve().parent.parent
        pip = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "-w",
            folder,
            str(root),
        ]
        subprocess.run(pip, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        print(f"wheel: {wheel.stat().st_size / 1e6:.1f} MB")


def main():
    """Print everything."""
    print(f"{bptt.simd_level()}, {bptt.get_num_threads()} threads, float32")
    scaling()
    linearity()
    company()
    denormals()
    package()


if __name__ == "__main__":
    main()
