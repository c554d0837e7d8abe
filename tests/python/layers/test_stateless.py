"""Layers without a state: alone, forward and backward, and in models."""

import copy
import pickle

import numpy as np
import pytest

import bptt


def x_of(*shape, seed=1, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def slopes(function, array, step=1e-6):
    """Central differences of a function of an array that is changed in place."""
    result = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        up = function()
        array[index] = kept - step
        result[index] = (up - function()) / (2 * step)
        array[index] = kept
    return result


def check_gradients(layer, x, **options):
    """Check backward against central differences of forward."""
    y, record = layer.forward(x, **options)
    dy = x_of(*y.shape, seed=9)
    dx, grads = layer.backward(record, dy)

    def loss():
        return float((layer(x, **options) * dy).sum())

    if np.asarray(x).dtype.kind == "f":
        assert dx.shape == x.shape
        np.testing.assert_allclose(dx, slopes(loss, x), atol=1e-8)
    assert list(grads) == list(layer.parameters)
    for name, array in layer.parameters.items():
        np.testing.assert_allclose(grads[name], slopes(loss, array), atol=1e-8)


def test_linear_backward():
    for shape in [(4,), (3, 4), (2, 3, 4), (0, 4)]:
        check_gradients(bptt.Linear(4, 2, dtype="float64", rng=0), x_of(*shape))
    check_gradients(bptt.Linear(4, 2, bias=False, dtype="float64", rng=0), x_of(3, 4))


@pytest.mark.parametrize("batch_first", [False, True])
def test_last_step(batch_first):
    layer = bptt.LastStep(batch_first=batch_first)
    x, lengths = x_of(5, 3, 2), [2, 5, 1]
    given = x.swapaxes(0, 1) if batch_first else x
    np.testing.assert_array_equal(layer(given), x[-1])
    np.testing.assert_array_equal(layer(given, lengths), x[[1, 4, 0], [0, 1, 2]])
    np.testing.assert_array_equal(layer(x[:, 0]), x[-1, 0])
    check_gradients(layer, given.copy())
    check_gradients(layer, given.copy(), lengths=lengths)
    check_gradients(layer, x[:, 0].copy())
    assert layer(np.zeros((0, 4, 3)) if batch_first else np.zeros((4, 0, 3))).shape == (0, 3)


def test_last_step_dtypes():
    layer = bptt.LastStep()
    for dtype, want in [("f4", "f4"), ("f8", "f8"), (">f8", "f8"), ("f2", "f4"), ("i8", "f4")]:
        y = layer(np.arange(8).reshape(4, 2).astype(dtype))
        assert y.dtype == want
        np.testing.assert_array_equal(y, [6, 7])


def test_last_step_in_a_model_is_the_sequences_own():
    gru, linear = bptt.GRU(2, 5, rng=0), bptt.Linear(5, 3, rng=1)
    every = bptt.Sequential(gru, linear)
    last = bptt.Sequential(gru, bptt.LastStep(), linear)
    x = x_of(4, 6, 2)
    y = last.predict(x)
    assert y.shape == (4, 3)
    np.testing.assert_array_equal(y, every.predict(x)[:, -1])
    ragged = [x[0], x[1, :2], x[2, :1], x[3, :4]]
    want = [part[-1] for part in every.predict(ragged)]
    np.testing.assert_array_equal(last.predict(ragged), want)
    stepper = last.stepper()
    for x_t, want in zip(x[0], every.predict(x)[0]):
        np.testing.assert_array_equal(stepper.step(x_t)[0], want)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def last_h(p, suffix, x):
    """torch's LSTM by its documentation, over x (T, I) as it comes: h after the last step."""
    h = c = np.zeros(p[f"weight_hh_{suffix}"].shape[1])
    for x_t in x:
        a = p[f"weight_ih_{suffix}"] @ x_t + p[f"bias_ih_{suffix}"]
        a += p[f"weight_hh_{suffix}"] @ h + p[f"bias_hh_{suffix}"]
        i, f, g, o = np.split(a, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


def test_last_step_of_two_directions_is_where_each_ends():
    """As in torch's h_n and Keras's Bidirectional: the second direction ends at the first step."""
    lstm = bptt.LSTM(2, 3, bidirectional=True, dtype="float64", rng=0)
    linear = bptt.Linear(6, 2, dtype="float64", rng=1)
    ragged = [x_of(4, 5, 2)[n, :steps] for n, steps in enumerate((5, 1, 3, 2))]
    p = lstm.parameters
    h = [np.r_[last_h(p, "l0", x), last_h(p, "l0_reverse", x[::-1])] for x in ragged]
    want = np.array(h) @ linear.parameters["weight"].T + linear.parameters["bias"]
    for between in ([], [bptt.Dropout(0.5), bptt.Dropout(0.1)]):
        model = bptt.Sequential(lstm, *between, bptt.LastStep(), linear)
        np.testing.assert_allclose(model.predict(ragged), want, rtol=1e-12)
    padded = np.zeros((5, 4, 2))
    for b, part in enumerate(ragged):
        padded[: len(part), b] = part
    y, (h_n, _) = lstm(padded, lengths=[5, 1, 3, 2])
    alone = bptt.LastStep()(y, lengths=[5, 1, 3, 2], bidirectional=True)
    np.testing.assert_array_equal(alone, np.concatenate(h_n, axis=-1))
    deep = bptt.GRU(2, 3, num_layers=2, bidirectional=True, dtype="float64", rng=2)
    x = x_of(4, 6, 2)
    _, (h_n,) = deep(x.swapaxes(0, 1))
    got = bptt.Sequential(deep, bptt.LastStep()).predict(x)
    np.testing.assert_allclose(got, np.concatenate(h_n[-2:], axis=-1), rtol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_last_step_alone_of_two_directions(batch_first):
    layer = bptt.LastStep(batch_first=batch_first)
    x, lengths = x_of(5, 3, 4), [2, 5, 1]
    want = np.concatenate([x[[1, 4, 0], [0, 1, 2], :2], x[0, :, 2:]], axis=-1)
    given = (x.swapaxes(0, 1) if batch_first else x).copy()
    np.testing.assert_array_equal(layer(given, lengths, bidirectional=True), want)
    check_gradients(layer, given, lengths=lengths, bidirectional=True)
    check_gradients(layer, x[:, 0].copy(), bidirectional=True)
    with pytest.raises(ValueError, match="even number of features, got 3"):
        layer(given[..., :3], bidirectional=True)
    with pytest.raises(TypeError, match="bidirectional must be True or False"):
        layer(given, bidirectional=2)


def test_a_model_of_two_directions_learns_what_only_the_second_can_tell(tmp_path):
    """Whether the first step of a long sequence is positive: there the second direction ends."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((steps, 1)) for steps in rng.integers(20, 40, 60)]
    y = np.array([int(part[0, 0] > 0) for part in x])
    model = bptt.Sequential(
        bptt.RNN(1, 4, bidirectional=True, rng=0), bptt.LastStep(), bptt.Linear(8, 2, rng=1)
    )
    options = {"loss": "cross_entropy", "optimizer": bptt.Adam(0.03), "rng": 0}
    history = model.fit(x, y, epochs=20, metrics=["accuracy"], progress=False, **options)
    assert history.accuracy[-1] > 0.9
    model.save(tmp_path / "model")
    twin = bptt.load(tmp_path / "model")
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))
    assert (twin.predict(x).argmax(axis=1) == y).mean() > 0.9


@pytest.mark.parametrize("between", [bptt.LayerNorm(6), bptt.Linear(6, 6)], ids=repr)
def test_what_mixes_two_directions_before_a_last_step_is_refused(between):
    both = bptt.LSTM(2, 3, bidirectional=True)
    name = type(between).__name__
    with pytest.raises(ValueError, match=f"{name} between .* put LastStep right after layer 0"):
        bptt.Sequential(both, bptt.Dropout(0.1), between, bptt.LastStep())
    x = x_of(4, 5, 2)
    assert bptt.Sequential(both, bptt.LastStep(), between).predict(x).shape == (4, 6)
    one = bptt.Sequential(both, between, bptt.RNN(6, 2), bptt.LastStep())  # whose last step it is
    assert one.predict(x).shape == (4, 2)


@pytest.fixture
def threads():
    """Give back the number of threads after a test that sets it."""
    before = bptt.get_num_threads()
    yield
    bptt.set_num_threads(before)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_targets_of_sequences(loss, threads):
    def model():
        layers = bptt.LSTM(1, 8, rng=0), bptt.LastStep(), bptt.Linear(8, 2, rng=1)
        return bptt.Sequential(*layers)

    rng = np.random.default_rng(0)
    x = [rng.standard_normal((length, 1)) for length in rng.integers(1, 6, 30)]
    classes = np.array([int(part.sum() > 0) for part in x])
    y = classes if loss == "cross_entropy" else np.eye(2)[classes]
    a, b = model(), model()
    options = {"loss": loss, "optimizer": bptt.Adam(0.02), "epochs": 60, "rng": 0}
    history = a.fit(x, y, validation=(x, y), progress=False, **options)
    assert history.loss[-1] < 0.5 * history.loss[0]
    assert history.validation_loss[-1] == a.evaluate(x, y.tolist(), loss=loss)
    assert (a.predict(x).argmax(axis=1) == classes).mean() > 0.85
    bptt.set_num_threads(1)
    assert b.fit(x, y, progress=False, **options).loss == history.loss


def test_what_does_not_fit_a_last_step():
    model = bptt.Sequential(bptt.GRU(2, 3), bptt.LastStep())
    x = x_of(4, 5, 2)
    fit = {"loss": "mse", "optimizer": bptt.Adam(), "progress": False}
    with pytest.raises(ValueError, match=r"shape \(4, 3\), got \(4, 5, 3\).*LastStep"):
        model.fit(x, np.zeros((4, 5, 3)), **fit)
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(4, 5\)"):
        model.evaluate(x, np.zeros((4, 5), int), loss="cross_entropy")
    with pytest.raises(ValueError, match="must hold numbers from 0 to"):
        model.evaluate(x, [0, 1, 2, 3], loss="cross_entropy")
    with pytest.raises(ValueError, match="tbptt"):
        model.fit(x, np.zeros((4, 3)), tbptt=2, **fit)
    with pytest.raises(ValueError, match=r"x\[1\] is empty"):
        model.predict([x[0], x[1, :0]])
    with pytest.raises(ValueError, match=r"for one target a sequence, add LastStep\(\)"):
        bptt.Sequential(bptt.GRU(2, 3)).fit(x, np.zeros((4, 1, 3)), **fit)
    with pytest.raises(ValueError, match="no layer says"):
        bptt.Sequential(bptt.LastStep())
    with pytest.raises(ValueError, match="layer 2, GRU, takes sequences"):
        bptt.Sequential(bptt.GRU(2, 3), bptt.LastStep(), bptt.GRU(3, 3))
    layer = bptt.LastStep()
    with pytest.raises(ValueError, match="1 of 4 have length 0"):
        layer(x_of(5, 4, 2), lengths=[1, 0, 5, 5])
    with pytest.raises(ValueError, match="4 of 4 have length 0"):
        layer(np.zeros((0, 4, 2)))
    with pytest.raises(ValueError, match="from 0 to 5"):
        layer(x_of(5, 4, 2), lengths=[1, 1, 6, 5])
    with pytest.raises(ValueError, match=r"\(T, B, F\) or \(T, F\), got shape \(3,\)"):
        layer(np.zeros(3))
    with pytest.raises(TypeError, match="real numbers"):
        layer(np.zeros((2, 2), complex))
    with pytest.raises(TypeError, match="batch_first"):
        bptt.LastStep(batch_first=1)


def test_what_backward_refuses():
    a, b = bptt.Linear(3, 2), bptt.Linear(3, 2)
    _, record = a.forward(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="another layer"):
        b.backward(record, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"shape of y, \(4, 2\), got \(4, 3\)"):
        a.backward(record, np.zeros((4, 3)))
    with pytest.raises(TypeError, match="must come from forward"):
        a.backward(None, np.zeros((4, 2)))
    last = bptt.LastStep()
    _, record = last.forward(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        last.backward(record, np.zeros((4, 3, 2)))
    with pytest.raises(TypeError, match="must come from forward"):
        last.backward(None, np.zeros((4, 2)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: bptt.LastStep(batch_first=True),
        lambda: bptt.OneHot(3),
        lambda: bptt.Dropout(0.1),
        lambda: bptt.LayerNorm(2),
        lambda: bptt.Embedding(3, 2),
    ],
)
def test_copies(make):
    layer = make()
    for twin in [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]:
        assert repr(twin) == repr(layer)
        assert twin._core is not layer._core
        x = np.array([[0, 2], [1, 1]])
        np.testing.assert_array_equal(twin(x), layer(x))


def test_embedding():
    layer = bptt.Embedding(7, 3, dtype="float64", rng=0)
    weight = layer.parameters["weight"]
    assert list(layer.parameters) == ["weight"] and weight.shape == (7, 3)
    np.testing.assert_array_equal(layer([[0, 6], [6, 2]]), weight[[[0, 6], [6, 2]]])
    np.testing.assert_array_equal(layer(5), weight[5])
    assert layer(np.zeros((0, 2), int)).shape == (0, 2, 3)
    for tokens in [3, [1, 1, 4], [[0, 6, 6], [6, 2, 1]], np.zeros((0, 2), int)]:
        check_gradients(layer, tokens)
    drawn = bptt.Embedding(200, 100, rng=3).parameters["weight"]
    assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05  # 7 deviations
    for bad in [-1, 7]:
        with pytest.raises(ValueError, match=f"tokens must hold numbers from 0 to .*, got {bad}"):
            layer([0, bad])
    with pytest.raises(TypeError, match="integer dtype"):
        layer([0.0])
    for sizes in [(0, 3), (3, 0), (-1, 2)]:
        with pytest.raises(ValueError, match="at least 1"):
            bptt.Embedding(*sizes)
    with pytest.raises(ValueError, match="can only be the first layer"):
        bptt.Sequential(bptt.Linear(2, 2), bptt.Embedding(2, 2))


def test_layer_norm():
    x = x_of(5, 2, 9) + 3
    layer = bptt.LayerNorm(9, dtype="float64")
    assert {name: array.tolist() for name, array in layer.parameters.items()} == {
        "weight": [1.0] * 9,
        "bias": [0.0] * 9,
    }
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(x), normal, atol=1e-12)
    rng = np.random.default_rng(3)
    layer.parameters["weight"][:] = rng.standard_normal(9)
    layer.parameters["bias"][:] = rng.standard_normal(9)
    want = normal * layer.parameters["weight"] + layer.parameters["bias"]
    np.testing.assert_allclose(layer(x), want, atol=1e-12)
    check_gradients(layer, x)
    check_gradients(bptt.LayerNorm((1,), eps=0.1, dtype="float64"), x_of(3, 1))
    check_gradients(bptt.LayerNorm([33], eps=0.1, bias=False, dtype="float64"), x_of(3, 33))
    plain = bptt.LayerNorm(9, elementwise_affine=False, dtype="float64")
    assert not plain.parameters
    check_gradients(plain, x)
    for bad in [0.0, -1.0, np.nan]:
        with pytest.raises(ValueError, match="eps must be above 0"):
            bptt.LayerNorm(3, eps=bad)
    with pytest.raises(ValueError, match="normalized_shape"):
        bptt.LayerNorm((3, 4))
    with pytest.raises(ValueError, match=r"9 features in its last dimension \(normalized_shape\)"):
        layer(x_of(2, 8))


def test_dropout():
    x = x_of(50, 40) + 10
    layer = bptt.Dropout(0.3, rng=0)
    np.testing.assert_array_equal(layer(x), x)
    y, record = layer.forward(x)
    kept = y != 0
    assert abs(kept.mean() - 0.7) < 0.05  # 5 deviations
    np.testing.assert_allclose(y[kept], x[kept] / 0.7)
    dx, grads = layer.backward(record, np.ones_like(x))
    np.testing.assert_allclose(dx, kept / 0.7)
    assert grads == {}
    assert not np.array_equal(layer.forward(x)[0], y), "every pass draws anew"
    np.testing.assert_array_equal(bptt.Dropout(0.3, rng=0).forward(x)[0], y)
    np.testing.assert_array_equal(bptt.Dropout(0.0).forward(x)[0], x)
    for bad in [1.0, -0.1, np.nan]:
        with pytest.raises(ValueError, match=r"p must be in \[0, 1\)"):
            bptt.Dropout(bad)
    with pytest.raises(TypeError, match="p must be a number"):
        bptt.Dropout("0.5")
    with pytest.raises(ValueError, match="at least 1 feature"):
        layer(3.0)


def test_a_model_of_all_of_them_learns_the_same_with_any_number_of_threads(threads):
    def model():
        return bptt.Sequential(
            bptt.Embedding(5, 8, rng=0),
            bptt.Dropout(0.2, rng=1),
            bptt.LSTM(8, 16, rng=2),
            bptt.LayerNorm(16),
            bptt.LastStep(),
            bptt.Linear(16, 2, rng=3),
        )

    rng = np.random.default_rng(0)
    x = [rng.integers(0, 5, length) for length in rng.integers(1, 9, 40)]
    y = [int(part[0] > 1) for part in x]
    options = {"loss": "cross_entropy", "optimizer": bptt.Adam(0.02), "epochs": 25, "rng": 0}
    results = []
    for count in (1, 2, 3):
        bptt.set_num_threads(count)
        trained = model()
        history = trained.fit(x, y, progress=False, **options)
        results.append((history.loss, trained.predict(x).tolist()))
        # Evaluation in between draws nothing.
        watched = model()
        assert watched.fit(x, y, validation=(x, y), progress=False, **options).loss == history.loss
    assert results[0] == results[1] == results[2]
    assert results[0][0][-1] < 0.5 * results[0][0][0]
    stepper = trained.stepper(2)
    stepper.step([0, 1])
    whole = trained.predict([[0, 4], [1, 3]])
    np.testing.assert_array_equal(stepper.step([4, 3]), whole)
    assert "0.weight" in trained.state_dict() and "3.bias" in trained.state_dict()
