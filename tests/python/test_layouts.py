"""Every entry that takes an array takes it in every layout, with the same bits, and leaves it."""

import inspect
import itertools
from unittest import mock

import numpy as np
import pytest
from layouts import REFUSED, bits, layouts, memory

import bptt
from bptt import lab, plot
from bptt.model import diagnosis

N, T, F, H = 3, 4, 2, 3  # rows, steps, features, hidden units
RNG = np.random.default_rng(0)


def numbers(*shape):
    """Multiples of 1/8 from -2 to 2: the same in all dtypes of floats."""
    return RNG.integers(-16, 17, shape) / 8


def whole(*shape, least=0, below=3):
    return RNG.integers(least, below, shape)


def model(*after, first=None, dtype="float32"):
    first = first or [bptt.GRU(F, H, rng=0, dtype=dtype)]
    return bptt.Sequential(*first, *after, bptt.Linear(H, 3, rng=1, dtype=dtype))


def tokens_model():
    return model(first=[bptt.Embedding(3, F, rng=2), bptt.LSTM(F, H, rng=0)])


def trained(m, *data, **settings):
    """What fit does, with the parameters that it leaves."""
    settings = {"loss": "mse", "epochs": 2, "batch_size": 2, "progress": False, "rng": 0} | settings
    history = m.fit(*data, optimizer=bptt.Adam(0.01), **settings)
    return history.loss, history.validation_loss, m.state_dict()


def told(x, y):
    """What check finds, in words, with one step of learning by heart."""
    with mock.patch.object(diagnosis, "STEPS", 1):
        findings = bptt.check(model(), x, y, loss="mse", show=False)
    sentences = [finding.sentence for finding in findings]
    if len(sentences) == 1:  # that the data do not fit
        raise ValueError(sentences[0])
    return sentences


def loaded(layer, name):
    def load(value):
        layer.load_state_dict(layer.state_dict() | {name: value})
        return layer.state_dict()

    return load


def recurrent(kind):
    """The entries of a recurrent layer."""
    layer = getattr(bptt, kind)(F, H, num_layers=2, rng=0)
    x, h, lengths = numbers(T, N, F), numbers(2, N, H), whole(N, below=T + 1)
    dy = numbers(T, N, H)

    def state(value):
        return (value, h) if kind == "LSTM" else (value,)

    def back(dy, dstate=None):
        return layer.backward(layer.forward(x)[2], dy, dstate)

    for name in ("__call__", "forward"):
        call = getattr(layer, name)
        yield f"bptt.{kind}.{name}", "x", x, lambda v, call=call: call(v)[:2]
        yield f"bptt.{kind}.{name}", "x", x[:, 0].copy(), lambda v, call=call: call(v)[:2]
        yield f"bptt.{kind}.{name}", "state", h, lambda v, call=call: call(x, state(v))[:2]
        yield (
            f"bptt.{kind}.{name}",
            "lengths",
            lengths,
            lambda v, call=call: call(x, lengths=v)[:2],
        )
    if kind != "LSTM":
        yield f"bptt.{kind}.__call__", "state", h, lambda v: layer(x, v)
        yield f"bptt.{kind}.__call__", "state", h[:, 0].copy(), lambda v: layer(x[:, 0], v)
    first = getattr(bptt, kind)(F, H, batch_first=True, dtype="float64", rng=0)
    yield f"bptt.{kind}.__call__", "x", numbers(N, T, F), first
    yield f"bptt.{kind}.backward", "dy", dy, back
    yield f"bptt.{kind}.backward", "dstate", h, lambda v: back(dy, state(v))
    name = "weight_hh_l0"
    weight = layer.state_dict()[name] * 0 + numbers(*layer.parameters[name].shape)
    yield f"bptt.{kind}.load_state_dict", "state_dict", weight, loaded(layer, name)

    def assign(value):
        layer.parameters["bias_hh_l1"][...] = value
        return layer.state_dict(), layer(x)

    yield (
        f"bptt.{kind}.parameters",
        "assigned",
        numbers(*layer.parameters["bias_hh_l1"].shape),
        assign,
    )


def stateless(layer, x, dy, parameter=None):
    """The entries of a layer without a state."""
    kind = f"bptt.{type(layer).__name__}"

    def fresh():
        return bptt.Dropout(0.5, rng=0) if isinstance(layer, bptt.Dropout) else layer

    def back(dy):
        twin = fresh()
        return twin.backward(twin.forward(x)[1], dy)

    yield f"{kind}.__call__", "x", x, layer
    yield f"{kind}.forward", "x", x, lambda v: fresh().forward(v)[0]
    yield f"{kind}.backward", "dy", dy, back
    if parameter:
        given = numbers(*layer.parameters[parameter].shape)
        yield f"{kind}.load_state_dict", "state_dict", given, loaded(layer, parameter)


def models():
    """The entries of Sequential and its steppers."""
    x, y, tokens, classes = numbers(N, T, F), numbers(N, T, 3), whole(N, T), whole(N, T)
    weight, one = np.abs(numbers(N)), numbers(N, 3)
    fit, predict, evaluate = (f"bptt.Sequential.{name}" for name in ("fit", "predict", "evaluate"))
    cross = {"loss": "cross_entropy"}
    yield fit, "x", x, lambda v: trained(model(), v, y)
    yield fit, "x", tokens, lambda v: trained(tokens_model(), v, classes, **cross)
    yield fit, "y", y, lambda v: trained(model(), x, v)
    yield fit, "y", classes, lambda v: trained(tokens_model(), tokens, v, **cross)
    yield fit, "y", one, lambda v: trained(model(bptt.LastStep()), x, v)
    yield fit, "sample_weight", weight, lambda v: trained(model(), x, y, sample_weight=v)
    find_lr = "bptt.Sequential.find_lr"

    def found(*data, **options):
        adam = bptt.Adam()
        return model().find_lr(*data, loss="mse", optimizer=adam, steps=10, rng=0, **options).loss

    yield find_lr, "x", x, lambda v: found(v, y)
    yield find_lr, "y", y, lambda v: found(x, v)
    yield find_lr, "sample_weight", weight, lambda v: found(x, y, sample_weight=v)
    yield fit, "validation", x, lambda v: trained(model(), x, y, validation=(v, y))
    yield fit, "validation", y, lambda v: trained(model(), x, y, validation=(x, v))
    # Lists of sequences, and batches.
    yield fit, "x", x[0], lambda v: trained(model(), [v, x[1][:2]], [y[0], y[1][:2]])
    yield fit, "y", y[0], lambda v: trained(model(), [x[0], x[1][:2]], [v, y[1][:2]])
    yield fit, "x", x, lambda v: trained(model(), [(v, y)])
    yield fit, "y", y, lambda v: trained(model(), [(x, v)])
    yield fit, "sample_weight", weight, lambda v: trained(model(), [(x, y, v)])
    yield predict, "x", x, lambda v: np.array(model().predict(v))
    yield predict, "x", x, lambda v: np.array(model(dtype="float64").predict(v))
    yield predict, "x", tokens, lambda v: np.array(tokens_model().predict(v))
    yield predict, "x", x[0], lambda v: model().predict([v, x[1]])
    h = numbers(1, N, H)
    yield predict, "state", h, lambda v: model().predict(x, state=v, return_state=True)
    yield predict, "state", h, lambda v: tokens_model().predict(tokens, state=((v, h),))
    yield evaluate, "x", x, lambda v: model().evaluate(v, y, loss="mse")
    yield evaluate, "y", y, lambda v: model().evaluate(x, v, loss="mse")
    yield "bptt.Sequential.__call__", "x", x, lambda v: np.array(model()(v))
    yield "bptt.check", "x", x, lambda v: told(v, y)
    yield "bptt.check", "y", y, lambda v: told(x, v)
    prompt = whole(T)
    yield (
        "bptt.Sequential.generate",
        "prompt",
        prompt,
        lambda v: tokens_model().generate(v, 5, rng=0),
    )
    m = model()
    yield "bptt.Sequential.load_state_dict", "state_dict", numbers(3, H), loaded(m, "1.weight")
    for m, given in ((model(), x[:, 0].copy()), (tokens_model(), tokens[:, 0].copy())):
        yield "bptt.Stepper.step", "x", given, lambda v, m=m: m.stepper(N).step(v)
    yield "bptt.Stepper.step", "x", x[0, 0], lambda v: bptt.GRU(F, H, rng=0).stepper().step(v)

    def stepped(value, m):
        stepper = m.stepper(N)
        stepper.state = value
        return stepper.state

    yield "bptt.Stepper.state=", "states", h, lambda v: stepped(v, model())
    yield "bptt.Stepper.state=", "states", h, lambda v: stepped(((h, v),), tokens_model())


def losses():
    x, y = numbers(N, T, F), whole(N, T)
    for name, loss, option, targets in (
        ("CrossEntropyLoss", bptt.CrossEntropyLoss, "weight", y),
        ("BCEWithLogitsLoss", bptt.BCEWithLogitsLoss, "pos_weight", y[..., None] % 2 * np.ones(3)),
    ):
        yield (
            f"bptt.{name}.__init__",
            option,
            np.abs(numbers(3)) + 0.125,
            (
                lambda v, loss=loss, option=option, targets=targets: trained(
                    model(), x, targets, loss=loss(**{option: v})
                )
            ),
        )


def others():
    x, lengths = numbers(T, N, F), whole(N, least=1, below=T + 1)
    layer = bptt.LSTM(F, H, rng=0)
    last = bptt.LastStep()
    yield "bptt.explain", "x", x, lambda v: bptt.explain(layer, v)
    yield "bptt.explain", "lengths", lengths, lambda v: bptt.explain(layer, x, v)
    yield "bptt.OneHot.__call__", "tokens", whole(N, T), bptt.OneHot(3)
    yield "bptt.LastStep.__call__", "x", x, last
    yield "bptt.LastStep.forward", "x", x, lambda v: last.forward(v)[0]
    yield "bptt.LastStep.__call__", "lengths", lengths, lambda v: last(x, v)
    yield "bptt.LastStep.forward", "lengths", lengths, lambda v: last.forward(x, v)[0]
    dy = numbers(N, F)
    yield "bptt.LastStep.backward", "dy", dy, lambda v: last.backward(last.forward(x)[1], v)


def the_lab():
    V = 4  # tokens
    x, y = (lab.one_hot_encode_sequence(whole(T, below=V), V) for _ in range(2))
    h = numbers(H, 1)
    np.random.seed(0)  # noqa: NPY002
    rnn, lstm = lab.init_rnn(H, V), lab.init_lstm(H, V)
    outputs, hidden = lab.forward_pass(x, h, rnn)
    kept = lab.forward(x, h, h, lstm)

    def with_one(params, n, value):
        return [*params[:n], value, *params[n + 1 :]]

    yield "lab.forward_pass", "inputs", x, lambda v: lab.forward_pass(v, h, rnn)
    yield "lab.forward_pass", "hidden_state", h, lambda v: lab.forward_pass(x, v, rnn)
    w = numbers(H, V)
    yield "lab.forward_pass", "params", w, lambda v: lab.forward_pass(x, h, with_one(rnn, 0, v))
    given = {
        "inputs": x,
        "outputs": np.array(outputs),
        "hidden_states": np.array(hidden),
        "targets": y,
    }
    for name, value in given.items():
        yield (
            "lab.backward_pass",
            name,
            value,
            (lambda v, name=name: lab.backward_pass(**given | {name: v}, params=rnn)),
        )
    yield (
        "lab.backward_pass",
        "params",
        w,
        (lambda v: lab.backward_pass(**given, params=with_one(rnn, 0, v))),
    )
    yield (
        "lab.backward_pass",
        "hidden_state",
        h,
        (lambda v: lab.backward_pass(**given, params=rnn, exact=True, hidden_state=v)),
    )
    yield "lab.forward", "inputs", x, lambda v: lab.forward(v, h, h, lstm)
    yield "lab.forward", "h_prev", h, lambda v: lab.forward(x, v, h, lstm)
    yield "lab.forward", "C_prev", h, lambda v: lab.forward(x, h, v, lstm)
    w = numbers(H, H + V)
    yield "lab.forward", "p", w, lambda v: lab.forward(x, h, h, with_one(lstm, 1, v))
    arguments = dict(
        zip(("z", "f", "i", "g", "C", "o", "h", "v", "outputs"), map(np.array, kept)), targets=y
    )
    for name, value in arguments.items():
        yield (
            "lab.backward",
            name,
            value,
            (lambda v, name=name: lab.backward(**arguments | {name: v}, p=lstm)),
        )
    yield "lab.backward", "p", w, lambda v: lab.backward(**arguments, p=with_one(lstm, 1, v))
    for name in ("sigmoid", "softmax", "tanh"):
        yield f"lab.{name}", "x", numbers(N, T), getattr(lab, name)

    def init(value):
        np.random.seed(0)  # noqa: NPY002
        return lab.init_orthogonal(value)

    yield "lab.init_orthogonal", "param", numbers(N, T), init
    yield "lab.one_hot_encode_sequence", "sequence", whole(T), lab.one_hot_encode_sequence
    yield (
        "lab.update_parameters",
        "grads",
        w,
        (lambda v: lab.update_parameters([np.ones_like(w)], [v], lr=0.5)),
    )
    tokens = whole(T)
    for name, params in (("rnn", rnn), ("lstm", lstm)):
        train, w = getattr(lab, f"train_{name}"), numbers(*params[0].shape)

        def run(training=tokens, validation=tokens, params=params, train=train):
            done = train([(training, tokens)], [(validation, tokens)], params=params, epochs=2,
                         progress=False)  # fmt: skip
            return done.params, done.history.loss, done.history.validation_loss

        yield f"lab.train_{name}", "training_set", tokens, lambda v, run=run: run(training=v)
        yield f"lab.train_{name}", "validation_set", tokens, lambda v, run=run: run(validation=v)
        yield (
            f"lab.train_{name}",
            "params",
            w,
            (lambda v, run=run, params=params: run(params=with_one(params, 0, v))),
        )


def plots():
    def images(figure):
        found = [
            (image.get_array().data, image.get_clim()) for ax in figure.axes for image in ax.images
        ]
        lines = [line.get_xydata() for ax in figure.axes for line in ax.lines]
        bars = [bar.get_height() for ax in figure.axes for bar in ax.patches]
        return found, lines, bars, [t.get_text() for ax in figure.axes for t in ax.texts]

    series, classes = numbers(9), whole(9)
    yield "plot.gates", "values", numbers(T, H), lambda v: images(plot.gates({"c_l0": v}))
    yield "plot.weights", "model", numbers(T, H), lambda v: images(plot.weights({"w": v}))
    yield (
        "plot.confusion",
        "y_true",
        classes,
        lambda v: images(plot.confusion(v, classes, [0, 1, 2])),
    )
    yield (
        "plot.confusion",
        "y_pred",
        classes,
        lambda v: images(plot.confusion(classes, v, [0, 1, 2])),
    )
    labels = np.arange(3)
    yield "plot.confusion", "labels", labels, lambda v: images(plot.confusion(classes, classes, v))
    yield "plot.forecast", "series", series, lambda v: images(plot.forecast(v, series))
    yield "plot.forecast", "forecasts", series, lambda v: images(plot.forecast(series, v))
    yield (
        "plot.forecast",
        "times",
        np.arange(12),
        (lambda v: images(plot.forecast(series, series[:3], times=v))),
    )


def entries():
    """Yield (function, argument, array, call) for every argument that takes an array."""
    for kind in ("LSTM", "GRU", "RNN"):
        yield from recurrent(kind)
    x, dy = numbers(N, T, F), numbers(N, T, H)
    yield from stateless(bptt.Linear(F, H, rng=0), x, dy, "weight")
    yield from stateless(bptt.LayerNorm(F), x, x, "weight")
    yield from stateless(bptt.Dropout(0.5), x, x)
    yield from stateless(bptt.Embedding(3, H, rng=0), whole(N, T), dy, "weight")
    yield from models()
    yield from losses()
    yield from others()
    yield from the_lab()
    yield from plots()


ENTRIES = list(entries())
IDS = [f"{function}({argument})" for function, argument, _, _ in ENTRIES]

#: Arguments that hold arrays but are no arrays, or are changed in place (a test below).
NO_ARRAYS = {
    ("bptt.EarlyStopping.load_state_dict", "state"): "a dict of numbers from state_dict",
    ("bptt.ModelCheckpoint.load_state_dict", "state"): "a dict of numbers from state_dict",
    ("bptt.History.get", "key"): "a name",
    ("bptt.History.get", "default"): "anything, which comes back",
    ("lab.ByHand.__init__", "params"): "a record of results",
    ("lab.loss_floor", "targets"): "tokens of sequences, as `sequence_sets` gives them",
    ("lab.Part.__init__", "forecast"): "a record of results",
    ("lab.clip_gradient_norm", "grads"): "in place",
    ("lab.update_parameters", "params"): "in place",
    ("lab.create_datasets", "dataset_class"): "a function",
    ("lab.create_datasets", "sequences"): "cut into parts as they are",
    ("lab.PairSet.__init__", "inputs"): "kept as they are",
    ("lab.PairSet.__init__", "targets"): "kept as they are",
    ("plot.gates", "tokens"): "labels",
}
#: What annotations of arguments that may be arrays have; "_empty" is an argument without one.
WORDS = ("_empty", "Array", "Data", "Batches", "Columns", "Tokens", "Pairs", "Any", "State")


def arguments(prefix, function):
    for parameter in inspect.signature(function).parameters.values():
        note = str(parameter.annotation)
        # Any alone is an option, a layer or a part of something.
        if parameter.name == "self" or note == "Any" or "Callback" in note:
            continue
        if any(word in note for word in WORDS):
            yield prefix, parameter.name


def public_arguments():
    """Yield (function, argument) wherever the package says that it takes arrays."""
    for prefix, module in (
        ("bptt", {name: getattr(bptt, name) for name in bptt.__all__}),
        ("lab", {name: getattr(lab, name) for name in lab.__all__}),
        ("plot", {name: getattr(plot, name) for name in plot.__all__}),
    ):
        for name, value in module.items():
            if inspect.isclass(value):
                for attribute in dir(value):
                    member = inspect.getattr_static(value, attribute)
                    where = f"{prefix}.{name}.{attribute}"
                    if isinstance(member, property) and member.fset:
                        yield from arguments(f"{where}=", member.fset)
                    elif inspect.isfunction(member) and (
                        not attribute.startswith("_") or attribute in ("__init__", "__call__")
                    ):
                        yield from arguments(where, member)
            elif inspect.isfunction(value):
                yield from arguments(f"{prefix}.{name}", value)


def test_every_public_argument_is_in_the_table():
    known = {(function, argument) for function, argument, _, _ in ENTRIES}
    given = set(public_arguments())
    assert given - known - NO_ARRAYS.keys() == set()
    stale = {pair for pair in NO_ARRAYS if pair not in given}
    assert stale == set()


def test_an_argument_that_is_missing_from_the_table_is_found(monkeypatch):
    def new(x: "ArrayLike", flat): ...  # noqa: F821

    monkeypatch.setattr(bptt, "new", new, raising=False)
    monkeypatch.setattr(bptt, "__all__", [*bptt.__all__, "new"])
    found = set(public_arguments()) - {(function, name) for function, name, _, _ in ENTRIES}
    assert found - NO_ARRAYS.keys() == {("bptt.new", "x"), ("bptt.new", "flat")}


def as_computed(value, plain):
    """The plain array in the dtype of a layer that computes in the dtype of its input."""
    kind = np.asarray(getattr(value, "array", value)).dtype
    return plain.astype(np.float64 if kind.kind == "f" and kind.itemsize >= 8 else np.float32)


@pytest.mark.parametrize(("function", "argument", "array", "call"), ENTRIES, ids=IDS)
def test_every_layout_gives_the_same_bits(function, argument, array, call, tmp_path):
    given = list(layouts(array, tmp_path))
    if argument == "assigned":  # NumPy's own assignment
        given = [(name, value, plain) for name, value, plain in given if name != "DLPack"]
    if argument == "x" and function.startswith(
        ("bptt.Dropout", "bptt.LastStep")
    ):  # they compute in the dtype of x
        given = [(name, value, as_computed(value, plain)) for name, value, plain in given]
    if function.startswith("plot."):  # figures are slow
        given = given[::4]
    for name, value, plain in given:
        try:
            want, refused = call(plain), None
        except (TypeError, ValueError) as error:  # such as zero as a weight
            want, refused = None, error
        before = memory(value)
        try:
            got = call(value)
        except (TypeError, ValueError) as error:
            if array.dtype.kind == "i" and "bool" in name:
                continue
            assert refused is not None, f"{name}: {error!r}"
            assert type(error) is type(refused)
            continue
        assert refused is None, name
        assert bits(got) == bits(want), name
        assert memory(value) == before, f"{name}: written"


#: Entries that take more than numbers.
TAKES = {
    "plot.confusion": ("object", "complex", "text", "dates"),
    "plot.forecast(times)": ("object", "text", "dates", "complex"),
    "lab.one_hot_encode_sequence": ("object", "text"),  # names that are not known
    "lab.train_rnn(training_set)": ("object", "text"),
    "lab.train_rnn(validation_set)": ("object", "text"),
    "lab.train_lstm(training_set)": ("object", "text"),
    "lab.train_lstm(validation_set)": ("object", "text"),
    "lab.init_orthogonal": REFUSED,  # reads the shape
}


@pytest.mark.parametrize(("function", "argument", "array", "call"), ENTRIES, ids=IDS)
def test_what_holds_no_numbers_is_refused_by_name(function, argument, array, call):
    if argument == "assigned":
        return  # NumPy's own assignment
    takes = TAKES.get(function, TAKES.get(f"{function}({argument})", ()))
    for name, make in REFUSED.items():
        if name in takes:
            continue
        with pytest.raises((TypeError, ValueError), match=r"must|masked") as caught:
            call(make(array))
        assert len(str(caught.value)) < 300, name


@pytest.mark.parametrize(("function", "argument", "array", "call"), ENTRIES, ids=IDS)
def test_empty_and_flat_arrays_are_taken_or_refused_by_name(function, argument, array, call):
    for value in (array[:0], array[..., :0], np.zeros((), array.dtype), [], [[]]):
        try:
            call(value)
        except (TypeError, ValueError) as error:
            if argument != "assigned":
                words = ("must", "needs", "is empty")
                assert any(word in str(error) for word in words), (value, error)


ORDERS = {
    "the same": lambda a: [a, a],
    "part": lambda a: [a, a[:1]],
    "strided": lambda a: [a[::2], a[::-1]],
    "broadcast": lambda a: [np.lib.stride_tricks.as_strided(a, strides=(0, 8))],
    "windows": lambda a: [np.lib.stride_tricks.as_strided(a, (3, 2), (8, 8))],
    "read-only": lambda a: [np.broadcast_to(a, a.shape)],
}


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS)
def test_what_is_changed_in_place_must_be_apart(make):
    array = np.arange(12.0).reshape(4, 3)
    arrays, before = make(array), array.copy()
    with pytest.raises(ValueError, match=r"must be writable|memory"):
        lab.clip_gradient_norm(arrays, 0.1)
    with pytest.raises(ValueError, match=r"must be writable|memory"):
        lab.update_parameters(arrays, [np.ones(a.shape) for a in arrays])
    np.testing.assert_array_equal(array, before)


def test_what_is_changed_in_place_may_have_any_layout():
    plain = numbers(4, 3)
    want = plain.copy()
    lab.clip_gradient_norm([want], 0.5)
    for array in (
        np.asfortranarray(plain),
        np.ascontiguousarray(plain[::-1])[::-1],
        np.repeat(plain, 2, axis=0)[::2],
        plain.astype(">f8"),
        plain.copy().view(np.matrix),
    ):
        lab.clip_gradient_norm([array], 0.5)
        np.testing.assert_allclose(np.asarray(array), want, rtol=1e-15)
    halves = plain.copy()
    lab.clip_gradient_norm([halves[:, :1], halves[:, 1:]], 0.5)  # beside each other
    np.testing.assert_allclose(halves, want, rtol=1e-15)


def test_the_output_of_a_stepper_may_be_its_next_input():
    stepper, twin = (bptt.GRU(3, 3, rng=0).stepper(2) for _ in range(2))
    x = numbers(2, 3).astype(np.float32)
    y, want = stepper.step(x), twin.step(x).copy()
    for view in (y, y[:], y.reshape(2, 3), y.view(np.ndarray)):
        want = twin.step(want).copy()
        np.testing.assert_array_equal(stepper.step(view), want)


def test_parameters_may_be_given_to_each_other():
    layer = bptt.LSTM(3, 3, rng=0)
    before = layer.state_dict()
    swapped = dict(layer.parameters) | {
        "bias_ih_l0": layer.parameters["bias_hh_l0"],
        "bias_hh_l0": layer.parameters["bias_ih_l0"],
        "weight_ih_l0": layer.parameters["weight_hh_l0"],
        "weight_hh_l0": layer.parameters["weight_ih_l0"],
    }
    layer.load_state_dict(swapped)
    for name in ("bias", "weight"):
        for a, b in itertools.permutations(("ih", "hh")):
            got = layer.parameters[f"{name}_{a}_l0"]
            np.testing.assert_array_equal(got, before[f"{name}_{b}_l0"])


def test_a_parameter_that_was_made_read_only_is_refused_before_any_changes():
    layer = bptt.LSTM(3, 3, rng=0)
    before = layer.state_dict()
    layer.parameters["bias_hh_l0"].flags.writeable = False
    with pytest.raises(ValueError, match="bias_hh_l0 must be writable"):
        layer.load_state_dict({name: array + 1 for name, array in before.items()})
    for name, array in layer.parameters.items():
        np.testing.assert_array_equal(array, before[name])


def test_an_array_is_no_scalar():
    for value in (np.array([0.1]), [0.1]):
        with pytest.raises(TypeError, match="lr must be a number"):
            trained_with = bptt.Adam(value)
            model().fit(numbers(N, T, F), numbers(N, T, 3), loss="mse", optimizer=trained_with,
                        progress=False)  # fmt: skip
    for value in (np.array(0.1), np.float32(0.5), np.array(1)):
        history = model().fit(numbers(N, T, F), numbers(N, T, 3), loss="mse",
                              optimizer=bptt.Adam(value), progress=False)  # fmt: skip
        assert np.isfinite(history.loss[0])
    assert bptt.GRU(np.array(3), np.int8(2)).hidden_size == 2
