"""Sequences of different lengths beside a full batch, and beside PyTorch's packed ones.

`make bench`, or `python benches/ragged.py`.

Everything is timed in turn in one process, for as long as takes 60 ms after a pause in which the
threads of the turn before fall asleep; medians of a turn's calls, and of the turns. The time of the
ragged batch is compared with that of the full one times the share of its steps: 1 is the cost of
what is computed, no more.
"""

import statistics
import time

import numpy as np

import bptt

ROUNDS = 9
SHAPES = ((100, 32, 32, 64), (100, 64, 64, 128), (100, 64, 128, 256))


def medians(*works):
    """Return the median time of each, run in turns."""
    times = [[] for _ in works]
    for turn in range(ROUNDS + 1):
        for work, kept in zip(works, times, strict=True):
            time.sleep(0.1)
            work()
            calls, end = [], time.perf_counter() + 0.06
            while not calls or time.perf_counter() < end:
                start = time.perf_counter()
                work()
                calls.append(time.perf_counter() - start)
            if turn > 0:
                kept.append(statistics.median(calls))
    return [statistics.median(kept) for kept in times]


def torch_pass(kind, layer, x, lengths):
    """Return torch's forward and backward pass on a packed batch, or None without torch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(bptt.get_num_threads())
    theirs = getattr(torch.nn, kind)(layer.input_size, layer.hidden_size)
    batch = torch.from_numpy(x)

    def work():
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            batch, torch.from_numpy(lengths), enforce_sorted=False
        )
        theirs(packed)[0].data.sum().backward()

    return work


def main():
    """Print the table."""
    print(f"{bptt.simd_level()}, {bptt.get_num_threads()} threads, float32, forward and backward\n")
    print("| layer | T, B, I, H | steps | ragged / (full x steps) | torch packed / ragged |")
    print("|---|---|---|---|---|")
    for kind in ("LSTM", "GRU", "RNN"):
        for T, B, I, H in SHAPES:  # noqa: E741
            rng = np.random.default_rng(0)
            layer = getattr(bptt, kind)(I, H, rng=0)
            x = rng.standard_normal((T, B, I)).astype(np.float32)
            dy = np.ones((T, B, H), np.float32)
            lengths = rng.integers(T // 4, T + 1, B)

            def work(lengths, layer=layer, x=x, dy=dy):
                tape = layer.forward(x, lengths=lengths)[2]
                layer.backward(tape, dy)

            works = [lambda work=work: work(None), lambda work=work, n=lengths: work(n)]
            theirs = torch_pass(kind, layer, x, lengths)
            full, ragged, *packed = medians(*works, *([theirs] if theirs else []))
            share = lengths.sum() / (T * B)
            other = f"{packed[0] / ragged:.1f}" if packed else "-"
            print(
                f"| {kind} | {T}, {B}, {I}, {H} | {share:.0%} | {ragged / (full * share):.2f} | "
                f"{other} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
