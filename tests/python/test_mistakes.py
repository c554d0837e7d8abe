"""What newcomers type, what they are told, and that the advice works.

The messages answer habits of Keras, torch and scikit-learn, and shapes and dtypes that do not fit.
Nothing of a model changes.
"""

import contextlib
import inspect
import pickle
import re

import numpy as np
import pytest

import bptt
from bptt._support import names

TRAIN = "model.fit(x, y, loss='mse', optimizer=bptt.Adam(), rng=0, progress=False"
CLASSIFY = "classifier.fit(x, labels, loss='cross_entropy', optimizer=bptt.Adam(), progress=False"
SPELL = "speller.fit(tokens, after, loss='cross_entropy', optimizer=bptt.Adam(), progress=False"

#: What a newcomer types, words of the hint, and what works instead.
MISTAKES = {
    # The shape of x.
    "x without features": (
        TRAIN.replace("x, y", "x[..., 0], y") + ")",
        "type x[..., None]",
        TRAIN.replace("x, y", "x[..., 0][..., None], y") + ")",
    ),
    "one sequence of numbers": (
        "model.predict(x[0, :, 0])",
        "type np.reshape(x, (1, -1, 1))",
        "model.predict(np.reshape(x[0, :, 0], (1, -1, 1)))",
    ),
    "a list of series": (
        "model.predict([[0.1, 0.2, 0.3], [0.1, 0.2]])",
        "type [np.reshape(part, (-1, 1)) for part in x]",
        "model.predict([np.reshape(part, (-1, 1)) for part in [[0.1, 0.2, 0.3], [0.1, 0.2]]])",
    ),
    "time and features swapped": (
        "pairs.predict(two.swapaxes(1, 2))",
        "type x.swapaxes(1, 2)",
        "pairs.predict(two.swapaxes(1, 2).swapaxes(1, 2))",
    ),
    "time first": (
        TRAIN.replace("x, y", "x.swapaxes(0, 1), y") + ")",
        "type x.swapaxes(0, 1)",
        TRAIN + ")",
    ),
    "another number of features": (
        "model.predict(two)",
        "type bptt.LSTM(2, ...) as the first layer",
        "bptt.Sequential(bptt.LSTM(2, 4), bptt.Linear(4, 1)).predict(two)",
    ),
    "tokens without OneHot": (
        "bptt.Sequential(bptt.LSTM(5, 4)).predict(tokens)",
        "type bptt.OneHot(5) or bptt.Embedding(..., 5)",
        "bptt.Sequential(bptt.OneHot(5), bptt.LSTM(5, 4)).predict(tokens)",
    ),
    "one-hot vectors before OneHot": (
        "speller.predict(np.eye(5)[tokens])",
        "type x.argmax(axis=-1)",
        "speller.predict(np.eye(5)[tokens].argmax(axis=-1))",
    ),
    "tokens as floats": (
        "speller.predict(tokens.astype(float))",
        "type x.astype(int)",
        "speller.predict(tokens.astype(float).astype(int))",
    ),
    "letters": (
        "speller.predict(np.array([list('abca'), list('bcab')]))",
        "type names, x = np.unique(x, return_inverse=True)",
        "speller.predict(np.unique([list('abca'), list('bcab')], return_inverse=True)[1])",
    ),
    "a token too many": (
        "speller.predict(tokens + 2)",
        "type bptt.OneHot(7) or bptt.Embedding(7, ...)",
        "bptt.Sequential(bptt.OneHot(7), bptt.GRU(7, 4)).predict(tokens + 2)",
    ),
    # The shape of y.
    "one target a sequence without LastStep": (
        TRAIN.replace("x, y", "x, y[:, -1]") + ")",
        "add LastStep() to the model, before the last Linear",
        TRAIN.replace("model", "single").replace("x, y", "x, y[:, -1]") + ")",
    ),
    "one class a sequence without LastStep": (
        SPELL.replace("after", "after[:, -1]") + ")",
        "add LastStep() to the model, before the last Linear",
        "bptt.Sequential(bptt.OneHot(5), bptt.GRU(5, 4), bptt.LastStep(), bptt.Linear(4, 5)).fit("
        "tokens, after[:, -1], loss='cross_entropy', optimizer=bptt.Adam(), progress=False)",
    ),
    "a target a step with LastStep": (
        TRAIN.replace("model", "single") + ")",
        "type y[:, -1], or leave LastStep() out",
        TRAIN.replace("model", "single").replace("x, y", "x, y[:, -1]") + ")",
    ),
    "y without its last dimension": (
        TRAIN.replace("x, y", "x, y[..., 0]") + ")",
        "type y[..., None]",
        TRAIN.replace("x, y", "x, y[..., 0][..., None]") + ")",
    ),
    "one step short": (
        TRAIN.replace("x, y", "x, x[:, 1:]") + ")",
        "type x[:, :-1] in place of x",
        TRAIN.replace("x, y", "x[:, :-1], x[:, 1:]") + ")",
    ),
    "one-hot classes": (
        CLASSIFY.replace("labels", "np.eye(3)[labels]") + ")",
        "type y.argmax(axis=-1)",
        CLASSIFY.replace("labels", "np.eye(3)[labels].argmax(axis=-1)") + ")",
    ),
    "classes in a column": (
        CLASSIFY.replace("labels", "labels[:, None]") + ")",
        "type y[:, 0]",
        CLASSIFY.replace("labels", "labels[:, None][:, 0]") + ")",
    ),
    "names of classes": (
        CLASSIFY.replace("labels", "np.array(['no', 'yes'])[labels % 2]") + ")",
        "type names, y = np.unique(y, return_inverse=True)",
        CLASSIFY.replace(
            "labels", "np.unique(np.array(['no', 'yes'])[labels % 2], return_inverse=True)[1]"
        )
        + ")",
    ),
    "true and false as classes": (
        CLASSIFY.replace("labels", "labels > 1") + ")",
        "type y.astype(int)",
        CLASSIFY.replace("labels", "(labels > 1).astype(int)") + ")",
    ),
    "classes as floats": (
        CLASSIFY.replace("labels", "labels.astype(float)") + ")",
        "type y.astype(int)",
        CLASSIFY.replace("labels", "labels.astype(float).astype(int)") + ")",
    ),
    "numbers as classes": (
        CLASSIFY.replace("labels", "labels + 0.5") + ")",
        'type loss="mse"',
        "single.fit(x, labels + 0.5, loss='mse', optimizer=bptt.Adam(), progress=False)",
    ),
    "classes from 1": (
        CLASSIFY.replace("labels", "labels + 1") + ")",
        "type y - 1",
        CLASSIFY.replace("labels", "labels + 1 - 1") + ")",
    ),
    "a class more than outputs": (
        CLASSIFY.replace("labels", "2 * labels") + ")",
        "type bptt.Linear(..., 5) as the last layer",
        CLASSIFY.replace("classifier", "five").replace("labels", "2 * labels") + ")",
    ),
    # Arguments of fit.
    "validation_data": (
        TRAIN + ", validation_data=(x, y))",
        "type validation=(x, y)",
        TRAIN + ", validation=(x, y))",
    ),
    "validation_split": (
        TRAIN + ", validation_split=0.2)",
        "n = len(x) * 8 // 10, then fit(x[:n], y[:n], validation=(x[n:], y[n:]), ...)",
        "n = len(x) * 8 // 10; model.fit(x[:n], y[:n], validation=(x[n:], y[n:]), loss='mse', "
        "optimizer=bptt.Adam(), progress=False)",
    ),
    "verbose": (
        "model.fit(x, y, loss='mse', optimizer=bptt.Adam(), verbose=0)",
        "type progress=False",
        TRAIN + ")",
    ),
    "learning_rate": (
        "model.fit(x, y, loss='mse', learning_rate=0.01)",
        "type optimizer=bptt.Adam(0.01)",
        "model.fit(x, y, loss='mse', optimizer=bptt.Adam(0.01), progress=False)",
    ),
    "no loss": (
        "model.fit(x, y, optimizer=bptt.Adam())",
        'type model.fit(x, y, loss="mse", optimizer=bptt.Adam())',
        TRAIN + ")",
    ),
    "a name of another loss": (
        TRAIN.replace("'mse'", "'mean_squared_error'") + ")",
        'type loss="mse"',
        TRAIN + ")",
    ),
    "the class of a loss": (
        TRAIN.replace("'mse'", "bptt.MSELoss") + ")",
        "type loss=bptt.MSELoss()",
        TRAIN.replace("'mse'", "bptt.MSELoss()") + ")",
    ),
    "the name of an optimiser": (
        TRAIN.replace("bptt.Adam()", "'sgd'") + ")",
        "type optimizer=bptt.SGD()",
        TRAIN.replace("bptt.Adam()", "bptt.SGD()") + ")",
    ),
    "one metric alone": (
        CLASSIFY + ", metrics='acc')",
        'type metrics=["accuracy"]',
        CLASSIFY + ', metrics=["accuracy"])',
    ),
    "one callback alone": (
        TRAIN + ", callbacks=bptt.EarlyStopping(patience=5))",
        "type callbacks=[...]",
        TRAIN + ", callbacks=[bptt.EarlyStopping(patience=5)])",
    ),
    "early_stopping=True": (
        TRAIN + ", early_stopping=True)",
        "type early_stopping=bptt.EarlyStopping(patience=5)",
        TRAIN + ", early_stopping=bptt.EarlyStopping(patience=5))",
    ),
    "val_loss to watch": (
        TRAIN + ", validation=(x, y), early_stopping=bptt.EarlyStopping(monitor='val_loss'))",
        'type monitor="validation_loss"',
        TRAIN
        + ", validation=(x, y), early_stopping=bptt.EarlyStopping(monitor='validation_loss'))",
    ),
    "epochs as a float": (TRAIN + ", epochs=3.0)", "type 3", TRAIN + ", epochs=3)"),
    "a share for validation": (
        TRAIN + ", validation=0.2)",
        "type validation=(x[n:], y[n:]) and fit x[:n], y[:n], where n = len(x) * 8 // 10",
        "n = len(x) * 8 // 10; "
        + TRAIN.replace("x, y", "x[:n], y[:n]")
        + ", validation=(x[n:], y[n:]))",
    ),
    "no optimiser": (
        "model.fit(x, y, loss='mse')",
        "type optimizer=bptt.Adam()",
        TRAIN + ")",
    ),
    "a loss without its name": (
        "model.fit(x, y, 'mse')",
        'type model.fit(x, y, loss="mse", optimizer=bptt.Adam()), with a name for each setting',
        TRAIN + ")",
    ),
    "classes and mse": (
        CLASSIFY.replace("cross_entropy", "mse") + ")",
        'type loss="cross_entropy"',
        CLASSIFY + ")",
    ),
    "a list of targets at every step with LastStep": (
        TRAIN.replace("model", "single").replace("x, y", "list(x), [y[0], y[1, 1:]] * 4") + ")",
        "type [part[-1] for part in y]",
        TRAIN.replace("model", "single").replace(
            "x, y", "list(x), [part[-1] for part in [y[0], y[1, 1:]] * 4]"
        )
        + ")",
    ),
    "a schedule of an optimiser": (
        "bptt.StepLR(bptt.Adam(), step_size=10)",
        "step_size is the first argument, type bptt.StepLR(step_size=...)",
        "bptt.StepLR(step_size=10)",
    ),
    "a percentage": ("bptt.Dropout(20)", "type 0.2 for 20 %", "bptt.Dropout(0.2)"),
    # Methods and names of other libraries.
    "compile": (
        "model.compile(loss='mse', optimizer='adam')",
        'type model.fit(x, y, loss="mse", optimizer=bptt.Adam(), epochs=10)',
        'model.fit(x, y, loss="mse", optimizer=bptt.Adam(), epochs=10, progress=False)',
    ),
    "eval": ("model.eval()", "predict and evaluate never use dropout", "model.predict(x)"),
    "train": ("model.train()", 'type model.fit(x, y, loss="mse"', TRAIN + ")"),
    "parameters": (
        "bptt.Adam(model.parameters(), lr=0.01)",
        "type bptt.Adam(0.001)",
        "bptt.Adam(0.001)",
    ),
    "forward": ("model.forward(x)", "type model(x)", "model(x)"),
    "Dense": ("bptt.Dense(1)", "type bptt.Linear(32, 1)", "bptt.Linear(32, 1)"),
    "SimpleRNN": ("bptt.SimpleRNN(32)", "type bptt.RNN(1, 32)", "bptt.RNN(1, 32)"),
    "a layer of units alone": (
        "bptt.LSTM(32)",
        "type bptt.LSTM(input_size, hidden_size)",
        "bptt.LSTM(1, 32)",
    ),
    "units": ("bptt.LSTM(1, units=32)", "type hidden_size=32", "bptt.LSTM(1, hidden_size=32)"),
    "return_sequences": (
        "bptt.LSTM(1, 32, return_sequences=True)",
        "leave it out: layers give all steps, and bptt.LastStep()",
        "bptt.Sequential(bptt.LSTM(1, 32), bptt.LastStep())",
    ),
    "lr of Keras": (
        "bptt.Adam(learning_rate=0.01)",
        "type lr=0.001",
        "bptt.Adam(lr=0.001)",
    ),
    "layers that do not fit": (
        "bptt.Sequential(bptt.LSTM(1, 32, bidirectional=True), bptt.Linear(32, 1))",
        "type bptt.Linear(64, ...) for layer 1",
        "bptt.Sequential(bptt.LSTM(1, 32, bidirectional=True), bptt.Linear(64, 1))",
    ),
    "a class instead of a layer": (
        "bptt.Sequential(bptt.LSTM, bptt.Linear)",
        "LSTM is a class, type bptt.LSTM(...)",
        "bptt.Sequential(bptt.LSTM(1, 32), bptt.Linear(32, 1))",
    ),
    "val_loss of the history": (
        TRAIN + ", validation=(x, y)).val_loss",
        "type history.validation_loss",
        TRAIN + ", validation=(x, y)).validation_loss",
    ),
}


def newcomer():
    """The names that a newcomer has at hand."""
    numbers = np.random.default_rng(0)
    x = numbers.standard_normal((8, 6, 1))
    tokens = numbers.integers(0, 5, (8, 7))
    tokens[0, :5] = np.arange(5)
    labels = np.arange(8) % 3

    def head(outputs):
        return bptt.LSTM(1, 4, rng=0), bptt.LastStep(), bptt.Linear(4, outputs, rng=1)

    return {
        "np": np,
        "bptt": bptt,
        "x": x,
        "y": 0.5 * x,
        "two": numbers.standard_normal((8, 6, 2)),
        "tokens": tokens[:, :-1],
        "after": tokens[:, 1:],
        "labels": labels,
        "model": bptt.Sequential(bptt.LSTM(1, 4, rng=0), bptt.Linear(4, 1, rng=1)),
        "pairs": bptt.Sequential(bptt.LSTM(2, 4, rng=0), bptt.Linear(4, 1, rng=1)),
        "single": bptt.Sequential(*head(1)),
        "classifier": bptt.Sequential(*head(3)),
        "five": bptt.Sequential(*head(5)),
        "speller": bptt.Sequential(bptt.OneHot(5), bptt.GRU(5, 4, rng=0), bptt.Linear(4, 5, rng=1)),
    }


def run(text):
    """Run what is typed; return the value of the last part, and the names at hand."""
    known = newcomer()
    *before, last = text.split("; ")
    for part in before:
        exec(part, known)
    return eval(last, known), known


def parameters_of(known):
    models = (value for value in known.values() if isinstance(value, bptt.Sequential))
    return [array for model in models for array in model.state_dict().values()]


def test_there_are_forty_at_least():
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_and_the_answer_works(case):
    typed, hint, instead = case
    known = newcomer()
    before = parameters_of(known)
    with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
        eval(typed, known)
    told = str(caught.value)
    assert hint in told and "\n" not in told
    if not typed.endswith("val_loss"):  # where training itself went well
        for array, old in zip(parameters_of(known), before):
            np.testing.assert_array_equal(array, old)
    run(instead)


#: What is taken as it is, because its meaning is plain.
TAKEN = {
    "layers in a list": (
        "bptt.Sequential([bptt.LSTM(1, 4, rng=0), bptt.Linear(4, 1, rng=1)])(x)",
        "model(x)",
    ),
    "a number for each sequence": (
        TRAIN.replace("model", "single").replace("x, y", "x, y[:, -1, 0]") + ").loss",
        TRAIN.replace("model", "single").replace("x, y", "x, y[:, -1]") + ").loss",
    ),
    "a truth for each sequence": (
        TRAIN.replace("model", "single")
        .replace("x, y", "x, labels > 1")
        .replace("mse", "bce_with_logits")
        + ").loss",
        TRAIN.replace("model", "single")
        .replace("x, y", "x, (labels[:, None] > 1).astype(float)")
        .replace("mse", "bce_with_logits")
        + ").loss",
    ),
    "model(x)": ("model(x)", "model.predict(x, progress=False)"),
    "a list to model(x)": ("model([x[0]])[0]", "model.predict([x[0]])[0]"),
}


@pytest.mark.parametrize("case", TAKEN.values(), ids=TAKEN)
def test_what_is_plain_is_taken(case):
    typed, same = case
    np.testing.assert_array_equal(run(typed)[0], run(same)[0])


@pytest.mark.parametrize("name", ["compile", "eval", "parameters", "forward", "__len__", "_x"])
def test_models_and_layers_do_not_pretend_to_have_what_they_answer(name):
    assert not hasattr(newcomer()["model"], name)
    assert not hasattr(bptt, name)
    if name != "forward":
        assert name == "parameters" or not hasattr(bptt.LSTM(1, 2), name)


def functions():
    """All that answers names of arguments: by the name in the table, what it is."""
    yield from (("fit", bptt.Sequential.fit), ("predict", bptt.Sequential.predict))
    yield from (("evaluate", bptt.Sequential.evaluate), ("generate", bptt.Sequential.generate))
    for name in bptt.__all__:
        thing = getattr(bptt, name)
        if isinstance(thing, type) and hasattr(thing.__init__, "__wrapped__"):
            kinds = [p.kind for p in inspect.signature(thing).parameters.values()]
            if inspect.Parameter.VAR_KEYWORD not in kinds:  # those go on to a tracker
                yield name, thing


CALLS = dict(functions())


@pytest.mark.parametrize("rows", names.ARGUMENTS)
def test_every_answer_to_an_argument_is_given_somewhere(rows):
    for other in rows.split():
        owner, _, name = other.rpartition(".")
        tried = [CALLS[owner]] if owner else CALLS.values()
        told = []
        for call in tried:
            with pytest.raises(TypeError) as caught:
                call(**{name: 1})
            told.append(str(caught.value))
        assert any(names.ARGUMENTS[rows] in text for text in told), other


def test_an_answer_names_an_argument_that_exists():
    for call in CALLS.values():
        for name in ("learning_rate", "units", "verbose", "seed", "validation_data"):
            with contextlib.suppress(TypeError):
                call(**{name: 1})
                pytest.fail("it has no such argument")
    with pytest.raises(TypeError, match="its arguments are p, rng"):
        bptt.Dropout(units=3)


def test_a_misspelt_argument_is_recognised():
    with pytest.raises(TypeError, match=r"'hiden_size': type hidden_size=\.\.\."):
        bptt.LSTM(1, hiden_size=3)


@pytest.mark.parametrize("table", ["MODULE", "MODEL", "LAYER"])
def test_no_answer_is_about_something_that_is_there(table):
    there = {"MODULE": bptt, "MODEL": newcomer()["model"], "LAYER": bptt.LSTM(1, 2)}[table]
    rows = getattr(names, table)
    assert [n for row in rows for n in row.split() if hasattr(there, n)] == []
    every = [n for row in rows for n in row.split()]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("table", ["MODULE", "MODEL"])
def test_what_an_answer_names_exists(table):
    known = newcomer()
    for told in getattr(names, table).values():
        for owner, name in re.findall(r"\b(bptt|model)\.(\w+)", told):
            assert hasattr(known[owner], name), told


def test_what_answers_looks_as_before():
    fit = inspect.signature(bptt.Sequential.fit).parameters
    assert list(fit)[:5] == ["self", "x", "y", "loss", "optimizer"] and "kwargs" not in fit
    assert bptt.Sequential.fit.__doc__.startswith("Train the layers in place.")
    assert list(inspect.signature(bptt.LSTM).parameters)[:2] == ["input_size", "hidden_size"]
    assert list(inspect.signature(bptt.Adam).parameters) == ["lr", "betas", "eps", "weight_decay"]
    for thing in (bptt.Adam(0.1), bptt.MSELoss(), bptt.StepLR(3)):
        assert pickle.loads(pickle.dumps(thing)) == thing
