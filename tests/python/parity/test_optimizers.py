"""Optimisers whose reference needs PyTorch at hand."""

import numpy as np
import torch

import bptt


def test_sparse_adam_is_torchs():
    """Rows that a batch does not have keep their values and their means."""
    table = bptt.Embedding(6, 3, dtype="float64", rng=0)
    theirs = torch.nn.Embedding(6, 3, sparse=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(table.parameters["weight"].copy()))
    rule = torch.optim.SparseAdam(theirs.parameters(), lr=0.05, betas=(0.8, 0.95), eps=1e-3)
    ours = bptt.SparseAdam(0.05, betas=(0.8, 0.95), eps=1e-3)
    model = bptt.Sequential(table)
    rng = np.random.default_rng(1)
    for tokens in ([[0, 2, 2]], [[5, 2, 1]], [[0, 1, 1]]):
        tokens, targets = np.array(tokens, np.uint32), rng.standard_normal((1, 3, 3))
        model.fit(tokens, targets, loss="mse", optimizer=ours, progress=False)
        rule.zero_grad()
        outputs = theirs(torch.from_numpy(tokens.astype(np.int64)))
        torch.nn.functional.mse_loss(outputs, torch.from_numpy(targets)).backward()
        rule.step()
        np.testing.assert_allclose(
            table.parameters["weight"], theirs.weight.detach().numpy(), rtol=1e-12
        )
