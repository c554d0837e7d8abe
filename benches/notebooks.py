"""The notebooks' models, trained here and in PyTorch: final losses over seeds, and times.

`python benches/notebooks.py`, some ten minutes; `--quick` sees that it runs: one seed, one epoch.

Both start from the same weights, take the same batches in the same order (dropout draws its own),
and run in one process, by turns. Data and sizes are those of examples/*.ipynb.
"""

import argparse
import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import bptt
from bptt import lab
from bptt.sklearn import make_windows

EXAMPLES = Path(__file__).parent.parent / "examples"


@dataclass
class Case:
    """A model, its data and how it is trained."""

    name: str
    layers: object  # a function of a seed that gives the layers
    x: object  # list of (T,) tokens or (T, F)
    y: np.ndarray
    loss: str
    lr: float
    epochs: int
    batch_size: int
    tbptt: int | None = None


def from_notebook(name, *markers):
    """Run the cells of a notebook that hold one of the markers; return what they define."""
    cells = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    space = {}
    for marker in markers:
        (source,) = [source for source in sources if marker in source]
        with contextlib.redirect_stdout(None):
            exec(source, space)
    return space


def characters():
    """Return the character model."""
    space = from_notebook("characters", "import lzma", "paragraphs =", "def rows(")
    size = len(space["characters"])
    x, y = space["rows"](space["tokens"][: space["split"]], 16)

    def layers(seed):
        return [
            bptt.Embedding(size, 32, rng=seed),
            bptt.GRU(32, 192, rng=seed + 1),
            bptt.Dropout(0.2, rng=seed + 2),
            bptt.Linear(192, size, rng=seed + 3),
        ]

    return Case("characters", layers, x, y, "cross_entropy", 4e-3, 8, 16, tbptt=64)


def forecasting():
    """Return the network that the notebook's search takes, scaled as the estimator does it."""
    x, y = make_windows(np.log(lab.airline_passengers().series[:108].astype(float)), 24, 12)
    x, y = x - x[:, -1:], y - x[:, -1:]
    x, y = (x - x.mean()) / x.std(), (y - y.mean(axis=0)) / y.std(axis=0)

    def layers(seed):
        rnn = bptt.RNN(1, 32, rng=seed)
        return [rnn, bptt.LastStep(), bptt.Linear(32, 12, rng=seed + 1)]

    return Case("forecasting", layers, x[..., None].astype(np.float32), y, "mse", 0.01, 150, 32)


def classification():
    """Return the network that is given the recordings."""
    space = from_notebook("classification", "import warnings", "def recordings(")
    x, names = space["recordings"](1500, np.random.default_rng(0))
    mean, std = np.mean(np.concatenate(x)), np.std(np.concatenate(x))
    x = [((part - mean) / std)[:, None].astype(np.float32) for part in x]
    y = np.unique(names, return_inverse=True)[1]

    def layers(seed):
        gru = bptt.GRU(1, 64, rng=seed)
        return [gru, bptt.LastStep(), bptt.Linear(64, 4, rng=seed + 1)]

    return Case("classification", layers, x, y, "cross_entropy", 0.005, 45, 32)


class Theirs(torch.nn.Module):
    """The same layers in torch, with the same weights."""

    def __init__(self, layers):
        super().__init__()
        self.embedding, self.dropout, self.last_step = None, torch.nn.Identity(), False
        for layer in layers:
            kind = type(layer).__name__
            if kind == "Embedding":
                self.embedding = twin = torch.nn.Embedding(*layer.parameters["weight"].shape)
            elif kind == "Linear":
                self.linear = twin = torch.nn.Linear(*layer.parameters["weight"].shape[::-1])
            elif kind == "Dropout":
                self.dropout = torch.nn.Dropout(layer.p)
                continue
            elif kind == "LastStep":
                self.last_step = True
                continue
            else:
                sizes = layer.input_size, layer.hidden_size
                self.recurrent = twin = getattr(torch.nn, kind)(*sizes, batch_first=True)
            twin.load_state_dict(
                {name: torch.from_numpy(array) for name, array in layer.state_dict().items()}
            )

    def forward(self, x, state=None):
        """Return outputs and the state after them; x is a batch, padded or packed."""
        x = x if self.embedding is None else self.embedding(x)
        y, state = self.recurrent(x, state)
        return self.linear(self.dropout(state[-1] if self.last_step else y)), state


def batch_of(parts):
    """Return some sequences as torch has them."""
    tensors = [torch.from_numpy(np.asarray(part)) for part in parts]
    if len({len(part) for part in parts}) == 1:
        return torch.stack(tensors)
    return torch.nn.utils.rnn.pack_sequence(tensors, enforce_sorted=False)


def train_theirs(case, layers, orders):
    """Train in torch; return the last epoch's mean loss and the seconds."""
    net = Theirs(layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=case.lr)
    criterion = torch.nn.MSELoss() if case.loss == "mse" else torch.nn.CrossEntropyLoss()
    targets = torch.from_numpy(case.y.astype(np.float32 if case.loss == "mse" else np.int64))
    start = time.perf_counter()
    for order in orders:
        total = count = 0
        for at in range(0, len(order), case.batch_size):
            rows = order[at : at + case.batch_size]
            x, y, state = batch_of([case.x[row] for row in rows]), targets[rows], None
            chunks = [(x, y)]
            if case.tbptt is not None:
                chunks = zip(x.split(case.tbptt, 1), y.split(case.tbptt, 1))
            for part, wanted in chunks:
                scores, state = net(part, None if state is None else state.detach())
                if scores.ndim == 3:  # a class for every step
                    scores, wanted = scores.flatten(0, 1), wanted.flatten()
                loss = criterion(scores, wanted)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                steps = wanted.numel()
                total, count = total + loss.item() * steps, count + steps
    return total / count, time.perf_counter() - start


def train_ours(case, layers, seed, epochs):
    """Train here; return the last epoch's mean loss and the seconds."""
    history = bptt.Sequential(*layers).fit(
        case.x,
        case.y,
        loss=case.loss,
        optimizer=bptt.Adam(case.lr),
        epochs=epochs,
        batch_size=case.batch_size,
        tbptt=case.tbptt,
        clip_norm=1.0,
        rng=seed,
        progress=False,
    )
    return history.loss[-1], history.seconds


def orders_of(seed, count, epochs):
    """Return the orders that `fit` takes with that seed."""
    generator, order, orders = np.random.default_rng(seed), np.arange(count, dtype=np.uint64), []
    for _ in range(epochs):
        generator.shuffle(order)
        orders.append(order.astype(np.int64))
    return orders


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch")
    quick = parser.parse_args().quick
    torch.set_num_threads(bptt.get_num_threads())
    print(f"torch {torch.__version__}, {bptt.simd_level()}, {bptt.get_num_threads()} threads\n")
    print("| notebook | loss, bptt | loss, torch | seconds, bptt | torch | ratio |")
    print("|---|---|---|---|---|---|")
    for make in (characters, forecasting, classification):
        case = make()
        epochs, ours, theirs = 1 if quick else case.epochs, [], []
        for seed in range(1 if quick else 5):
            torch.manual_seed(seed)
            # Before ours, which changes the layers.
            orders = orders_of(seed, len(case.x), epochs)
            layers = case.layers(10 * seed)
            theirs.append(train_theirs(case, layers, orders))
            ours.append(train_ours(case, layers, seed, epochs))
        cells = []
        for results in (ours, theirs):
            losses = [loss for loss, _ in results]
            cells.append(f"{np.mean(losses):.4f} (sd {np.std(losses):.4f})")
        times = [np.median([seconds for _, seconds in results]) for results in (ours, theirs)]
        print(
            f"| {case.name} | {cells[0]} | {cells[1]} | {times[0]:.2f} | {times[1]:.2f} | "
            f"{times[1] / times[0]:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
