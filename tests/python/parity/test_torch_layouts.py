"""Tensors in every layout: the bits of the contiguous tensor, beside torch, and unwritten."""

import copy
import inspect
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twins import PAIRS, assert_close, flat, pair  # noqa: E402

import bptt  # noqa: E402
import bptt.torch  # noqa: E402

pytestmark = pytest.mark.usefixtures("fresh")
T, B, F, H = 5, 4, 3, 6
SIZES = {"x": (T, B, F), "hx": (2, B, H), "dy": (T, B, H), "dh": (2, B, H)}


def strided(t):
    wide = torch.full([2 * n + 1 for n in t.shape], 99.0, dtype=t.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in t.shape)]
    return view.copy_(t)


def misaligned(t):
    memory = np.zeros(t.numel() * t.element_size() + 1, np.uint8)
    view = memory[1:].view(t.numpy().dtype).reshape(t.shape)
    view[...] = t.numpy()
    return torch.from_numpy(view)


def channels_last(t):
    return t[None].contiguous(memory_format=torch.channels_last)[0]


LAYOUTS = {
    "strided": strided,
    "first axes transposed": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "last axes transposed": lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
    "permuted": lambda t: t.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "channels last": channels_last,
    "part": lambda t: torch.cat([t, t])[len(t) :],
    "offset": lambda t: torch.cat([t.reshape(-1)[:1], t.reshape(-1)])[1:].view(t.shape),
    "misaligned": misaligned,
    "unfolded": lambda t: t.reshape(-1).unfold(0, t[0].numel(), t[0].numel()).view(t.shape),
    "of read-only memory": lambda t: torch.frombuffer(bytearray(t.numpy().tobytes()), dtype=t.dtype)
    .view(t.shape),
    "negative": lambda t: torch._neg_view(-t),
    "requires grad": lambda t: t.clone().requires_grad_(),
    "strided, requires grad": lambda t: strided(t).requires_grad_(),
    "parameter": lambda t: torch.nn.Parameter(t.clone()),
}  # fmt: skip
EXPANDED = {  # other numbers: those of the first row, column or number
    "expanded steps": lambda t: t[:1].expand(t.shape),
    "expanded rows": lambda t: t[:, :1].expand(t.shape),
    "expanded features": lambda t: t[..., :1].expand(t.shape),
    "one number": lambda t: t[:1, :1, :1].expand(t.shape),
}
ALL = {**LAYOUTS, **EXPANDED}


def given(kind, dtype):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(size, dtype=dtype, generator=generator) for name, size in SIZES.items()
    }


def passed(layer, kind, x, hx, dy, dh):
    """The outputs and all gradients."""
    x, hx = (t if t.requires_grad else t.detach().requires_grad_() for t in (x, hx))
    h = (hx, hx) if kind == "LSTM" else hx
    y, h_n, *_ = flat(layer(x, h))
    leaves = [x, hx, *layer.parameters()]
    return y, h_n, *torch.autograd.grad([y, h_n], leaves, [dy, dh])


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
@pytest.mark.parametrize("argument", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", PAIRS)
def test_tensors_of_every_layout(kind, dtype, argument, make, strict):
    torch.manual_seed(0)
    ours, theirs = pair(kind, F, H, num_layers=2, dtype=dtype)
    values = given(kind, dtype)
    value = make(values[argument])
    if argument in ("dy", "dh"):
        value = value.detach()
    plain = value.detach().resolve_neg().clone(memory_format=torch.contiguous_format)
    plain = plain
    got = passed(ours, kind, **values | {argument: value})
    want = passed(ours, kind, **values | {argument: plain})
    torchs = passed(theirs, kind, **values | {argument: plain})
    for a, b, c in zip(got, want, torchs, strict=True):
        assert torch.equal(a, b)
        assert_close(b.detach(), c.detach(), 1e-11 if dtype == torch.float64 else 2e-5)
    assert torch.equal(value.detach(), plain)
    with torch.no_grad():
        h = values | {argument: value}
        state = (h["hx"], h["hx"]) if kind == "LSTM" else h["hx"]
        for a, b in zip(flat(ours(h["x"], state))[:2], got[:2], strict=True):
            assert torch.equal(a, b.detach())


@pytest.mark.parametrize("make", [strided, misaligned, LAYOUTS["offset"], torch.nn.Parameter])
@pytest.mark.parametrize("kind", PAIRS)
def test_weights_of_every_layout(kind, make, strict):
    ours, theirs = pair(kind, F, H)
    values = given(kind, torch.float32)
    values["hx"], values["dh"] = values["hx"][:1], values["dh"][:1]
    want = passed(ours, kind, **values)
    for layer in (ours, theirs):
        for name, parameter in list(layer.named_parameters()):
            setattr(layer, name, torch.nn.Parameter(make(parameter.detach())))
    for a, b, c in zip(
        passed(ours, kind, **values), want, passed(theirs, kind, **values), strict=True
    ):
        assert torch.equal(a, b)
        assert_close(a.detach(), c.detach(), 2e-5)


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
@pytest.mark.parametrize("kind", PAIRS)
def test_packed_batches_of_every_layout(kind, make, strict):
    ours, theirs = pair(kind, F, H)
    value = make(given(kind, torch.float32)["x"]).detach()
    lengths = torch.tensor([2, 5, 1, 3])
    packed = torch.nn.utils.rnn.pack_padded_sequence(value, lengths, enforce_sorted=False)
    again = packed._replace(data=strided(packed.data))
    for a, b, c in zip(flat(ours(again)), flat(ours(packed)), flat(theirs(packed)), strict=True):
        a, b, c = (getattr(t, "data", t).detach() for t in (a, b, c))
        assert torch.equal(a, b)
        assert_close(a, c, 2e-5)


def test_every_public_layer_is_in_the_table():
    public = [getattr(bptt.torch, name) for name in bptt.torch.__all__]
    layers = [v for v in public if inspect.isclass(v) and issubclass(v, torch.nn.Module)]
    assert {layer.__name__ for layer in layers} == PAIRS.keys()


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_layers_of_numpy_take_tensors(make):
    value = make(given("", torch.float32)["x"])
    layer = bptt.GRU(F, H, rng=0)
    model = bptt.Sequential(layer)
    calls = {
        "x": lambda v: layer(v)[0],
        "x of predict": lambda v: np.asarray(model.predict(v)),
        "x of a list": lambda v: np.asarray(model.predict(list(v))),
        "x of a stepper": lambda v: layer.stepper(B).step(v[0]),
    }
    plain = value.detach().resolve_neg().contiguous().numpy().copy()
    for call in calls.values():
        if value.requires_grad or value.is_neg():
            with pytest.raises(ValueError, match=r"x(\[0\])? must be an array: Can't call numpy"):
                call(value)
        else:
            np.testing.assert_array_equal(call(value), call(plain))


def test_tensors_that_numpy_cannot_read():
    layer = bptt.GRU(F, H, rng=0)
    for value in (
        torch.zeros(T, B, F, dtype=torch.bfloat16),
        torch.zeros(T, B, F).to_sparse(),
        torch.zeros(T, B, F, device="meta"),
    ):
        with pytest.raises((TypeError, ValueError), match="x must be an array"):
            layer(value)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("kind", PAIRS)
def test_copies_of_layers(kind, how, strict):
    """As torch's: copy.copy shares the parameters, the others do not."""
    ours, theirs = pair(kind, F, H)
    x = given(kind, torch.float32)["x"]
    y = ours(x)[0]
    y.sum().backward()
    for layer in (ours, theirs):
        twin, before = how(layer), layer(x)[0]
        assert torch.equal(twin(x)[0], before)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(1)
        assert torch.equal(layer(x)[0], before) == (how is not copy.copy)
