"""Training that is broken off and goes on: the bits of a run that was not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bptt
from bptt._support import safetensors

SCRIPT = Path(__file__).parents[2] / "kill.py"
EPOCHS = 6


def ragged(seed=0, count=23, features=2):
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((length, features)) for length in rng.integers(1, 9, count)]
    return x, [np.cumsum(part, axis=0) / 3 for part in x]


def lstm(seed):
    return bptt.Sequential(
        bptt.LSTM(2, 7, num_layers=2, dropout=0.2, zoneout=0.1, rng=seed),
        bptt.LayerNorm(7),
        bptt.Dropout(0.2, rng=seed),
        bptt.Linear(7, 2, rng=seed),
    )


def gru(seed):
    options = {"dtype": "float64", "rng": seed}
    layers = bptt.GRU(2, 5, recurrent_dropout=0.2, **options), bptt.Linear(5, 2, **options)
    return bptt.Sequential(*layers)


def rnn(seed):
    return bptt.Sequential(bptt.RNN(2, 5, bidirectional=True, rng=seed), bptt.Linear(10, 2, rng=9))


CASES = [
    (lstm, {"optimizer": bptt.Adam(0.01), "clip_norm": 1.0}),
    (lstm, {"optimizer": bptt.SGD(0.1, momentum=0.9), "tbptt": 3}),
    (gru, {"optimizer": bptt.Adam(0.01), "batch_size": 5}),
    (gru, {"optimizer": bptt.SGD(0.1), "shuffle": False}),
    (rnn, {"optimizer": bptt.SGD(0.1, momentum=0.5), "batch_size": 4}),
    (
        gru,
        {
            "optimizer": bptt.RMSprop(momentum=0.5, centered=True),
            "schedule": bptt.OneCycleLR(0.05, total_steps=100),
            "batch_size": 4,
            "accumulate": 2,
            "metrics": ["rmse"],
        },
    ),
    (
        rnn,
        {
            "optimizer": bptt.AdamW(0.05),
            "schedule": bptt.ReduceLROnPlateau(patience=0, factor=0.5, threshold=0.3),
            "loss": bptt.HuberLoss(0.5),
            "sample_weight": np.linspace(0, 1, 23),
        },
    ),
    (lstm, {"optimizer": bptt.Adagrad(0.1), "schedule": bptt.LinearLR(per="step"), "tbptt": 4}),
]


def fit(model, epochs=EPOCHS, rng=3, **options):
    x, y = ragged()
    data = ragged(1, 5)
    settings = {"loss": "mse", "validation": data, "progress": False} | options
    return model.fit(x, y, epochs=epochs, rng=rng, **settings)


def bits(model):
    return [(name, array.tobytes()) for name, array in model.state_dict().items()]


@pytest.mark.parametrize(("make", "options"), CASES)
@pytest.mark.parametrize("stops", [(1,), (2, 3), (1, 2, 3, 4, 5), (6,)])
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(make, options, stops, tmp_path):
    whole = make(0)
    want = fit(whole, **options)
    path = tmp_path / "run.safetensors"
    for epochs in (*stops, EPOCHS):
        # Other parameters and another seed: the file has those that count.
        model = make(0) if epochs == stops[0] else make(epochs + 10)
        rng = 3 if epochs == stops[0] else 8
        history = fit(model, epochs, rng, checkpoint=path, resume=True, **options)
        assert len(history.loss) == epochs
    assert bits(model) == bits(whole)
    assert history.loss == want.loss and history.validation_loss == want.validation_loss
    assert history.metrics == want.metrics and history.lr == want.lr
    assert history is model.history
    assert bits(bptt.load(path)) == bits(whole)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("stops", [(1,), (2, 3), (4, 9), (200,)])
def test_early_stopping_goes_on(stops, tmp_path):
    def stopped(model, epochs, **options):
        stopping = bptt.EarlyStopping(patience=8)
        options |= {"early_stopping": stopping, "optimizer": bptt.Adam(0.05)}
        return fit(model, epochs, **options), stopping

    whole = gru(0)
    want, one = stopped(whole, 200)
    assert 9 < len(want.loss) < 200
    for epochs in (*stops, 200):
        model = gru(0) if epochs == stops[0] else gru(epochs)
        history, other = stopped(model, epochs, checkpoint=tmp_path / "run", resume=True)
    assert bits(model) == bits(whole)
    assert (history.loss, history.lr) == (want.loss, want.lr)
    assert (other.best, other.best_epoch) == (one.best, one.best_epoch)


def test_an_iterable_is_resumed(tmp_path):
    x, y = ragged()
    batches = [(x[n : n + 5], y[n : n + 5]) for n in range(0, 23, 5)]
    options = {"loss": "mse", "optimizer": bptt.Adam(0.01), "progress": False}
    whole, model = rnn(0), rnn(0)
    whole.fit(batches, epochs=4, **options)
    options |= {"checkpoint": tmp_path / "run", "resume": True}
    model.fit(batches, epochs=2, **options)
    model = rnn(1)
    model.fit(batches, epochs=4, **options)
    assert bits(model) == bits(whole)
    # And what the file left is gone on with by another fit.
    for m in (whole, model):
        m.fit(batches, epochs=1, loss="mse", progress=False)
    assert bits(model) == bits(whole)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_generators_of_every_kind_go_on(kind, tmp_path):
    def generator(seed):
        return np.random.Generator(getattr(np.random, kind)(seed))

    options = {"optimizer": bptt.Adam(0.01), "checkpoint": tmp_path / "run"}
    whole, ours, theirs = gru(0), generator(1), generator(1)
    want = fit(whole, 4, ours, **options)
    fit(gru(0), 2, theirs, **options)
    model, other = gru(1), generator(5)
    assert fit(model, 4, other, resume=True, **options).loss == want.loss
    assert bits(model) == bits(whole)
    assert ours.random() == other.random()


def test_checkpoints_come_every_so_many_epochs_and_at_the_end(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(safetensors, "write", lambda path, tensors, texts: written.append(texts))
    options = {"optimizer": bptt.SGD(0.1), "checkpoint": tmp_path / "run"}
    fit(gru(0), 7, checkpoint_every=3, **options)
    assert [json.loads(texts["bptt.training"])["epochs"] for texts in written] == [3, 6, 7]


def test_a_checkpoint_changes_nothing_in_training(tmp_path):
    make, options = CASES[0]
    a, b = make(0), make(0)
    assert fit(a, **options).loss == fit(b, checkpoint=tmp_path / "run", **options).loss
    assert bits(a) == bits(b)


def test_a_run_that_diverged_leaves_the_checkpoint_before(tmp_path):
    path, options = tmp_path / "run", {"optimizer": bptt.SGD(0.1)}
    model = gru(0)
    fit(model, 2, checkpoint=path, **options)
    before = path.read_bytes()
    model.layers[1].parameters["bias"][:] = np.inf
    with pytest.raises(bptt.DivergedError):
        fit(model, 2, checkpoint=path, **options)
    assert path.read_bytes() == before


def refused(match, model=None, kind=ValueError, epochs=EPOCHS, **options):
    model = gru(0) if model is None else model
    before = bits(model)
    with pytest.raises(kind, match=match):
        fit(model, epochs, **{"optimizer": bptt.Adam(0.01), **options})
    assert bits(model) == before
    assert model.history is None


def test_what_cannot_be_resumed_is_refused(tmp_path):
    path = tmp_path / "run"
    good = {"checkpoint": path, "resume": True}
    refused("give checkpoint=path", resume=True)
    refused("resume must be True or False", kind=TypeError, checkpoint=path, resume=1)
    refused("path must be a str or a path", kind=TypeError, checkpoint=3)
    refused("checkpoint_every must be at least 1", checkpoint=path, checkpoint_every=0)
    refused("existing directory", kind=FileNotFoundError, checkpoint=tmp_path / "none" / "run")
    gru(0).save(path)
    refused("no training to resume", **good)
    fit(gru(0), 2, optimizer=bptt.Adam(0.01), checkpoint=path)
    refused("is of another model, Sequential.GRU", model=lstm(0), **good)
    refused("with batch_size 32; this one has batch_size 4", batch_size=4, **good)
    refused(
        r"optimizer 'Adam\(lr=0.01.* has optimizer 'Adam\(lr=0.02",
        optimizer=bptt.Adam(0.02),
        **good,
    )
    refused("shuffle True; this one has shuffle False", shuffle=False, **good)
    refused(
        "saved with a PCG64 generator, rng must be one, got MT19937",
        rng=np.random.Generator(np.random.MT19937(0)),
        **good,
    )
    x, y = ragged(count=5)
    with pytest.raises(ValueError, match=r"sequences 23, steps .* this one has sequences 5"):
        gru(0).fit(x, y, loss="mse", optimizer=bptt.Adam(0.01), validation=(x, y), **good)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused("it was cut off", **good)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, tensors: t.update(version=2), "training state of version 2, must be 1"),
        (lambda t, tensors: t.update(epochs=-1), "damaged training state"),
        (lambda t, tensors: t.pop("parts"), "damaged training state"),
        (lambda t, tensors: t["parts"].pop("order"), r"states of \['history', 'run', 'sch"),
        (lambda t, tensors: t["parts"]["run"].clear(), "state of run"),
        (lambda t, tensors: t["parts"]["schedule"].update(step="1"), "state of schedule"),
        (lambda t, tensors: t["parts"]["trainer"].update(seed=-1), "state of trainer"),
        (lambda t, tensors: t["parts"]["trainer"].update(vectors=[]), "state of trainer"),
        (lambda t, tensors: t["parts"]["trainer"].update(vectors=3), "state of trainer"),
        (lambda t, tensors: t["parts"]["history"].pop("loss"), "state of history"),
        (lambda t, tensors: t["parts"]["order"]["generator"].pop("state"), "state of order"),
        (lambda t, tensors: tensors["training.4"].fill(0), "state of order"),
        (lambda t, tensors: tensors.pop("training.0"), "damaged training state"),
    ],
)
def test_damaged_training_states_are_refused(change, message, tmp_path):
    path = tmp_path / "run"
    fit(gru(0), 2, optimizer=bptt.Adam(0.01), checkpoint=path)
    tensors, texts = safetensors.read(path)
    training = json.loads(texts["bptt.training"])
    change(training, tensors)
    safetensors.write(path, tensors, {**texts, "bptt.training": json.dumps(training)})
    refused(message, checkpoint=path, resume=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
def test_killed_at_random_moments(tmp_path):
    """A few of what `python tests/kill.py` does 200 times."""
    command = [sys.executable, str(SCRIPT), "--times", "5", "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kills" in done.stdout
    shutil.rmtree(tmp_path)
