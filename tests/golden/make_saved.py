"""Makes the files of version 0.1.0 that later versions must still load and continue, bit for bit.

`python tests/golden/make_saved.py` writes, beside itself,

- saved_v0.1.0.safetensors: a model with layers of every kind,
- checkpoint_v0.1.0_LEVEL.safetensors: a training run, interrupted after 3 of 6 epochs,
- saved_v0.1.0_LEVEL.npz: predictions, and the history and the parameters after 6 epochs,

for the instruction level of this process (`BPTT_SIMD`): each level has bits of its own. The files
in the repository are of commit a6ea08b and are never made again. tests/python/test_saved_before.py
calls `predictions` and `resume`.
"""

import shutil
from pathlib import Path

import numpy as np

import bptt

FOLDER = Path(__file__).parent
MODEL = FOLDER / "saved_v0.1.0.safetensors"


def checkpoint_path(level):
    """The checkpoint of an instruction level."""
    return FOLDER / f"checkpoint_v0.1.0_{level}.safetensors"


def expected_path(level):
    """What a level computes."""
    return FOLDER / f"saved_v0.1.0_{level}.npz"


def model():
    """Layers of every kind, with options."""
    return bptt.Sequential(
        bptt.Embedding(5, 4, rng=0),
        bptt.LayerNorm(4, 1e-3, bias=False),
        bptt.LSTM(4, 6, proj_size=2, dropout=0.1, peepholes=True, batch_first=True, rng=1),
        bptt.Dropout(0.25, rng=5),
        bptt.GRU(2, 3, reset_after=False, zoneout=0.1, rng=2),
        bptt.RNN(3, 4, nonlinearity="relu", layer_norm=True, bias=False, rng=3),
        bptt.LSTM(4, 3, num_layers=2, bidirectional=True, rng=6),
        bptt.LastStep(batch_first=True),
        bptt.Linear(6, 2, bias=False, rng=4),
    )


def predictions(model):
    """What a model gives for sequences of several lengths."""
    return model.predict([[0, 1, 2, 3, 4], [4, 4], [3, 1, 0]])


def trained():
    """The model of the training run."""
    return bptt.Sequential(
        bptt.GRU(2, 9, recurrent_dropout=0.2, rng=7),
        bptt.Dropout(0.2, rng=8),
        bptt.Linear(9, 2, rng=9),
    )


def resume(model, checkpoint, epochs):
    """Trains up to so many epochs, from the checkpoint if there is one."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((length, 2)) for length in rng.integers(1, 9, 23)]
    y = [np.cumsum(part, axis=0) / 3 for part in x]
    return model.fit(
        x,
        y,
        loss="mse",
        optimizer=bptt.Adam(0.02),
        schedule=bptt.CosineAnnealingLR(6),
        metrics=["rmse"],
        validation=(x[:5], y[:5]),
        clip_norm=1.0,
        batch_size=4,
        epochs=epochs,
        rng=3,
        progress=False,
        checkpoint=checkpoint,
        resume=Path(checkpoint).exists(),
    )


def results(model, history):
    """The history and the parameters, by name."""
    kept = {
        f"history.{name}": getattr(history, name) for name in ("loss", "validation_loss", "rmse")
    }
    return kept | {f"parameter.{name}": array for name, array in model.state_dict().items()}


def main():
    """Makes the files of this process' level."""
    level = bptt.simd_level()
    MODEL.unlink(missing_ok=True)
    model().save(MODEL)
    path = checkpoint_path(level)
    path.unlink(missing_ok=True)
    resume(trained(), path, 3)
    whole = path.with_suffix(".tmp")
    shutil.copy(path, whole)
    model_trained = trained()
    history = resume(model_trained, whole, 6)
    whole.unlink()
    expected = results(model_trained, history)
    np.savez(expected_path(level), predictions=predictions(bptt.load(MODEL)), **expected)


if __name__ == "__main__":
    main()
