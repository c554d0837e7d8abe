"""The lab: its data, its command line and, for a few epochs, its parts."""

import numpy as np
import pytest

import bptt
from bptt import lab
from bptt.__main__ import main
from bptt.lab import parts, report, training


def test_sequences_are_the_labs():
    sets = lab.sequence_sets()
    assert [len(part.x) for part in (sets.train, sets.validation, sets.test)] == [80, 10, 10]
    first = [*sets.train.x[0], sets.train.y[0][-1]]
    assert first == [0] * 8 + [1] * 8 + [2]  # the first has eight 'a'
    for part in (sets.train, sets.validation, sets.test):
        for x, y in zip(part.x, part.y):
            np.testing.assert_array_equal(x[1:], y[:-1])
            assert 2 <= len(x) <= 22
            assert (x == 0).sum() == (y == 1).sum()


def test_the_global_generator_is_left_alone():
    np.random.seed(1)  # noqa: NPY002
    want = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    lab.sequence_sets()
    assert np.random.random() == want  # noqa: NPY002


def test_windows_are_moved_by_a_month():
    data = lab.airline_passengers()
    assert data.series.shape == (144,)
    assert data.split == 115
    assert data.train_x.shape == data.train_y.shape == (111, 4, 1)
    assert data.test_x.shape == data.test_y.shape == (25, 4, 1)
    np.testing.assert_array_equal(data.train_x[1:, :, 0], data.train_y[:-1, :, 0])
    np.testing.assert_array_equal(data.test_x[0, :, 0], data.series[115:119])
    assert data.test_y[-1, -1, 0] == data.series[-1] == 432


def few_epochs():
    return [
        *(
            by_hand(cell, exact=exact, epochs=8)
            for cell in ("RNN", "LSTM")
            for exact in (False, True)
        ),
        lab.train_lstm_torch(epochs=8, progress=False),
        lab.train_forecaster(epochs=8, progress=False),
    ]


def by_hand(cell, **settings):
    return parts.by_hand(cell, progress=False, **settings)


def check_scores(part):
    """The measure of the project, in the curves as in the end, and the course's own beside it."""
    sets = lab.sequence_sets()
    assert part.history.validation_loss[-1] == part.validation
    for data, score, course in (
        (sets.train, part.train, part.course[0]),
        (sets.validation, part.validation, part.course[1]),
    ):
        each = [part.model.evaluate([x], [y], loss="cross_entropy") for x, y in zip(data.x, data.y)]
        sums = [loss * len(y) for loss, y in zip(each, data.y)]
        np.testing.assert_allclose(score, sum(sums) / sum(map(len, data.y)), rtol=1e-6)
        own = np.mean(each) if part.name[0] == "3" else np.mean(sums) / 4
        np.testing.assert_allclose(course, own, rtol=1e-6)


def test_parts_learn_and_repeat():
    for part, again in zip(few_epochs(), few_epochs(), strict=True):
        assert part.history.loss[-1] < part.history.loss[0]
        assert again.history.loss == part.history.loss
        if part.example is not None:
            assert len(part.history.validation_loss) == 8
            if isinstance(part.model, bptt.Sequential):
                check_scores(part)
            target, predicted = part.example
            assert target.endswith("<EOS>") and len(predicted) > 0


def test_table_and_plots(tmp_path):
    pytest.importorskip("matplotlib")
    trained = few_epochs()
    text = report.table(trained)
    assert text.count("NO") == 2  # eight epochs are too few
    assert "LSTM by hand, exact" in text and "total training time" in text
    drawn = report.plots(trained, tmp_path)
    assert "gradients.png" in [path.name for path in drawn]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_parts_in_batches():
    trained = [lab.train_in_batches(part, progress=False) for part in (1, 2, 3)]
    assert [part.met for part in trained] == [None, None, True]  # 0.29, 0.29
    for part in trained:
        assert part.in_batches and "batches of 8" in part.name
        check_scores(part)
        assert part.train < 0.3 and part.validation < 0.28  # one at a time by hand: 0.46, 0.46
        assert part.example[0].endswith("<EOS>")
    again = lab.train_in_batches(2, epochs=50, progress=False)
    assert again.history.loss == trained[1].history.loss[:50]
    with pytest.raises(ValueError, match="must be 1, 2 or 3, got 4"):
        lab.train_in_batches(4)


def test_batches_are_of_similar_lengths_and_all_sequences_are_in_one():
    train = lab.sequence_sets().train
    ordered = parts._in_batches(train)
    lengths = np.array([len(x) for x in ordered.x]).reshape(-1, parts.BATCH)
    assert (np.ptp(lengths, axis=1) <= 4).all() and (np.ptp(lengths, axis=1) > 0).sum() == 8
    assert sorted(map(len, train.x)) == sorted(lengths.ravel())
    for x, y in zip(ordered.x, ordered.y):
        np.testing.assert_array_equal(x[1:], y[:-1])


def test_table_and_plots_of_batches(tmp_path):
    pytest.importorskip("matplotlib")
    batches = [lab.train_in_batches(part, epochs=8, progress=False) for part in (1, 2, 3)]
    one_by_one = few_epochs()
    trained = [*one_by_one[:-1], *batches, one_by_one[-1]]
    assert report.table(trained).count("batches of 8 ") == 6  # a row and an example each
    drawn = report.plots(trained, tmp_path)
    assert "batches.png" in [path.name for path in drawn]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_info(capsys):
    assert main(["info"]) == 0
    assert "simd level" in capsys.readouterr().out


def test_unknown_command(capsys):
    with pytest.raises(SystemExit):
        main(["labour"])
    assert "invalid choice" in capsys.readouterr().err


def test_training_does_not_read_the_callers_tokens_later(monkeypatch):
    tokens, seen = np.zeros(6, np.uint32), []
    dataset = training.Dataset

    def spy(*arrays):
        seen.extend(arrays[:2])
        return dataset(*arrays)

    monkeypatch.setattr(training, "Dataset", spy)
    lab.train_rnn([(tokens, tokens)], epochs=1, progress=False)
    assert seen
    assert not any(np.shares_memory(tokens, array) for array in seen)
