"""Generated tokens, and how models and histories show themselves."""

import copy
import pickle
from xml.etree import ElementTree

import numpy as np
import pytest

import bptt


def model(first=None, tokens=5):
    first = bptt.Embedding(tokens, 6, rng=0) if first is None else first
    return bptt.Sequential(first, bptt.LSTM(6, 8, rng=1), bptt.Linear(8, tokens, rng=2))


def logits_after(a_model, tokens):
    return a_model.predict([tokens])[0][-1].astype(np.float64)


def test_at_temperature_0_the_likeliest_token_follows():
    sequence = [3, 1]
    for token in model().generate(sequence, 20, temperature=0):
        assert token == logits_after(model(), sequence).argmax()
        sequence.append(int(token))
    for near in ({"temperature": 1e-300}, {"top_k": 1, "temperature": 3.0}):
        assert model().generate([3, 1], 20, **near).tolist() == sequence[2:]


def test_tokens_come_as_often_as_their_share():
    sharp = model()
    sharp.layers[2].parameters["weight"][:] *= 8
    logits = logits_after(sharp, [4, 0])
    generator = np.random.default_rng(0)
    for temperature, top_k in [(1.0, None), (0.3, None), (2.0, None), (1.0, 3), (0.7, 2), (1.0, 5)]:
        options = {"temperature": temperature, "top_k": top_k, "rng": generator}
        drawn = [int(sharp.generate([4, 0], 1, **options)[0]) for _ in range(2000)]
        shares = np.exp(logits / temperature)
        if top_k is not None:
            shares[np.argsort(-logits)[top_k:]] = 0
        shares /= shares.sum()
        counts = np.bincount(drawn, minlength=5)
        assert not counts[shares == 0].any()
        # Five standard deviations of a binomial count.
        assert (np.abs(counts - 2000 * shares) <= 5 * np.sqrt(2000 * shares)).all()


def test_the_same_seed_draws_the_same_tokens():
    a = model().generate([1, 2, 3], 50, rng=3)
    assert a.dtype == np.int64 and a.shape == (50,)
    assert a.min() >= 0 and a.max() < 5
    np.testing.assert_array_equal(a, model().generate(np.array([1, 2, 3], "u1"), 50, rng=3))
    again = model().generate([1, 2, 3], 50, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(a, again)
    assert not np.array_equal(a, model().generate([1, 2, 3], 50, rng=4))
    assert model().generate([1], 0).shape == (0,)
    assert model(bptt.OneHot(6), 6).generate([5], 3, rng=0).shape == (3,)


def test_what_cannot_be_generated_is_refused():
    good = model()
    for prompt, match in [
        ([], r"at least one token, \(T,\), got shape \(0,\)"),
        (3, r"at least one token, \(T,\), got shape \(\)"),
        ([[1, 2]], r"at least one token, \(T,\), got shape \(1, 2\)"),
        (np.zeros(0, int), "at least one token"),
        ([[1], [1, 2]], "prompt must be an array"),
        ([5], "prompt must hold numbers from 0 to 4, got 5"),
        ([-1], "prompt must hold numbers from 0 to 4, got -1"),
    ]:
        with pytest.raises(ValueError, match=match):
            good.generate(prompt, 3)
    with pytest.raises(TypeError, match="integer dtype"):
        good.generate([0.5], 3)
    for options, kind, match in [
        ({"n": -1}, ValueError, "n must be at least 0"),
        ({"n": 1.5}, TypeError, "n must be a whole number"),
        ({"temperature": -1}, ValueError, "temperature must be at least 0"),
        ({"temperature": np.inf}, ValueError, "temperature"),
        ({"temperature": np.nan}, ValueError, "temperature"),
        ({"temperature": "hot"}, TypeError, "temperature must be a number"),
        ({"top_k": 0}, ValueError, "top_k must be at least 1"),
        ({"top_k": 6}, ValueError, "top_k must be at most 5"),
        ({"top_k": 2.0}, TypeError, "top_k must be a whole number"),
        ({"rng": "seed"}, (TypeError, ValueError), "rng must be"),
    ]:
        with pytest.raises(kind, match=match):
            good.generate(**{"prompt": [1], "n": 3, **options})
    with pytest.raises(ValueError, match="a model that takes tokens"):
        bptt.Sequential(bptt.LSTM(5, 5)).generate([1], 3)
    with pytest.raises(ValueError, match="each of the 5 tokens, got 4 outputs"):
        bptt.Sequential(bptt.OneHot(5), bptt.GRU(5, 4)).generate([1], 3)
    both = bptt.GRU(6, 3, bidirectional=True)
    with pytest.raises(ValueError, match="two directions"):
        bptt.Sequential(bptt.OneHot(6), both).generate([1], 3)
    good.layers[2].parameters["bias"][0] = np.nan
    with pytest.raises(ValueError, match="logits of the model must be finite"):
        good.generate([1], 3)


def test_summary_counts_the_parameters():
    a_model = model()
    table = a_model.summary()
    assert repr(table) == str(table)
    count = sum(array.size for array in a_model.state_dict().values())
    assert f"{count:,} parameters, float32" in table
    lines = table.splitlines()
    assert lines[2].split() == ["Embedding(5,", "6)", "(N,", "T,", "6)", "30"]
    assert len({len(line) for line in lines[:-1]}) == 1
    empty = bptt.Sequential(bptt.OneHot(3), bptt.LastStep())
    assert "0 parameters, float32, 0 bytes" in empty.summary()
    assert "(N, 3)" in empty.summary()
    large = bptt.Sequential(bptt.Linear(1000, 1000, dtype="float64", rng=0))
    assert "1,001,000 parameters, float64, 7.6 MiB" in large.summary()


def test_a_text_with_html_is_a_string():
    table = model().summary()
    for copied in (copy.copy(table), pickle.loads(pickle.dumps(table))):
        assert copied == table and isinstance(copied, str)
        assert copied._repr_html_() == table._repr_html_()
    described = bptt.explain(bptt.GRU(3, 5, rng=0), np.zeros((7, 2, 3)))
    assert repr(described) == str(described) and described.startswith("7 steps, 2 rows")


def test_html_is_well_formed_and_takes_the_notebooks_colours():
    shown = [
        model()._repr_html_(),
        model().summary()._repr_html_(),
        bptt.explain(bptt.GRU(3, 5, 2, rng=0), np.zeros((7, 2, 3)))._repr_html_(),
    ]
    for html in shown:
        ElementTree.fromstring(html.replace("<br>", "<br/>"))
        for colour in ("black", "white", "#", "rgb"):
            assert colour not in html
    assert "LSTM(6, 8)" in shown[0] and "30" in shown[0] and shown[1] == shown[0]
    rows = ElementTree.fromstring(shown[2].replace("<br>", "<br/>")).findall(".//tbody/tr")
    assert [row[0].text for row in rows] == ["layer 0", "layer 1"]
    assert all("tape" in row[1].text and "thread" in row[2].text for row in rows)
