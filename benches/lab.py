"""The lab's own work beside what it replaces: `make bench`, or `python benches/lab.py`.

Each pair is run in turns in one process, and the ratio of the medians is printed. What needs
PyTorch is left out where it is not installed.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

import bptt
from bptt import lab

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))
import numpy_lab

ROUNDS = 7


def medians(*works):
    """Return the median time of each, in seconds, run in turns."""
    times = [[] for _ in works]
    for turn in range(ROUNDS + 1):
        for work, kept in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            if turn:  # the first is for warming up
                kept.append(time.perf_counter() - start)
    return [statistics.median(kept) for kept in times]


def row(name, theirs, ours):
    """Print a line of the table."""
    print(f"| {name} | {1e3 * theirs:.3g} | {1e3 * ours:.3g} | {theirs / ours:.1f} |", flush=True)


def part_one(functions, epochs):
    """Run the notebook's loop of part 1 on these functions; return the last epoch's loss."""
    names = ["a", "b", "EOS"]
    sets = [[names[t] for t in tokens] for tokens in numpy_lab.sequences()]
    np.random.seed(2023)  # noqa: NPY002
    functions.init_rnn(50, 4)
    params = functions.init_rnn(50, 4)
    encode = getattr(functions, "one_hot_encode_sequence", None) or encode_in_numpy
    loss = 0.0
    for _ in range(epochs):
        total = 0.0
        for part in (sets[80:90], sets[:80]):
            for tokens in part:
                inputs, targets = encode(tokens[:-1], 4), encode(tokens[1:], 4)
                hidden_state = np.zeros((50, 1))
                outputs, hidden_states = functions.forward_pass(inputs, hidden_state, params)
                loss, grads = functions.backward_pass(
                    inputs, outputs, hidden_states, targets, params
                )
                if len(part) == 80:
                    params = functions.update_parameters(params, grads, lr=3e-4)
                    total += loss
        loss = total / 80
    return loss


def encode_in_numpy(tokens, size):
    """Return the one-hot columns of names."""
    return numpy_lab.one_hot([{"a": 0, "b": 1, "EOS": 2}[t] for t in tokens], size)


def by_hand():
    """Time parts 1 and 2: the functions replaced, and whole training runs."""
    losses = [part_one(functions, 3) for functions in (numpy_lab, lab)]
    assert abs(losses[1] / losses[0] - 1) < 1e-9, losses
    times = medians(lambda: part_one(numpy_lab, 1), lambda: part_one(lab, 1))
    row("part 1, its functions replaced, an epoch", *times)
    for name, ours, theirs, epochs in (
        ("train_rnn", lab.train_rnn, numpy_lab.train_rnn, 100),
        ("train_lstm", lab.train_lstm, numpy_lab.train_lstm, 100),
    ):
        slow, fast = medians(
            lambda theirs=theirs: theirs(1),
            lambda ours=ours, epochs=epochs: ours(epochs=epochs, progress=False),
        )
        row(f"`{name}`, an epoch", slow, fast / epochs)


def forecasting():
    """Time part 4's loop in PyTorch, plain and under `install`, and `fit` on the same model."""
    import torch

    import bptt.torch

    torch.set_num_threads(bptt.get_num_threads())
    data = lab.airline_passengers()
    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    torch.manual_seed(0)
    lstm, linear = torch.nn.LSTM(1, 50, batch_first=True), torch.nn.Linear(50, 1)
    optimizer = torch.optim.Adam([*lstm.parameters(), *linear.parameters()], lr=1e-3)
    mse = torch.nn.MSELoss()

    def epoch():
        for first in range(0, len(x), 8):
            loss = mse(linear(lstm(x[first : first + 8])[0]), y[first : first + 8])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def installed():
        with bptt.torch.install():
            epoch()

    def layer():
        for first in range(0, len(x), 8):
            lstm(x[first : first + 8])[0].sum().backward()

    def installed_layer():
        with bptt.torch.install():
            layer()

    layers = (bptt.LSTM(1, 50, batch_first=True, rng=0), bptt.Linear(50, 1, rng=1))
    model = bptt.Sequential(*layers)
    epochs = 100

    def fit():
        model.fit(
            data.train_x,
            data.train_y,
            loss="mse",
            optimizer=bptt.Adam(1e-3),
            epochs=epochs,
            batch_size=8,
            shuffle=False,
            progress=False,
        )

    plain, ours, alone, ours_alone, fitted = medians(epoch, installed, layer, installed_layer, fit)
    row("part 4 in torch under `install`, an epoch", plain, ours)
    row("its LSTM alone, forward and backward", alone, ours_alone)
    row("part 4 with `fit`, an epoch", plain, fitted / epochs)
    print(
        f"\nUnder `install`, an epoch of part 4 takes {ours / plain:.0%} of its time; the LSTM's "
        f"share goes from {alone / plain:.0%} to {ours_alone / ours:.0%}, the rest is torch's."
    )


if __name__ == "__main__":
    print(f"{bptt.simd_level()}, {bptt.get_num_threads()} threads, NumPy {np.__version__}")
    print("\n| | before (ms) | bptt (ms) | times faster |\n|---|---|---|---|")
    by_hand()
    try:
        forecasting()
    except ImportError as error:
        print(f"\nwithout part 4: {error}")
