"""NaN and infinity in data: refused with their place, or not read where the weight is 0."""

import numpy as np
import pytest
from fitting import fit, mapped, model, parameters, regression, tokens

import bptt

BAD = [np.nan, np.inf, -np.inf, 1e39]  # the last is infinite in float32


def last_step(seed=0):
    rng = np.random.default_rng(seed)
    return bptt.Sequential(bptt.GRU(2, 4, rng=rng), bptt.LastStep(), bptt.Linear(4, 1, rng=rng))


def refused(work, words, m):
    """Check that the words are in the error, and that the model is as it was."""
    before = parameters(m)
    with pytest.raises(ValueError, match=words):
        work()
    np.testing.assert_array_equal(parameters(m), before)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["x", "y", "validation x", "validation y"])
@pytest.mark.parametrize("form", ["array", "list", "last step"])
def test_what_is_not_finite_is_refused_with_its_place(bad, where, form):
    (x, y), (vx, vy) = regression(), regression(seed=1)
    m = model()
    if form == "last step":
        m, y, vy = last_step(), y[:, -1], vy[:, -1]
    target = {"x": x, "y": y, "validation x": vx, "validation y": vy}[where]
    feature = target.shape[-1] - 1
    if target.ndim == 3:
        target[7, 3, feature] = target[9, 1, 0] = bad
        place = f"sequence 7, step 3, feature {feature}"
    else:
        target[7, feature] = target[9, 0] = bad
        place = f"sequence 7, feature {feature}"
    if form == "list":
        x, y, vx, vy = list(x), list(y), list(vx), list(vy)
    words = f"^{where} has 2 numbers that are NaN or infinite in float32: .*{place}: .*check_finite"
    refused(lambda: fit(m, x, y, validation=(vx, vy)), words, m)
    assert m.history is None
    if where[0] == "v":
        words = words.replace("validation ", "")
        refused(lambda: m.evaluate(vx, vy, loss="mse"), words, m)
    if where[-1] == "x":
        given = x if where == "x" else vx
        refused(lambda: m.predict(given), words.replace("validation ", ""), m)
        m.predict(given, check_finite=False)


def test_double_precision_takes_large_numbers():
    x, _ = regression()
    x[0, 0, 0] = 1e39
    assert np.isfinite(model(dtype="float64").predict(x)).all()
    x[0] = 1e308  # the sum overflows, no number does
    model(dtype="float64").predict(x)
    model().predict(np.full((1, 4, 2), 3e38, np.float32))


def test_a_sample_weight_is_refused_with_its_place():
    x, y = regression()
    for bad in (np.nan, np.inf, -1.0):
        weights = np.ones(12)
        weights[5] = bad
        m = model()
        words = f"finite numbers of at least 0, got {bad} for sequence 5"
        refused(lambda w=weights, m=m: fit(m, x, y, sample_weight=w), words, m)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_mapped_file_is_checked_when_a_batch_is_read(shuffle, tmp_path):
    x, y = regression()
    x[7, 3, 1] = np.nan
    for dtype in ("float32", "float64"):
        xs = mapped(tmp_path / f"x{dtype}.npy", x, dtype)
        m = model()
        words = r"^batch \d+ of x has a number .* nan in sequence 7, step 3, feature 1"
        refused(lambda xs=xs, m=m: fit(m, xs, y, batch_size=5, shuffle=shuffle), words, m)
        refused(lambda xs=xs, m=m: m.predict(xs), "batch 0 of x .* sequence 7, step 3", m)
        refused(lambda xs=xs, m=m: m.evaluate(xs, y, loss="mse"), "sequence 7, step 3", m)
        refused(
            lambda xs=xs, m=m: fit(m, np.zeros_like(x), y, validation=(xs, y)),
            "validation x .* 7",
            m,
        )


def test_a_batch_of_an_iterable_is_checked_when_its_turn_comes():
    x, y = regression()
    batches = [(x[n : n + 4], y[n : n + 4]) for n in (0, 4, 8)]
    batches[2] = (batches[2][0], batches[2][1].copy())
    batches[2][1][1, 2, 0] = np.inf
    m = model()
    refused(lambda: fit(m, batches), "^batch 2 y has a number .* inf in sequence 1, step 2", m)
    assert m.history.loss == []
    words = "^batch 2 y has a number"
    refused(lambda: m.evaluate(batches, loss="mse"), words, m)
    refused(lambda: fit(m, x, y, validation=iter(batches)), "^validation batch 2 y has a number", m)


@pytest.mark.parametrize(
    "settings",
    [{}, {"tbptt": 2}, {"accumulate": 2}, {"clip_norm": 0.1}, {"stateful": True, "shuffle": False}],
)
@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "bce_with_logits"])
def test_a_sequence_of_weight_0_is_not_read(loss, settings):
    x, y = regression()
    y = (y > 0).astype(float)
    weights = np.linspace(0, 1, 12)
    weights[[4, 7]] = 0
    metrics = ["accuracy"] if loss == "bce_with_logits" else ["rmse"]
    settings = {"loss": loss, "epochs": 3, "batch_size": 4, "metrics": metrics} | settings
    a, b = model(), model()
    x[0] = 0.0
    want = fit(a, x, y, sample_weight=weights, **settings)
    x, y = x.copy(), y.copy()
    y[0], y[4, 2], y[7] = np.nan, np.inf, -np.inf
    if not settings.get("stateful"):
        x[0], x[4, 1, 1], x[7] = np.nan, np.inf, 1e30
    got = fit(b, x, y, sample_weight=weights, **settings)
    np.testing.assert_array_equal(parameters(a), parameters(b))
    assert (got.loss, got.metrics) == (want.loss, want.metrics)
    assert np.isfinite(got.loss).all() and np.isfinite(next(iter(got.metrics.values()))).all()


def test_with_stateful_the_x_of_weight_0_is_read():
    x, y = regression()
    x[3, 0, 0] = np.nan
    weights = np.ones(12)
    weights[3] = 0
    fit(model(), x, y, sample_weight=weights)
    m = model()
    settings = {"stateful": True, "shuffle": False, "batch_size": 4, "sample_weight": weights}
    refused(lambda: fit(m, x, y, **settings), "^x has a number .* sequence 3, step 0", m)


def test_a_target_of_class_weight_0_or_ignored_is_not_in_metrics():
    x = np.random.default_rng(0).integers(0, 5, (6, 4))
    y = (x + 1) % 5
    y[:, 2] = 0
    m = tokens()
    ignored = np.where(y == 0, -100, y)
    metrics = ["accuracy", "perplexity"]
    want = m.evaluate(x, ignored, loss="cross_entropy", metrics=metrics)
    loss = bptt.CrossEntropyLoss(weight=[0, 1, 1, 1, 1])
    got = m.evaluate(x, y, loss=loss, metrics=metrics)
    assert got == pytest.approx(want, rel=1e-12)


def test_with_the_check_off_an_error_names_the_data():
    x, y = regression()
    x[7, 3, 1] = np.nan
    batches = [(x[n : n + 4], y[n : n + 4]) for n in (0, 4, 8)]
    for data in ((x, y), (batches, None)):
        m = model()
        before = parameters(m)
        with pytest.raises(bptt.DivergedError, match="has a number that is NaN") as caught:
            fit(m, *data, check_finite=False, shuffle=False)
        assert "learning rate" not in str(caught.value)
        np.testing.assert_array_equal(parameters(m), before)
    assert np.isnan(model().evaluate(x, y, loss="mse", check_finite=False))


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_with_the_check_off_a_bad_batch_before_may_be_the_cause(loss, tmp_path):
    x, y = regression()
    x[1, 4, 0] = np.inf  # the loss of the batch is finite, its gradients are not
    settings = {"loss": loss, "check_finite": False, "shuffle": False, "batch_size": 4}
    for data in (([(x[:4], y[:4]), (x[4:], y[4:])], None), (mapped(tmp_path / "x.npy", x), y)):
        m = model()
        before = parameters(m)
        with pytest.raises(bptt.DivergedError, match="earlier batches may hold NaN or infinity"):
            fit(m, *data, **settings)
        np.testing.assert_array_equal(parameters(m), before)


def test_an_error_names_parameters_that_were_not_finite():
    x, y = regression()
    m = model()
    m.layers[1].parameters["bias"][:] = np.inf
    with pytest.raises(
        bptt.DivergedError, match=r"parameter 1\.bias was NaN or infinite"
    ) as caught:
        fit(m, x, y)
    assert "learning rate" not in str(caught.value)


def test_finite_data_that_diverge_still_diverge():
    x, y = regression()
    with pytest.raises(bptt.DivergedError, match="try a smaller learning rate"):
        fit(model(), x * 1e18, y * 1e18, optimizer=bptt.SGD(1e3), epochs=50, batch_size=4)


def test_data_that_become_nan_during_training_are_named():
    x, y = (part.astype(np.float32) for part in regression())

    class Spoil(bptt.Callback):
        def on_epoch_end(self, epoch, logs):
            x[2, 1, 0] = np.nan

    with pytest.raises(
        bptt.DivergedError, match=r"x has a number .* sequence 2, step 1, feature 0"
    ):
        fit(model(), x, y, epochs=2, callbacks=[Spoil()])


# Nothing to train on.


def test_fit_refuses_data_without_a_target_that_counts():
    x = np.zeros((6, 4), int)
    m = tokens()
    words = "y has only ignored targets, or weights of 0: there is nothing to train on"
    batches = "all targets are ignored, or have weight 0: there is nothing to train on"
    ignored, loss = np.full((6, 4), -100), "cross_entropy"
    refused(lambda: fit(m, x, ignored, loss=loss), words, m)
    refused(lambda: fit(m, [(x, ignored)] * 2, loss=loss), batches, m)
    weighted = bptt.CrossEntropyLoss(weight=[0, 1, 1, 1, 1])
    refused(lambda: fit(m, x, x, loss=weighted), words, m)
    refused(lambda: fit(m, x, x, loss=loss, sample_weight=np.zeros(6)), words, m)
    some = ignored.copy()
    some[0] = 1
    refused(lambda: fit(m, x, some, loss=loss, sample_weight=[0, 1, 1, 1, 1, 1]), words, m)
    assert m.history is None or m.history.loss == []
    assert fit(m, x, some, loss=loss).loss[0] > 0
    assert fit(m, [(x, ignored), (x, some)], loss=loss).loss[0] > 0
    m = model()
    x, y = regression()
    refused(lambda: fit(m, x, y, sample_weight=np.zeros(12)), words, m)


def test_fit_refuses_a_mapped_file_without_a_target_that_counts(tmp_path):
    x = mapped(tmp_path / "x.npy", np.zeros((6, 4)), "uint32")
    m = tokens()
    words = "all targets are ignored, or have weight 0: there is nothing to train on"
    refused(lambda: fit(m, x, np.full((6, 4), -100), loss="cross_entropy"), words, m)


# Targets and tokens that change under the core.


class Change(bptt.Callback):
    """Writes to an array after the first epoch."""

    def __init__(self, array, value):
        self.array, self.value = array, value

    def on_epoch_end(self, epoch, logs):
        self.array[...] = self.value


@pytest.mark.parametrize("weight", [None, [1.0] * 5])
@pytest.mark.parametrize("value", [7, 5, 2**31, 2**32 - 1])
@pytest.mark.parametrize("which", ["x", "y", "validation x", "validation y"])
def test_what_changes_during_training_is_an_error(which, value, weight):
    names = ["x", "y", "validation x", "validation y"]
    data = dict(zip(names, (np.zeros((8, 6), np.uint32) for _ in names)))
    settings = {
        "loss": bptt.CrossEntropyLoss(weight=weight),
        "epochs": 3,
        "validation": (data["validation x"], data["validation y"]),
        "callbacks": [Change(data[which], value)],
        "metrics": ["accuracy", "perplexity"],
    }
    m = tokens()
    with pytest.raises(ValueError, match=r"out of range|must be below"):
        fit(m, data["x"], data["y"], **settings)
    assert len(m.history.loss) == 1
    assert np.isfinite(parameters(m)).all()


def test_2_to_the_32_minus_1_is_out_of_range_everywhere():
    big = 2**32 - 1
    ones, m = np.ones((1, 2), int), tokens()
    for token in (5, big, big + 1, big + 2, 2**63):
        x = np.array([[0, token]], np.uint64)
        refused(lambda x=x: fit(m, x, ones, loss="cross_entropy"), "numbers from 0 to 4", m)
        refused(lambda x=x: fit(m, ones, x, loss="cross_entropy"), "numbers from 0 to 4", m)
        refused(lambda x=x: m.predict(x), "numbers from 0 to 4", m)
        refused(lambda x=x: m.evaluate(x, ones, loss="cross_entropy"), "from 0 to 4", m)
        refused(lambda x=x: m.evaluate(ones, x, loss="cross_entropy"), "from 0 to 4", m)
        refused(lambda x=x: m.generate(x[0], 1), "from 0 to 4", m)
        for layer in (bptt.OneHot(5), bptt.Embedding(5, 2, rng=0)):
            with pytest.raises(ValueError, match="numbers from 0 to 4"):
                layer(x)


@pytest.mark.parametrize("token", [2**32 - 1, 2**32, 2**32 + 1, 2**33 - 1])
def test_a_token_above_32_bits_is_not_another_one(token):
    with pytest.raises(ValueError, match=f"got {token}"):
        bptt.OneHot(2**33)(np.array([[token]]))
    with pytest.raises(ValueError, match=f"got {token}"):
        bptt.Sequential(bptt.OneHot(2**33)).predict(np.array([[token]]))


def test_ignored_targets_are_those_of_ignore_index():
    x, y = np.zeros((2, 3), int), np.array([[1, 2, 3], [1, 4, 4]])
    m = tokens()
    want = m.evaluate(x, np.where(y == 4, -100, y), loss="cross_entropy")
    for index in (4, 2**32 - 1):
        given = np.where(y == 4, index, y)
        loss = bptt.CrossEntropyLoss(ignore_index=index)
        assert m.evaluate(x, given, loss=loss) == want


@pytest.mark.parametrize("form", ["arrays", "ragged", "batches", "mapped"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_a_sequence_of_weight_0_is_not_read_in_any_form(form, loss, tmp_path):
    def make():
        rng = np.random.default_rng(0)
        cells = bptt.LSTM(2, 6, bidirectional=True, layer_norm=True, rng=rng)
        norm, dropout = bptt.LayerNorm(12), bptt.Dropout(0.2, rng=1)
        return bptt.Sequential(cells, bptt.LastStep(), norm, dropout, bptt.Linear(12, 2, rng=rng))

    x, y = regression()
    y = np.concatenate([y[:, -1], -y[:, -1]], axis=-1)
    weights = np.ones(12)
    weights[[3, 10]] = 0
    bad_x, bad_y = x.copy(), y.copy()
    bad_x[3], bad_x[10, 2, 1], bad_y[3] = np.nan, np.inf, np.nan
    results = []
    for xs, ys in ((x, y), (bad_x, bad_y)):
        settings = {"sample_weight": weights, "loss": loss, "epochs": 2, "batch_size": 4}
        settings["metrics"] = ["rmse" if loss == "mse" else "accuracy"]
        if loss == "cross_entropy":
            ys = (y[:, 0] > 0).astype(int)
        if form == "ragged":
            xs = [part[: 2 + n % 4] for n, part in enumerate(xs)]
        if form == "mapped":
            xs = mapped(tmp_path / "x.npy", xs)
        if form == "batches":
            cut = [slice(n, n + 4) for n in (0, 4, 8)]
            xs, ys = [(xs[s], ys[s], settings["sample_weight"][s]) for s in cut], None
            del settings["sample_weight"]
        m = make()
        history = fit(m, xs, ys, **settings)
        results.append((parameters(m), history.loss, history.metrics))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
    assert np.isfinite(results[0][1]).all()
