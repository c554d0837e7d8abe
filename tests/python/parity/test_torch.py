"""What `bptt.torch` computes, beside torch: values and gradients, however tensors hang together."""

import itertools
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twins import PAIRS, assert_close, flat, pair  # noqa: E402

import bptt.torch  # noqa: E402
from bptt.torch import _path  # noqa: E402

pytestmark = pytest.mark.usefixtures("fresh")
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}

CONFIGURATIONS = list(
    itertools.product(
        ("LSTM", "GRU", "RNN tanh", "RNN relu"),
        (torch.float32, torch.float64),
        (True, False),  # bias
        ("time", "batch", "one", "swapped"),  # swapped: a (T, B, I) view of a (B, T, I) tensor
        (True, False),  # initial state
    )
)


@pytest.mark.parametrize("seed", range(2 * len(CONFIGURATIONS)))
def test_parity(seed, strict):
    kind, dtype, bias, layout, with_state = CONFIGURATIONS[seed % len(CONFIGURATIONS)]
    rng = np.random.default_rng(seed)
    T, B, I, H = (int(rng.integers(1, top)) for top in (10, 8, 20, 40))  # noqa: E741
    kind, _, nonlinearity = kind.partition(" ")
    options = {"bias": bias, "batch_first": layout == "batch", "dtype": dtype}
    if nonlinearity:
        options["nonlinearity"] = nonlinearity
    layers = pair(kind, I, H, **options)
    if seed % 3 == 0:
        for layer in layers:
            layer.eval()
    shapes = {"time": (T, B, I), "batch": (B, T, I), "one": (T, I), "swapped": (B, T, I)}
    values = torch.randn(shapes[layout], dtype=dtype)
    state = (1, H) if layout == "one" else (1, B, H)
    starts = [torch.randn(state, dtype=dtype) for _ in range(2 if kind == "LSTM" else 1)]
    needs = [bool(rng.random() < 0.7) for _ in range(6)]  # of x, states and weights, in turn
    seeds = None
    results = []
    for layer in layers:
        leaf = values.clone().requires_grad_(needs[0])
        x = leaf.transpose(0, 1) if layout == "swapped" else leaf
        hx = [s.clone().requires_grad_(need) for s, need in zip(starts, needs[1:3])]
        for parameter, need in zip(layer.parameters(), itertools.cycle(needs[3:])):
            parameter.requires_grad_(need)
        given = (tuple(hx) if kind == "LSTM" else hx[0]) if with_state else None
        outputs = flat(layer(x, given))
        if seeds is None:
            seeds = [torch.randn_like(out) for out in outputs]
        leaves = [leaf, *(hx if with_state else []), *layer.parameters()]
        wanted = [t for t in leaves if t.requires_grad]
        used = outputs if seed % 2 else outputs[:1]
        grads = torch.autograd.grad(used, wanted, seeds[: len(used)]) if wanted else ()
        results.append((*outputs, *grads))
        if not wanted:
            assert not outputs[0].requires_grad
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours.detach(), theirs.detach(), TOLERANCE[dtype])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(kind, mode, strict):
    ours, theirs = pair(kind, 3, 17)
    x = torch.randn(6, 4, 3)
    with mode():
        for a, b in zip(flat(ours(x)), flat(theirs(x)), strict=True):
            assert_close(a, b, 2e-5)
            assert not a.requires_grad


def functional(layer, count):
    """The layer as a function of x, states and weights."""
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *rest):
        state = rest[0] if count == 1 else rest[:count]
        weights = dict(zip(names, rest[count:], strict=True))
        return flat(torch.func.functional_call(layer, weights, (x, state)))

    return run


DEEP = {"num_layers": 2, "bidirectional": True}
OPTIONS = {
    "LSTM": ("LSTM", {}, (1, 5), (1, 5)),
    "GRU": ("GRU", {}, (1, 5)),
    "RNN": ("RNN", {}, (1, 5)),
    "deep LSTM": ("LSTM", {**DEEP, "proj_size": 2}, (4, 2), (4, 5)),
    "deep GRU": ("GRU", DEEP, (4, 5)),
    "deep RNN": ("RNN", {**DEEP, "bias": False}, (4, 5)),
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.filterwarnings("ignore:torch computes this call, not bptt. a double backward")
def test_gradcheck(options):
    kind, given, *states = OPTIONS[options]
    layer = PAIRS[kind][0](3, 5, batch_first=True, dtype=torch.float64, **given)
    count = len(states)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    state = [
        torch.randn(layers, 2, size, dtype=torch.float64, requires_grad=True)
        for layers, size in states
    ]
    inputs = (x, *state, *layer.parameters())
    assert torch.autograd.gradcheck(functional(layer, count), inputs)
    assert torch.autograd.gradgradcheck(functional(layer, count), inputs)


@pytest.mark.parametrize("seed", range(60))
def test_packed_sequences_and_layers(seed, strict):
    rng = np.random.default_rng(seed)
    kind = ("LSTM", "GRU", "RNN")[seed % 3]
    T, B, I, H = (int(rng.integers(2, top)) for top in (9, 8, 12, 40))  # noqa: E741
    options = {"num_layers": int(rng.integers(1, 4)), "bidirectional": bool(rng.random() < 0.5)}
    if kind == "LSTM" and rng.random() < 0.3:
        options["proj_size"] = int(rng.integers(1, H))
    layers = pair(kind, I, H, dtype=torch.float64, **options)
    lengths = torch.from_numpy(rng.integers(1, T + 1, B))
    is_sorted = bool(rng.random() < 0.5)
    if is_sorted:
        lengths = lengths.sort(descending=True).values
    values = torch.randn(T, B, I, dtype=torch.float64)
    results, seeds = [], None
    for layer in layers:
        x = values.clone().requires_grad_()
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=is_sorted)
        _, state = layer(packed)
        given = tuple(s.detach().requires_grad_() for s in flat((None, state))[1:])
        y, state = layer(packed, given if kind == "LSTM" else given[0])
        assert isinstance(y, torch.nn.utils.rnn.PackedSequence)
        outputs = [y.data, *flat((None, state))[1:]]
        seeds = seeds or [torch.randn_like(out) for out in outputs]
        grads = torch.autograd.grad(outputs, [x, *given, *layer.parameters()], seeds)
        results.append((*outputs, *grads))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours.detach(), theirs.detach(), 1e-11)


def test_dropout_is_off_in_eval_and_random_in_training(strict):
    layer = bptt.torch.GRU(6, 64, num_layers=2, dropout=0.5)
    x = torch.randn(20, 4, 6)
    assert torch.equal(layer.eval()(x)[0], layer(x)[0])
    layer.train()
    torch.manual_seed(3)
    first, second = layer(x)[0], layer(x)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(layer(x)[0], first)
    with torch.no_grad():
        assert not torch.equal(layer(x)[0], layer(x)[0])
    first.sum().backward()
    assert layer.weight_ih_l0.grad.abs().max() > 0


def test_double_backward_warns_once():
    layer = bptt.torch.LSTM(3, 5)
    for expected in (1, 0):
        x = torch.randn(4, 2, 3, requires_grad=True)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            (dx,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
            dx.square().sum().backward()
        assert sum("double backward" in str(w.message) for w in seen) == expected
        assert x.grad.abs().max() > 0


def test_a_retained_graph_goes_back_twice():
    layer = bptt.torch.LSTM(3, 5)
    y, _ = layer(torch.randn(7, 2, 3))
    y.sum().backward(retain_graph=True)
    once = layer.weight_hh_l0.grad.clone()
    y.sum().backward()
    assert torch.equal(layer.weight_hh_l0.grad, 2 * once)


@pytest.mark.parametrize("what", ["x", "weight"])
def test_changed_in_place_before_backward(what):
    layer = bptt.torch.RNN(3, 5)
    x = torch.randn(4, 2, 3)
    loss = layer(x)[0].square().sum()
    with torch.no_grad():
        {"x": x, "weight": layer.weight_hh_l0}[what].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def gradients(layer, use, **settings):
    """The gradients of what `use` makes of a layer and an input, by name."""
    x = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(4, 2, 3).requires_grad_()
    named = dict(layer.named_parameters(remove_duplicate=True)) | {"x": x}
    found = torch.autograd.grad(use(layer, x), list(named.values()), **settings)
    return dict(zip(named, found, strict=True))


def hooked(layer, x):
    y = x * 1
    y.register_hook(lambda g: 2 * g)
    return layer(y)[0].square().sum()


USES = {
    "y changed in place": lambda layer, x: torch.relu_(layer(x)[0]).square().sum(),
    "the state is part of x": lambda layer, x: (
        flat(layer(x, 2 * x[:1].repeat(1, 1, 2)[..., :5]))[0].square().sum()
    ),
    "a hook on x": hooked,
    "only the last state": lambda layer, x: flat(layer(x))[1].square().sum(),
    "an expanded gradient": lambda layer, x: layer(x)[0].sum(),
    "a negated input": lambda layer, x: layer(torch._neg_view(x))[0].square().sum(),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("use", USES)
@pytest.mark.filterwarnings("ignore:torch computes this call, not bptt. a double backward")
def test_gradients_where_tensors_hang_together(use, create_graph):
    layers = pair("RNN", 3, 5, dtype=torch.float64)
    ours, theirs = (gradients(layer, USES[use], create_graph=create_graph) for layer in layers)
    for name, gradient in theirs.items():
        assert_close(ours[name].detach(), gradient.detach(), 1e-11)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.filterwarnings("ignore:torch computes this call, not bptt. a double backward")
def test_tied_states_and_weights(create_graph):
    ours, theirs = pair("LSTM", 5, 5, dtype=torch.float64)
    for layer in (ours, theirs):
        layer.weight_hh_l0 = layer.weight_ih_l0
    x = torch.randn(4, 2, 5, dtype=torch.float64)
    z = torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for layer in (ours, theirs):
        loss = layer(x, (z, z))[0].square().sum()
        found.append(torch.autograd.grad(loss, [z, layer.weight_ih_l0], create_graph=create_graph))
    for a, b in zip(*found, strict=True):
        assert_close(a.detach(), b.detach(), 1e-11)


def test_memory_that_moves_between_the_passes():
    layer, twin = pair("LSTM", 16, 64)
    x = torch.randn(5, 4, 16)
    losses = [each(x)[0].square().sum() for each in (layer, twin)]
    layer.share_memory()
    x.share_memory_()
    junk = [torch.full(p.shape, float("nan")) for p in layer.parameters() for _ in range(8)]
    for loss in losses:
        loss.backward()
    for a, b in zip(layer.parameters(), twin.parameters(), strict=True):
        assert_close(a.grad, b.grad, 2e-5)
    assert len(junk) == 32


def test_batched_gradients():
    for kind in PAIRS:
        ours, theirs = pair(kind, 3, 5, dtype=torch.float64)
        x = torch.randn(4, 2, 3, dtype=torch.float64)
        with pytest.warns(UserWarning, match="batched backward"):
            _path._warned.clear()
            a = torch.autograd.functional.jacobian(lambda x: ours(x)[0], x, vectorize=True)  # noqa: B023
        b = torch.autograd.functional.jacobian(lambda x: theirs(x)[0], x)  # noqa: B023
        assert_close(a, b, 1e-11)


def test_no_gradient_stays_none():
    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y * 1

        @staticmethod
        def backward(ctx, dy):
            return None

    for create_graph in (False, True):
        layer = bptt.torch.RNN(3, 5)
        loss = Stop.apply(layer(torch.randn(4, 2, 3))[0]).sum()
        loss.backward(create_graph=create_graph)
        assert all(parameter.grad is None for parameter in layer.parameters())


def test_misaligned_memory():
    memory = bytearray(4 * 24 + 1)
    x = torch.frombuffer(memory, dtype=torch.float32, offset=1, count=24).reshape(2, 4, 3)
    for one in (x, x.transpose(0, 1)):
        assert torch.isfinite(bptt.torch.LSTM(3, 5)(one)[0]).all()
