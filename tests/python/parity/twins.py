"""A layer of `bptt.torch` and torch's own with the same weights, and how their results compare."""

import torch

import bptt.torch

PAIRS = {
    "LSTM": (bptt.torch.LSTM, torch.nn.LSTM),
    "GRU": (bptt.torch.GRU, torch.nn.GRU),
    "RNN": (bptt.torch.RNN, torch.nn.RNN),
}


def pair(kind, *args, **kwargs):
    """Our layer and torch's, with the same weights."""
    ours, theirs = (cls(*args, **kwargs) for cls in PAIRS[kind])
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def flat(result):
    """y and the states, one after the other."""
    y, states = result
    return (y, *states) if isinstance(states, tuple) else (y, states)


def assert_close(ours, theirs, tolerance):
    scale = max(theirs.abs().max().item(), 1e-30)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert (ours - theirs).abs().max().item() <= tolerance * scale


def torch_has_bf16():
    """Whether torch computes an LSTM in bf16 on this CPU: not below AVX-512."""
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.nn.LSTM(3, 5)(torch.zeros(4, 2, 3))
    except RuntimeError:
        return False
    return True
