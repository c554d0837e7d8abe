"""Layers without a state, and a model of them, against PyTorch: outputs and every gradient."""

import numpy as np
import pytest

import bptt

torch = pytest.importorskip("torch")

# Of the largest magnitude in the array.
TOLERANCE = {"float64": 1e-13, "float32": 2e-6}


def pair(kind, dtype, size, options, rng):
    """Our layer, torch's with the same weights, and an input."""
    shape = tuple(rng.integers(1, 6, rng.integers(0, 3)))
    theirs_type = getattr(torch, dtype)
    if kind == "Embedding":
        ours = bptt.Embedding(7, size, dtype=dtype, rng=rng)
        theirs = torch.nn.Embedding(7, size, dtype=theirs_type)
        x = rng.integers(0, 7, shape)
    elif kind == "LayerNorm":
        ours = bptt.LayerNorm(size, dtype=dtype, **options)
        theirs = torch.nn.LayerNorm(size, dtype=theirs_type, **options)
        x = rng.standard_normal((*shape, size)) * 3 + 1
    else:
        ours = bptt.Linear(size, 5, dtype=dtype, rng=rng, **options)
        theirs = torch.nn.Linear(size, 5, dtype=theirs_type, **options)
        x = rng.standard_normal((*shape, size))
    for array in ours.parameters.values():
        array[...] = rng.standard_normal(array.shape)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    return ours, theirs, x if kind == "Embedding" else x.astype(dtype)


def assert_close(ours, theirs, dtype):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    if theirs.size:
        assert np.abs(ours - theirs).max() <= TOLERANCE[dtype] * max(np.abs(theirs).max(), 1e-30)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 7, 16, 33, 250])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Linear", {}),
        ("Linear", {"bias": False}),
        ("Embedding", {}),
        ("LayerNorm", {}),
        ("LayerNorm", {"eps": 0.1, "bias": False}),
        ("LayerNorm", {"elementwise_affine": False}),
    ],
)
def test_layers(kind, options, size, dtype):
    rng = np.random.default_rng([size, len(dtype)])
    for _ in range(5):
        ours, theirs, x = pair(kind, dtype, size, options, rng)
        y, record = ours.forward(x)
        their_x = torch.from_numpy(np.asarray(x))
        if kind != "Embedding":
            their_x.requires_grad_()
        their_y = theirs(their_x)
        assert_close(y, their_y, dtype)
        assert_close(ours(x), their_y, dtype)
        dy = rng.standard_normal(y.shape).astype(dtype)
        dx, grads = ours.backward(record, dy)
        if kind == "LayerNorm" and size <= 2:
            continue  # x becomes 0, or -1 and 1, so gradients are what cancelling leaves
        their_y.backward(torch.from_numpy(dy))
        if kind != "Embedding":
            assert_close(dx, their_x.grad, dtype)
        assert list(grads) == [name for name, _ in theirs.named_parameters()]
        for name, parameter in theirs.named_parameters():
            assert_close(grads[name], parameter.grad, dtype)


@pytest.mark.parametrize("directions", [1, 2])
def test_a_model_that_classifies_sequences_learns_as_torchs_does(directions):
    """Ten steps on ragged batches, with the loss of each; from h_n of all directions."""
    rng = np.random.default_rng(0)
    both = directions == 2
    layers = [
        bptt.Embedding(6, 5, dtype="float64", rng=0),
        bptt.LayerNorm(5, dtype="float64"),
        bptt.LSTM(5, 7, bidirectional=both, dtype="float64", rng=1),
        bptt.LastStep(),
        bptt.Linear(7 * directions, 3, dtype="float64", rng=2),
    ]
    embedding = torch.nn.Embedding(6, 5, dtype=torch.float64)
    norm = torch.nn.LayerNorm(5, dtype=torch.float64)
    lstm = torch.nn.LSTM(5, 7, bidirectional=both, dtype=torch.float64)
    linear = torch.nn.Linear(7 * directions, 3, dtype=torch.float64)
    modules = {0: embedding, 1: norm, 2: lstm, 4: linear}
    for n, module in modules.items():
        ours = layers[n].state_dict()
        module.load_state_dict({name: torch.from_numpy(array) for name, array in ours.items()})
    x = [rng.integers(0, 6, length) for length in rng.integers(1, 8, 12)]
    y = rng.integers(0, 3, 12)
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    losses = []
    for _ in range(5):
        for first in (0, 6):
            optimizer.zero_grad()
            last = [
                lstm(norm(embedding(torch.from_numpy(part))))[1][0].flatten()
                for part in x[first : first + 6]
            ]
            logits = linear(torch.stack(last))
            target = torch.from_numpy(y[first : first + 6])
            loss = torch.nn.functional.cross_entropy(logits, target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    model = bptt.Sequential(*layers)
    history = model.fit(
        x,
        y,
        loss="cross_entropy",
        optimizer=bptt.Adam(0.01),
        epochs=5,
        batch_size=6,
        shuffle=False,
        progress=False,
    )
    np.testing.assert_allclose(history.loss, np.reshape(losses, (5, 2)).mean(axis=1), rtol=1e-12)
    for n, module in modules.items():
        for name, parameter in module.named_parameters():
            ours = layers[n].parameters[name]
            np.testing.assert_allclose(ours, parameter.detach().numpy(), atol=1e-11)
