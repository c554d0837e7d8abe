"""`bptt.check`, and what `fit` warns of by itself."""

import itertools
import subprocess
import sys
import time
import types
import warnings

import numpy as np
import pytest

import bptt

TIMES = np.arange(2000) * 0.1
WAVE = (np.sin(TIMES) + 0.5 * np.sin(2.7 * TIMES)).reshape(40, 50, 1)
X, Y = WAVE[:, :-1], WAVE[:, 1:]
NOISE = np.random.default_rng(0).standard_normal((60, 10, 2))
KINDS = np.arange(60) % 3


def model(features=1, outputs=1, cell=bptt.LSTM):
    return bptt.Sequential(cell(features, 16, rng=0), bptt.Linear(16, outputs, rng=1))


def classifier(features=1, outputs=3):
    return bptt.Sequential(
        bptt.GRU(features, 16, rng=0), bptt.LastStep(), bptt.Linear(16, outputs, rng=1)
    )


def speller(classes=4):
    gru = bptt.GRU(classes, 16, dropout=0.0, rng=0)
    return bptt.Sequential(bptt.OneHot(classes), gru, bptt.Linear(16, classes, rng=1))


def found(m, x, y, **options):
    return {finding.name: finding for finding in bptt.check(m, x, y, show=False, **options)}


def at(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def deep():
    sizes = [1] + [4] * 14
    layers = [bptt.RNN(i, h, rng=n) for n, (i, h) in enumerate(itertools.pairwise(sizes))]
    for layer in layers:
        for array in layer.parameters.values():
            array *= 0.3
    return bptt.Sequential(*layers, bptt.Linear(4, 1, rng=0))


def large(factor):
    m = model()
    m.layers[1].parameters["weight"][:] *= factor
    return m


def saturated():
    m = model(cell=bptt.RNN)
    m.layers[0].parameters["bias_ih_l0"][:] = 60.0
    m.layers[1].parameters["weight"][:] = 0.0
    m.layers[1].parameters["bias"][:] = Y.mean()
    return m


TOKENS = np.random.default_rng(1).integers(0, 4, (30, 13))
ONES = np.ones((60, 1))

#: For each finding: its name, its level, words of it, and what it is found in.
FINDINGS = {
    "shape": ("shapes", "error", "type x[..., None]", lambda: (model(), X[..., 0], Y)),
    "names": ("shapes", "error", "np.unique", lambda: (classifier(2), NOISE, KINDS.astype(str))),
    "nan": (
        "finite",
        "error",
        "nan in sequence 3, step 4",
        lambda: (model(), at(X, (3, 4), np.nan), Y),
    ),
    "infinity in y": (
        "finite",
        "error",
        "y has a number",
        lambda: (model(), X, at(Y, (0, 0), np.inf)),
    ),
    "large x": (
        "scale of x",
        "warning",
        "type x = (x - x.mean()) / x.std()",
        lambda: (model(), 300 + 100 * X, Y),
    ),
    "hopeless x": ("scale of x", "error", "a mean of 1e+04", lambda: (model(), 1e4 + X, Y)),
    "small x": ("scale of x", "warning", "a deviation of", lambda: (model(), 1e-4 * X, Y)),
    "far x": ("scale of x", "warning", "a mean of 8", lambda: (model(), 8 + 0.1 * X, Y)),
    "one of two": (
        "scale of x",
        "warning",
        "(feature 1)",
        lambda: (classifier(2), NOISE * [1, 100], KINDS),
    ),
    "a fixed feature": (
        "features of x",
        "warning",
        "1 of 2 features of x never change (1)",
        lambda: (classifier(2), NOISE * [1, 0] + 1, KINDS),
    ),
    "fixed x": ("features of x", "error", "x never changes", lambda: (model(), 0 * X + 1, Y)),
    "time first": (
        "axes of x",
        "warning",
        "type x.swapaxes(0, 1)",
        lambda: (model(), X.swapaxes(0, 1), Y.swapaxes(0, 1)),
    ),
    "features in time": (
        "axes of x",
        "warning",
        "type x.swapaxes(1, 2)",
        lambda: (classifier(49), X.swapaxes(1, 2), np.arange(40) % 3),
    ),
    "one step": (
        "axes of x",
        "warning",
        "one step",
        lambda: (classifier(1), NOISE[:, :1, :1], KINDS),
    ),
    "one class": (
        "classes of y",
        "error",
        "Every target is class 1",
        lambda: (classifier(2), NOISE, np.ones(60, int)),
    ),
    "a missing class": (
        "classes of y",
        "warning",
        "2 of 5 classes never occur in y (3, 4)",
        lambda: (classifier(2, 5), NOISE, KINDS),
    ),
    "a rare class": (
        "classes of y",
        "warning",
        "99.6% of the targets are class 0",
        lambda: (
            classifier(1, 2),
            np.repeat(NOISE[..., :1], 4, 0),
            (np.arange(240) == 7).astype(int),
        ),
    ),
    "fixed y": (
        "targets",
        "error",
        "Every target is 2: there is nothing to learn",
        lambda: (model(), X, 0 * Y + 2),
    ),
    "a fixed y": (
        "targets",
        "warning",
        "1 of 2 numbers of y never change (1)",
        lambda: (model(outputs=2), X, np.concatenate([Y, 0 * Y], -1)),
    ),
    "signs": (
        "targets",
        "error",
        "from -1 to 1",
        lambda: (classifier(2, 1), NOISE, np.where(KINDS > 0, 1.0, -1.0), "bce_with_logits"),
    ),
    "rare truth": (
        "targets",
        "warning",
        "pos_weight",
        lambda: (
            classifier(1, 1),
            np.repeat(NOISE[..., :1], 4, 0),
            (np.arange(240) == 7) * 1.0,
            "bce_with_logits",
        ),
    ),
    "large y": ("scale of y", "warning", "outputs begin near 0", lambda: (model(), X, 400 + Y)),
    "y is x": ("target", "warning", "y equals x", lambda: (model(), X, X)),
    "all ignored": (
        "targets",
        "error",
        "ignored",
        lambda: (speller(), TOKENS, np.full_like(TOKENS, -100)),
    ),
    "far from chance": (
        "initial loss",
        "warning",
        "far from the targets",
        lambda: (large(100), X, Y),
    ),
    "a large gradient": ("gradient", "warning", "it is large", lambda: (model(), X, 400 + 100 * Y)),
    "no gradient below": ("gradient", "warning", "hardly reaches a layer", lambda: (deep(), X, Y)),
    "an infinite gradient": (
        "gradient",
        "error",
        "NaN or infinite",
        lambda: (model(), X, 1e34 * Y),
    ),
    "no gradient": ("gradient", "warning", "", lambda: (saturated(), X, Y)),
    "no parameters": (
        "gradient",
        "error",
        "no parameters",
        lambda: (bptt.Sequential(bptt.OneHot(4)), TOKENS, TOKENS[:, ::-1]),
    ),
    "nothing learnt": (
        "by heart",
        "warning",
        "hardly learns them by heart",
        lambda: (model(), X, 400 + 100 * Y),
    ),
}


@pytest.mark.parametrize("case", FINDINGS.values(), ids=FINDINGS)
def test_a_fault_is_found(case):
    name, level, words, make = case
    m, x, y, *loss = make()
    finding = found(m, x, y, loss=loss[0] if loss else None)[name]
    assert finding.level == level, finding
    assert words in finding.sentence
    assert finding.sentence.endswith(".") and "\n" not in finding.sentence


GOOD = {
    "numbers": lambda: (model(), X, Y),
    "a number for each": lambda: (classifier(2, 1), NOISE, NOISE.sum(axis=(1, 2)) / 3),
    "classes": lambda: (classifier(2), NOISE, KINDS),
    "tokens": lambda: (speller(), TOKENS[:, :-1], TOKENS[:, 1:]),
    "lists": lambda: (
        model(),
        [part[n:] for n, part in enumerate(X)],
        [part[n:] for n, part in enumerate(Y)],
    ),
    "lists of tokens": lambda: (speller(), [[0, 1, 2, 3], [3, 1]], [[1, 2, 3, 0], [0, 2]]),
    "windows": lambda: (
        classifier(1, 1),
        np.lib.stride_tricks.sliding_window_view(WAVE.ravel(), 12)[:200, :, None],
        WAVE.ravel()[12:212],
    ),
    "float64": lambda: (
        bptt.Sequential(
            bptt.LSTM(1, 8, dtype="float64", rng=0), bptt.Linear(8, 1, dtype="float64", rng=0)
        ),
        X,
        Y,
    ),
    "layers with dropout": lambda: (
        bptt.Sequential(
            bptt.GRU(1, 16, num_layers=2, dropout=0.2, rng=0),
            bptt.Dropout(0.1, rng=0),
            bptt.Linear(16, 1, rng=1),
        ),
        X,
        Y,
    ),
    "two directions": lambda: (
        bptt.Sequential(
            bptt.LSTM(2, 8, bidirectional=True, rng=0), bptt.LastStep(), bptt.Linear(16, 3, rng=1)
        ),
        NOISE,
        KINDS,
    ),
    "scaled inside": lambda: (
        bptt.Sequential(
            bptt.LayerNorm(2), bptt.LSTM(2, 8, rng=0), bptt.LastStep(), bptt.Linear(8, 3, rng=1)
        ),
        500 * NOISE,
        KINDS,
    ),
    "one sequence": lambda: (model(), X[:1], Y[:1]),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_good_data_raise_no_alarm(make):
    assert [f for f in bptt.check(*make(), show=False) if f.level != "ok"] == []


def test_a_trained_model_is_told_from_a_new_one():
    m = model()
    assert "before training" in found(m, X, Y)["initial loss"].sentence
    m.fit(X, Y, loss="mse", optimizer=bptt.Adam(0.01), epochs=30, rng=0, progress=False)
    finding = found(m, X, Y)["initial loss"]
    assert finding.level == "ok" and "learnt already" in finding.sentence


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_chance_is_the_loss_of_the_best_constant(loss):
    m = bptt.Sequential(bptt.Linear(1, 1, rng=0))
    m.layers[0].parameters["weight"][:] = 0
    some = Y[np.linspace(0, 39, 8).astype(int), :50]
    m.layers[0].parameters["bias"][:] = np.median(some) if loss == "mae" else some.mean()
    told = found(m, X, Y, loss=loss)["initial loss"].sentence
    numbers = [float(word.strip(";:")) for word in told.split() if word[0].isdigit()]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-3)


def test_the_gradient_is_that_of_the_layers():
    m = bptt.Sequential(bptt.Linear(1, 1, rng=0))
    x, y = X[:8, :50], Y[:8, :50]
    (linear,) = m.layers
    out, record = linear.forward(x)
    _, grads = linear.backward(record, 2 * (out - y) / y.size)
    norm = np.sqrt(sum(float((g**2).sum()) for g in grads.values()))
    assert f"{norm:.2g} (0 Linear)" in found(m, x, y)["gradient"].sentence


def test_nothing_changes():
    numbers = bptt.GRU(1, 16, num_layers=2, dropout=0.3, rng=np.random.default_rng(5))
    m = bptt.Sequential(numbers, bptt.Linear(16, 1, rng=1))
    m.fit(X, Y, loss="mse", optimizer=bptt.Adam(), progress=False)
    x, y, history, before = X.copy(), Y.copy(), m.history, m.state_dict()
    draws, state = numbers._rng.bit_generator.state, np.random.get_state()[1].copy()  # noqa: NPY002
    bptt.check(m, x, y, show=False)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert m.history is history and numbers._rng.bit_generator.state == draws
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_it_is_the_same_every_time():
    first, second = (list(bptt.check(model(), X, Y, show=False)) for _ in range(2))
    assert first == second


def test_large_models_and_long_sequences_take_seconds():
    m = bptt.Sequential(bptt.LSTM(8, 256), bptt.LastStep(), bptt.Linear(256, 1))
    x = np.random.default_rng(0).standard_normal((4, 5000, 8))
    start = time.perf_counter()
    bptt.check(m, x, x[:, -1, 0], show=False)
    assert time.perf_counter() - start < 20  # 2 alone; the whole would take minutes


def test_a_mapped_file_is_read_in_part(tmp_path):
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (2000, 5, 1))
    file[:] = NOISE[0, :5, :1]
    file[:1000] += np.random.default_rng(0).standard_normal((1000, 5, 1))
    file[1500] = np.nan
    assert found(model(), file, file[:, ::-1])["finite"].level == "ok"


def test_it_prints_a_table(capsys):
    report = bptt.check(model(), 300 + X, Y)
    told = capsys.readouterr().out
    assert told == f"{report}\n"
    assert all(len(line) <= 100 for line in told.splitlines())
    assert [line.split()[0] for line in told.splitlines() if not line.startswith(" ")] == [
        finding.level for finding in report
    ]
    assert len(report) == len(report.findings)
    assert repr(report) == "<Report: 0 errors, 2 warnings, 8 ok>", told


def test_without_show_it_prints_nothing(capsys):
    bptt.check(model(), X, Y, show=False)
    assert capsys.readouterr() == ("", "")


def test_in_a_notebook_the_table_is_there_once(monkeypatch):
    shown = []
    shell = types.SimpleNamespace(kernel=None, execution_count=3)
    ipython = types.SimpleNamespace(
        get_ipython=lambda: shell,
        display=types.SimpleNamespace(display=lambda forms, raw: shown.append(forms["text/html"])),
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    report = bptt.check(model(), X, Y)
    assert len(shown) == 1 and shown[0].startswith("<table") and "scale of x" in shown[0]
    assert "<table" not in report._repr_html_()  # as the value of the same cell
    shell.execution_count = 4
    assert report._repr_html_() == shown[0]


def test_a_script_prints_the_table():
    code = (
        "import numpy as np, bptt; x = np.ones((4, 3, 1)); "
        "bptt.check(bptt.Sequential(bptt.LSTM(1, 1)), x, x)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "x never changes" in run.stdout


WRONG = {
    "model": (lambda: bptt.check(X, Y, 3), TypeError, r"type check\(model, x, y\)"),
    "no y": (lambda: bptt.check(model(), [(X, Y)], None), ValueError, "y is missing"),
    "loss": (
        lambda: bptt.check(model(), X, Y, loss="mean_squared_error"),
        ValueError,
        'loss="mse"',
    ),
    "show": (lambda: bptt.check(model(), X, Y, show=1), TypeError, "show must be True or False"),
    "an argument": (lambda: bptt.check(model(), X, Y, verbose=0), TypeError, "show"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_wrong_arguments(case):
    work, error, message = case
    with pytest.raises(error, match=message):
        work()


# What `fit` says by itself.

HOPELESS = {
    "large x": ("x has a mean of 1e.04", lambda: (model(), 1e4 + X, Y)),
    "large y": ("y has a mean of 1e.04", lambda: (model(), X, 1e4 + Y)),
    "fixed y": (r"every target is \[1.0\]", lambda: (model(), X, 0 * Y + 1)),
    "one class": ("every target is class 2", lambda: (speller(), TOKENS, 0 * TOKENS + 2)),
}


def fit(m, x, y, **settings):
    loss = "cross_entropy" if np.asarray(y[0]).dtype.kind in "iu" else "mse"
    return m.fit(x, y, loss=loss, optimizer=bptt.Adam(), progress=False, **settings)


@pytest.mark.parametrize("case", HOPELESS.values(), ids=HOPELESS)
def test_fit_warns_once_of_what_is_surely_wrong(case):
    words, make = case
    with pytest.warns(bptt.DataWarning, match=words) as caught:
        fit(*make(), epochs=3)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert "bptt.check(model, x, y)" in str(caught[0].message)


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_fit_is_silent_about_good_data(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(*make())


ORDINARY = {
    "unscaled, as in the lab": lambda: (model(), 300 + 100 * X, 300 + 100 * Y),
    "a small example": lambda: (model(), np.ones((4, 3, 1)), np.ones((4, 3, 1))),
    "a fixed feature": lambda: (classifier(2), NOISE * [1, 0], KINDS),
    "a rare class": lambda: (
        speller(),
        TOKENS,
        (np.arange(TOKENS.size) == 9).reshape(TOKENS.shape).astype(int),
    ),
}


@pytest.mark.parametrize("make", ORDINARY.values(), ids=ORDINARY)
def test_fit_is_silent_about_what_may_be_meant(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(*make())


def test_what_is_not_finite_on_purpose_is_let_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (np.nan, np.inf):
            with pytest.raises(bptt.DivergedError):
                fit(model(), at(X, (0, 0), value), Y, check_finite=False)


def test_iterables_are_not_looked_at():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model().fit([(1e4 + X, Y)], loss="mse", optimizer=bptt.Adam(), progress=False)


def test_the_warning_as_an_error_changes_nothing():
    m = model()
    before = m.state_dict()
    with warnings.catch_warnings(), pytest.raises(bptt.DataWarning):
        warnings.simplefilter("error")
        fit(m, 1e4 + X, Y)
    assert m.history is None
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_estimators_scale_their_data_and_do_not_warn():
    sklearn = pytest.importorskip("bptt.sklearn")
    with warnings.catch_warnings():
        warnings.simplefilter("error", bptt.DataWarning)
        warnings.filterwarnings("ignore", message="Maximum iterations")
        for series in (np.full(300, 7.0), 1e6 * np.sin(np.arange(300.0))):
            sklearn.SequenceForecaster(8, 1, hidden_size=4, max_iter=1).fit(series)
