"""Make layers.npz and training.npz beside this file: what PyTorch computes, to be read without it.

    python tests/golden/make_golden.py        needs torch 2.15; the same torch gives the same bytes

Every array is stored as "<case>/<name>", every case's options as JSON in "<case>/config", and the
version of torch as "torch_version". Nothing is pickled.

    layers.npz     a layer's weights, x, h0, c0, dy, dh_n, dc_n -> y, h_n, c_n and every gradient:
                   dx, dh0, dc0 and d.<weight>
    training.npz   ten optimiser steps on the full batch: before.<weight>, x, target -> loss (before
                   each step), norm (of the gradient, before clipping) and after.<weight>
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
STEPS = 10

# name: cell, nonlinearity, dtype, bias, layout, T, B, I, H. Layouts are torch's three shapes of x:
# "time" (T, B, I), "batch" (B, T, I) and "one" (T, I). Sizes sit beside the widths of a vector.
LAYERS = {
    "rnn_tanh_f64": ("RNN", "tanh", "float64", True, "time", 6, 3, 4, 7),
    "rnn_tanh_f32": ("RNN", "tanh", "float32", False, "batch", 5, 7, 3, 17),
    "rnn_relu_f64": ("RNN", "relu", "float64", False, "batch", 7, 2, 5, 9),
    "rnn_relu_f32": ("RNN", "relu", "float32", True, "one", 9, 1, 6, 16),
    "lstm_f64": ("LSTM", None, "float64", True, "time", 6, 4, 3, 9),
    "lstm_f32": ("LSTM", None, "float32", True, "batch", 8, 5, 6, 17),
    "lstm_nobias_f64": ("LSTM", None, "float64", False, "batch", 4, 7, 2, 5),
    "lstm_nobias_f32": ("LSTM", None, "float32", False, "one", 10, 1, 4, 33),
}

OPTIMISERS = {
    "sgd": {"name": "SGD", "lr": 0.1, "momentum": 0.0, "clip_norm": None},
    "momentum": {"name": "SGD", "lr": 0.1, "momentum": 0.9, "clip_norm": None},
    "adam": {"name": "Adam", "lr": 1e-2, "clip_norm": None},
    # Momentum remembers, so that clipping after it instead of before it could not go unnoticed.
    "clip": {"name": "SGD", "lr": 0.1, "momentum": 0.9, "clip_norm": 0.25},
}


def tensor(rng, shape, dtype, scale=1.0):
    """A leaf with standard normal entries times scale, the same draws in either dtype."""
    values = (scale * rng.standard_normal(shape)).astype(dtype)
    return torch.tensor(values, requires_grad=True)


def fill(module, rng, dtype):
    """Give every parameter torch's default distribution, but from our own generator."""
    module.to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter in module.parameters():
            bound = parameter.shape[-1] ** -0.5
            values = rng.uniform(-bound, bound, tuple(parameter.shape)).astype(dtype)
            parameter.copy_(torch.from_numpy(values))


def layer_case(seed, cell, nonlinearity, dtype, bias, layout, T, B, I, H):  # noqa: E741
    """One layer forward and backward."""
    rng = np.random.default_rng(seed)
    options = {"bias": bias, "batch_first": layout == "batch"}
    if nonlinearity:
        options["nonlinearity"] = nonlinearity
    module = getattr(nn, cell)(I, H, **options)
    fill(module, rng, dtype)

    lead = {"time": (T, B), "batch": (B, T), "one": (T,)}[layout]
    state_shape = (1, H) if layout == "one" else (1, B, H)
    states = "hc" if cell == "LSTM" else "h"
    x = tensor(rng, (*lead, I), dtype)
    initial = [tensor(rng, state_shape, dtype, 0.5) for _ in states]
    y, final = module(x, tuple(initial) if cell == "LSTM" else initial[0])
    final = list(final) if cell == "LSTM" else [final]
    dy, *dfinal = (tensor(rng, out.shape, dtype) for out in [y, *final])

    weights = dict(module.named_parameters())
    gradients = torch.autograd.grad([y, *final], [x, *initial, *weights.values()], [dy, *dfinal])
    arrays = {"x": x, "y": y, "dy": dy, "dx": gradients[0], **weights}
    for n, s in enumerate(states):
        arrays |= {f"{s}0": initial[n], f"{s}_n": final[n]}
        arrays |= {f"d{s}0": gradients[1 + n], f"d{s}_n": dfinal[n]}
    for name, gradient in zip(weights, gradients[1 + len(states) :], strict=True):
        arrays[f"d.{name}"] = gradient
    config = {"cell": cell, "dtype": dtype, "input_size": I, "hidden_size": H, "options": options}
    return config, arrays


class Model(nn.Module):
    """A recurrent layer and a linear one, their parameters named "0.<name>" and "1.<name>"."""

    def __init__(self, cell, sizes, bias):
        super().__init__()
        inputs, hidden, outputs = sizes
        self.add_module("0", getattr(nn, cell)(inputs, hidden, batch_first=True))
        self.add_module("1", nn.Linear(hidden, outputs, bias=bias))

    def forward(self, x):
        """x (N, T, F) -> (N, T, O)."""
        recurrent, linear = self.children()
        return linear(recurrent(x)[0])


def training_case(seed, cell, dtype, optimiser):
    """Ten steps on one batch: LSTM with MSE, RNN with cross-entropy (the mean over all tokens)."""
    rng = np.random.default_rng(seed)
    sizes, bias = ((3, 5, 2), True) if cell == "LSTM" else ((4, 6, 4), False)
    model = Model(cell, sizes, bias)
    fill(model, rng, dtype)
    N, T = 6, 7
    x = tensor(rng, (N, T, sizes[0]), dtype, 2.0).detach()
    if cell == "LSTM":
        loss_name, criterion = "mse", nn.functional.mse_loss
        target = tensor(rng, (N, T, sizes[2]), dtype).detach()
    else:
        loss_name = "cross_entropy"
        target = torch.from_numpy(rng.integers(0, sizes[2], (N, T)))

        def criterion(logits, classes):
            return nn.functional.cross_entropy(logits.flatten(0, 1), classes.flatten())

    arrays = {"x": x, "target": target}
    arrays |= {f"before.{name}": p.detach().clone() for name, p in model.named_parameters()}
    extra = {"momentum": optimiser["momentum"]} if "momentum" in optimiser else {}
    # foreach=False: one plain loop over the parameters, the textbook order of operations.
    step = getattr(torch.optim, optimiser["name"])(
        model.parameters(), lr=optimiser["lr"], foreach=False, **extra
    )
    losses, norms = [], []
    for _ in range(STEPS):
        step.zero_grad()
        loss = criterion(model(x), target)
        loss.backward()
        limit = optimiser["clip_norm"] or float("inf")  # infinity: only measure
        norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
        step.step()
        losses.append(loss.detach())
        norms.append(norm)
    arrays |= {"loss": torch.stack(losses), "norm": torch.stack(norms)}
    arrays |= {f"after.{name}": p for name, p in model.named_parameters()}
    config = {"cell": cell, "dtype": dtype, "sizes": sizes, "linear_bias": bias}
    return config | {"loss": loss_name, "optimiser": optimiser}, arrays


def save(name, cases):
    """Write {case: (config, arrays)} as one archive without pickles."""
    flat = {"torch_version": np.array(torch.__version__)}
    for case, (config, arrays) in cases.items():
        flat[f"{case}/config"] = np.array(json.dumps(config))
        flat |= {f"{case}/{key}": value.detach().numpy() for key, value in arrays.items()}
    np.savez_compressed(HERE / name, allow_pickle=False, **flat)
    print(f"{name}: {len(cases)} cases, {(HERE / name).stat().st_size / 1024:.0f} KB")


def main():
    """Make both files; the seed of a case is its place in the list."""
    torch.set_num_threads(1)
    save("layers.npz", {name: layer_case(n, *row) for n, (name, row) in enumerate(LAYERS.items())})
    training = {}
    for seed, cell in enumerate(("LSTM", "RNN"), start=100):
        for key, optimiser in OPTIMISERS.items():
            for dtype in ("float64", "float32"):
                case = f"{cell.lower()}_{key}_{dtype.replace('loat', '')}"
                training[case] = training_case(seed, cell, dtype, optimiser)
    save("training.npz", training)


if __name__ == "__main__":
    main()
