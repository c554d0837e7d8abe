"""Sampling of tokens from a model that gives logits for the next token."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._support import check
from bptt.layers._stack import Stack


def generate(
    stack: Stack, prompt: ArrayLike, n: int, temperature: float, top_k: int | None, rng: object
) -> NDArray[np.int64]:
    """Return n tokens that continue the prompt; see `Sequential.generate`."""
    tokens, outputs = stack.tokens, stack.outputs
    if tokens is None:
        raise ValueError(
            "generate needs a model that takes tokens, with OneHot or Embedding as its first "
            f"layer, got {stack.layers[0]}"
        )
    if outputs != tokens:
        raise ValueError(
            f"generate needs a model with a logit for each of the {tokens} tokens, got {outputs} "
            "outputs"
        )
    array = check.array_of("prompt", prompt)
    # An empty list becomes an array of float64. Say that it is empty, not that its dtype is wrong.
    if array.ndim != 1 or not array.size:
        raise ValueError(f"prompt must be at least one token, (T,), got shape {array.shape}")
    given = check.classes("prompt", array, tokens)
    n = check.size("n", n, least=0)
    temperature = check.real("temperature", temperature)
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be at least 0 and finite, got {temperature}")
    if top_k is not None and (top_k := check.size("top_k", top_k)) > tokens:
        raise ValueError(f"top_k must be at most {tokens}, the number of tokens, got {top_k}")
    generator = check.generator(rng)
    stepper = stack.stepper()
    for token in given[:-1]:
        stepper.step(token)
    new = np.empty(n, np.int64)
    token = given[-1]
    for index in range(n):
        token = new[index] = _sample(stepper.step(token)[0], temperature, top_k, generator)
    return new


def _sample(
    logits: NDArray[Any], temperature: float, top_k: int | None, generator: np.random.Generator
) -> int:
    if not np.isfinite(logits).all():
        raise ValueError("the logits of the model must be finite: did its training diverge?")
    if temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[:top_k]  # the most likely first
    shifted = logits[order].astype(np.float64)
    with np.errstate(over="ignore"):  # a very low temperature gives -inf, and the weight 0
        weights = np.exp((shifted - shifted[0]) / temperature)
    sums = np.cumsum(weights)
    place = np.searchsorted(sums, generator.random() * sums[-1], side="right")
    return int(order[min(place, len(order) - 1)])
