"""What the machine's limits do to bptt: threads, sizes, company, values, import, wheel.

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


def work_of(kind, T, B, I, H, dtype="float32", **scales):  # noqa: E741
    """Return a forward and backward pass of a layer; `scales` multiply its weights, x and dy."""
    rng = np.random.default_rng(0)
    layer = getattr(bptt, kind)(I, H, dtype=dtype, rng=0)
    for values in layer.parameters.values():
        values *= scales.get("weights", 1.0)
    x = (scales.get("x", 1.0) * rng.standard_normal((T, B, I))).astype(dtype)
    dy = (scales.get("dy", 1.0) * rng.standard_normal((T, B, H))).astype(dtype)

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


# Powers of ten; numbers below 1e-38 (float32) and 1e-308 (float64) are denormal.
SCALES = {
    "float32": (-45, -42, -40, -38, -36, -30, -20, -10, 10, 20, 30, 37),
    "float64": (-323, -310, -300, -200, -160, -100, 100, 200, 300, 307),
}


def layer_values():
    """Tiny and huge numbers beside ordinary ones, in a layer."""
    print(
        "\nTime with weights, x, dy or all of them times a scale over that with ordinary numbers:"
    )
    print("the slowest scale, forward and backward, (T, I, H) = (50, 64, 128)\n")
    print("| layer | dtype | one row | 32 rows |\n|---|---|---|---|")
    parts = (("weights",), ("x",), ("dy",), ("weights", "x", "dy"))
    for kind in ("LSTM", "GRU", "RNN"):
        for dtype, powers in SCALES.items():
            worst = []
            for B in (1, 32):
                works = [work_of(kind, 50, B, 64, 128, dtype)]
                names = ["ordinary"]
                for power in powers:
                    scale = float(f"1e{power}")
                    for part in parts:
                        scales = dict.fromkeys(part, scale)
                        works.append(work_of(kind, 50, B, 64, 128, dtype, **scales))
                        names.append(f"{' '.join(part)} 1e{power}")
                ordinary, *times = medians(*works)
                slowest = max(range(len(times)), key=times.__getitem__)
                worst.append(f"{times[slowest] / ordinary:.2f} ({names[1 + slowest]})")
            print(f"| {kind} | {dtype} | {' | '.join(worst)} |", flush=True)


def fit_values():
    """Gradients that vanish on their way, and moments that decay, in a fit."""
    print("\nTime of fit over that with ordinary gradients. Vanishing: LSTM(3, 64), LastStep and")
    print("Linear on 256 rows of 300 steps, beside a target at every step. Decaying: Embedding")
    print("(500, 512) and Linear, where after 1500 steps with one token the moments of the others")
    print("are tiny, beside all tokens\n")
    print("| optimiser | vanishing | decaying |\n|---|---|---|")
    rng = np.random.default_rng(0)

    def numbers(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    x, of_every, of_last = numbers(256, 300, 3), numbers(256, 300, 1), numbers(256, 1)
    tokens, of_tokens = rng.integers(0, 500, (256, 5)).astype(np.uint32), numbers(256, 5, 1)
    optimizers = bptt.optimizers
    for optimizer in (
        optimizers.SGD(lr=1e-5, momentum=0.9),
        optimizers.Adam(lr=1e-3),
        optimizers.RMSprop(lr=1e-3, momentum=0.9),
        optimizers.Adagrad(lr=1e-3),
    ):
        options = {"loss": "mse", "optimizer": optimizer, "batch_size": 256, "progress": False}

        def fit(x, y, *layers, before=0, options=options):
            model = bptt.Sequential(*layers)
            model.fit(x, y, **options)
            if before:
                model.fit(np.zeros_like(x), y, epochs=before, **options)
                x = np.zeros_like(x)
            return lambda: model.fit(x, y, epochs=2, **options)

        first, table = lambda: bptt.LSTM(3, 64, rng=0), lambda: bptt.Embedding(500, 512, rng=0)
        ordinary, vanishing = medians(
            fit(x, of_every, first(), bptt.Linear(64, 1, rng=1)),
            fit(x, of_last, first(), bptt.LastStep(), bptt.Linear(64, 1, rng=1)),
        )
        all_tokens, one_token = medians(
            fit(tokens, of_tokens, table(), bptt.Linear(512, 1, rng=1)),
            fit(tokens, of_tokens, table(), bptt.Linear(512, 1, rng=1), before=1500),
        )
        name = type(optimizer).__name__
        print(f"| {name} | {vanishing / ordinary:.2f} | {one_token / all_tokens:.2f} |", flush=True)


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
    layer_values()
    fit_values()
    package()


if __name__ == "__main__":
    main()
