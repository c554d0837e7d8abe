"""Where `fit` takes its data from: mapped files and iterables train as arrays do."""

import mmap
import subprocess
import sys

import numpy as np
import pytest
from fitting import FORMS, fit, mapped, model, parameters, regression, tokens

import bptt
from bptt._support import check


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_mapped_arrays_train_as_arrays_do(form, tmp_path):
    x, y = regression()
    xs, ys = mapped(tmp_path / "x.npy", x, **form), mapped(tmp_path / "y.npy", y, **form)
    a, b = model(), model()
    weights = np.linspace(0, 1, 12)
    settings = {"epochs": 3, "batch_size": 5, "sample_weight": weights, "metrics": ["rmse"]}
    want = fit(a, np.array(xs), np.array(ys), validation=(np.array(xs), np.array(ys)), **settings)
    got = fit(b, xs, ys, validation=(xs, ys), **settings)
    np.testing.assert_array_equal(parameters(a), parameters(b))
    assert (got.loss, got.validation_loss) == (want.loss, want.validation_loss)
    assert got.metrics == want.metrics
    assert b.evaluate(xs, ys, loss="mse") == got.validation_loss[-1]


@pytest.mark.parametrize("settings", [{"tbptt": 2}, {"stateful": True}, {"accumulate": 2}])
def test_batches_of_a_mapped_file_belong_to_one_epoch(settings, tmp_path):
    x, y = regression()
    a, b = model(), model()
    settings = {"epochs": 3, "batch_size": 4, "shuffle": False} | settings
    fit(a, x, y, **settings)
    fit(b, mapped(tmp_path / "x.npy", x), y, **settings)
    np.testing.assert_array_equal(parameters(a), parameters(b))


def test_lists_of_mapped_arrays_and_of_tokens(tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 5, steps) for steps in (3, 1, 6, 2, 4)]
    y = [(part + 1) % 5 for part in x]
    files = [mapped(tmp_path / f"{n}.npy", part, "uint8") for n, part in enumerate(x)]
    a, b = tokens(), tokens()
    settings = {"loss": "cross_entropy", "epochs": 3, "batch_size": 2}
    fit(a, x, y, **settings)
    fit(b, files, y, **settings)
    np.testing.assert_array_equal(parameters(a), parameters(b))


def test_of_a_mapped_file_only_the_rows_of_a_batch_are_converted(tmp_path, monkeypatch):
    x, y = regression()
    seen = []
    floats = check.floats

    def spy(name, value, dtype):
        seen.append(len(value))
        return floats(name, value, dtype)

    monkeypatch.setattr(check, "floats", spy)
    fit(model(), mapped(tmp_path / "x.npy", x), mapped(tmp_path / "y.npy", y), batch_size=5)
    assert sorted(set(seen)) == [1, 2, 5]  # one to see whether all fits; 5, 5 and 2


def test_a_mapped_file_that_does_not_fit(tmp_path):
    x, y = regression()
    with pytest.raises(ValueError, match="x must have 2 features"):
        fit(model(), mapped(tmp_path / "x.npy", x[..., :1]), y)
    with pytest.raises(ValueError, match="y must have an item for each sequence, got 3"):
        fit(model(), mapped(tmp_path / "x.npy", x), 3)
    for rank in (np.array(x[0, 0, 0]), x[0, 0], x[:, 0], x[None]):
        with pytest.raises(ValueError, match=r"x must be an array \(N, T, 2\)"):
            fit(
                model(),
                mapped(tmp_path / f"{rank.ndim}.npy", rank),
                y[: len(rank) if rank.ndim else 1],
            )
    with pytest.raises(ValueError, match="the same number of sequences, got 12 and 11"):
        fit(model(), mapped(tmp_path / "n.npy", x), y[:11])
    with pytest.raises(ValueError, match="a number for each sequence, got"):
        fit(model(), mapped(tmp_path / "w.npy", x), y, sample_weight=np.ones(11))


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="cannot let go of pages")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_mapped_file_larger_than_what_memory_is_used(dtype, tmp_path):
    """512 MiB of zeros (a sparse file), trained on in less than half as much."""
    code = """
import resource, sys
import numpy as np
import bptt
from bptt._support import check
dtype = np.dtype(sys.argv[2])
shape = (2**28 // dtype.itemsize // (64 * 1024), 2, 64, 1024)
x = np.memmap(sys.argv[1], dtype, "w+", shape=(2 * shape[0], 64, 1024))
y = np.zeros((len(x), 64, 1), np.float32)
model = bptt.Sequential(bptt.Linear(1024, 1, rng=0))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
start = peak()
history = model.fit(x, y, loss="mse", optimizer=bptt.SGD(0.1), batch_size=16, progress=False,
                    validation=(x, y))
print(x.nbytes / 2**20, peak() - start, len(history.loss))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x", dtype], capture_output=True, text=True
    )
    size, grown, epochs = map(float, run.stdout.split() or [0, 0, 0])
    assert (size, epochs) == (512, 1), run.stderr
    assert grown < 256, f"{grown} MiB"


# Iterables.


class Loader:
    """Batches like those of a data loader, in lists so that nothing is shared."""

    def __init__(self, x, y, size, *more, length=True):
        self.batches = [
            tuple(part[n : n + size].tolist() for part in (x, y, *more))
            for n in range(0, len(x), size)
        ]
        self.epochs = 0
        if length:
            self.__class__ = type(
                "LoaderWithLength", (Loader,), {"__len__": lambda s: len(s.batches)}
            )

    def __iter__(self):
        self.epochs += 1
        return iter(self.batches)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tbptt": 2},
        {"stateful": True},
        {"accumulate": 2},
        {"metrics": ["rmse"]},
        {"schedule": bptt.LinearLR(per="step", total_iters=7)},
        {"schedule": bptt.OneCycleLR(0.1)},
    ],
)
def test_an_iterable_trains_as_its_arrays_do(settings):
    x, y = regression()
    a, b = model(), model()
    weights = np.linspace(0, 1, 12)
    settings = {"epochs": 3, "batch_size": 4, "shuffle": False} | settings
    want = fit(a, x, y, validation=(x[:4], y[:4]), sample_weight=weights, **settings)
    loader = Loader(x, y, 4, weights)
    got = fit(b, loader, validation=Loader(x[:4], y[:4], 2), **settings)
    assert loader.epochs == 3
    np.testing.assert_array_equal(parameters(a), parameters(b))
    assert got.loss == pytest.approx(want.loss, rel=1e-14)
    assert got.validation_loss == pytest.approx(want.validation_loss, rel=1e-6)
    assert got.lr == want.lr
    for name, values in want.metrics.items():
        assert got.metrics[name] == pytest.approx(values, rel=1e-6)


def test_batches_of_any_size_and_length():
    x, y = regression()
    batches = [(x[:1, :2], y[:1, :2]), [x[1:6], y[1:6]], (list(x[6:]), list(y[6:]))]
    history = fit(model(), batches, epochs=30, batch_size=1)
    assert history.loss[-1] < history.loss[0]
    history = fit(model(), (batch for batch in batches))  # once
    assert len(history.loss) == 1


BAD = {
    "iterator": (lambda x, y: {"x": iter([(x, y)]), "epochs": 2}, "yields its batches only once"),
    "no batches": (lambda x, y: {"x": []}, "x has no batches"),
    "array": (lambda x, y: {"x": x}, "y is missing"),
    "number": (lambda x, y: {"x": 3}, "y is missing"),
    "no pair": (lambda x, y: {"x": [(x,)]}, r"batch 0 must be a tuple \(x, y\).*got tuple"),
    "no tuple": (lambda x, y: {"x": [x[:2], y[:2]]}, "batch 0 must be a tuple.*got ndarray"),
    "features": (
        lambda x, y: {"x": [(x, y), (x[..., :1], y)]},
        "batch 1 x must have 2 features",
    ),
    "weights": (
        lambda x, y: {"x": [(x, y, np.ones(3))]},
        r"batch 0 sample_weight must have shape \(12,\)",
    ),
    "weights beside": (
        lambda x, y: {"x": [(x, y)], "sample_weight": np.ones(12)},
        "sample_weight needs x and y as arrays",
    ),
    "rows of a state": (
        lambda x, y: {"x": [(x[:4], y[:4]), (x[4:6], y[4:6])], "stateful": True},
        "cannot go on from one of 4",
    ),
    "cycle": (
        lambda x, y: {
            "x": Loader(x, y, 4, length=False),
            "schedule": bptt.OneCycleLR(0.1),
        },
        "OneCycleLR needs total_steps",
    ),
    "cycle too short": (
        lambda x, y: {
            "x": Loader(x, y, 2, length=False),
            "schedule": bptt.OneCycleLR(0.1, total_steps=3),
        },
        "ends after total_steps=3",
    ),
    "validation": (
        lambda x, y: {"x": x, "y": y, "validation": iter([(x, y)]), "epochs": 2},
        "validation x is an iterator",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_what_is_wrong_with_an_iterable(case):
    make, message = case
    settings = make(*regression())
    m = model()
    before = parameters(m)
    with pytest.raises(ValueError, match=message):
        fit(m, settings.pop("x"), settings.pop("y", None), **settings)
    np.testing.assert_array_equal(parameters(m), before)
