"""What fit and evaluate read and change of a large table: the rows that the data have."""

import numpy as np
import pytest

import bptt

TOKENS = np.array([[3, 0, 3], [5, 5, 0]], np.uint32)
CLASSES = np.array([1, 0])
LOCAL = [bptt.SGD(0.1), bptt.Adagrad(0.1), bptt.SparseAdam(0.1)]


def model_of(rows=8):
    return bptt.Sequential(
        bptt.Embedding(rows, 4, rng=0),
        bptt.GRU(4, 5, rng=1),
        bptt.LastStep(),
        bptt.Linear(5, 2, rng=2),
    )


def fit(model, **options):
    options = {"loss": "cross_entropy", "epochs": 3, "rng": 0, "progress": False} | options
    return model.fit(TOKENS, CLASSES, batch_size=1, **options)


@pytest.mark.parametrize("optimizer", LOCAL, ids=lambda rule: type(rule).__name__)
def test_rows_that_no_sequence_has_are_neither_read_nor_written(optimizer):
    model, like = model_of(), model_of()
    table = model.layers[0].parameters["weight"]
    others = [row for row in range(8) if row not in TOKENS and row not in TOKENS + 1]
    table[others] = np.nan
    for each in (model, like):
        fit(each, optimizer=optimizer, clip_norm=1.0, validation=(TOKENS + 1, CLASSES))
        fit(each, optimizer=optimizer)
    assert np.isnan(table[others]).all()
    expected = like.state_dict()
    expected["0.weight"][others] = np.nan
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_evaluation_reads_the_rows_of_its_data():
    model = model_of()
    want = model.evaluate(TOKENS, CLASSES, loss="cross_entropy", progress=False)
    model.layers[0].parameters["weight"][[1, 2, 4, 6, 7]] = np.nan
    assert model.evaluate(TOKENS, CLASSES, loss="cross_entropy", progress=False) == want


def test_what_callbacks_change_is_read():
    class Doubles(bptt.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.load_state_dict(
                {name: 2 * values for name, values in self.model.state_dict().items()}
            )

    by_callback, by_hand = model_of(), model_of()
    fit(by_callback, optimizer=bptt.SGD(0.1), callbacks=[Doubles()], shuffle=False)
    for _ in range(3):
        fit(by_hand, optimizer=bptt.SGD(0.1), epochs=1, shuffle=False)
        by_hand.load_state_dict({name: 2 * v for name, v in by_hand.state_dict().items()})
    for name, values in by_hand.state_dict().items():
        np.testing.assert_array_equal(by_callback.state_dict()[name], values, err_msg=name)


def test_a_schedule_that_brings_a_momentum_changes_all_rows_from_then_on():
    """The schedule sets the momentum of every step, so that of the optimiser does not matter."""
    results = []
    for momentum in (0.0, 0.5):
        model = model_of()
        fit(model, optimizer=bptt.SGD(0.1, momentum=momentum), schedule=bptt.OneCycleLR(0.2))
        results.append(model.state_dict())
    for name, values in results[0].items():
        np.testing.assert_array_equal(results[1][name], values, err_msg=name)
