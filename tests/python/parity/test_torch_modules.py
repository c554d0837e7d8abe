"""`bptt.torch` as modules: copies, accelerate, install, and every way back to torch's own path."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twins import PAIRS, assert_close, pair, torch_has_bf16  # noqa: E402

import bptt.torch  # noqa: E402

pytestmark = pytest.mark.usefixtures("fresh")


def test_weights_of_other_shapes_are_torchs_to_refuse():
    layer = bptt.torch.RNN(3, 5)
    layer.weight_ih_l0 = torch.nn.Parameter(torch.zeros(3, 5))
    with pytest.raises(RuntimeError, match=r"shape|size"):
        layer(torch.randn(4, 2, 3))


def test_explain_knows_other_forwards():
    class Mine(torch.nn.LSTM):
        def forward(self, x, hx=None):
            return super().forward(x, hx)

    assert "its own forward" in str(bptt.torch.explain(Mine(3, 5), X))


def test_somebody_elses_patch_is_left_alone():
    original = torch.nn.RNN.forward

    def patch(self, x, hx=None):
        return original(self, x, hx)

    torch.nn.RNN.forward = patch
    try:
        bptt.torch.uninstall()
        assert torch.nn.RNN.forward is patch
        with bptt.torch.install():
            assert torch.nn.RNN.forward is not patch
        assert torch.nn.RNN.forward is patch
    finally:
        torch.nn.RNN.forward = original


def test_modules_are_torchs(tmp_path):
    for kind, (ours, theirs) in PAIRS.items():
        layer, twin = pair(kind, 3, 5, batch_first=True)
        assert isinstance(layer, theirs)
        assert repr(layer) == repr(twin)
        assert list(layer.state_dict()) == list(twin.state_dict())
        layer.flatten_parameters()
        x = torch.randn(2, 4, 3)
        want = layer(x)[0]
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        copies = [pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)]
        copies.append(torch.load(file, weights_only=False))
        for other in copies:
            assert type(other) is ours
            assert torch.equal(other(x)[0], want)
            assert other.weight_ih_l0 is not layer.weight_ih_l0


def test_accelerate_keeps_objects_and_parameters(strict):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 5)
            self.deep = torch.nn.GRU(5, 5, num_layers=2)
            self.odd = torch.nn.GRU(5, 5, num_layers=2, dropout=1.0)
            self.inner = torch.nn.Sequential(torch.nn.RNN(5, 4))

    model = Model()
    lstm, weight = model.lstm, model.lstm.weight_ih_l0
    assert bptt.torch.accelerate(model) is model
    assert model.lstm is lstm
    assert model.lstm.weight_ih_l0 is weight
    assert type(model.lstm) is bptt.torch.LSTM
    assert type(model.inner[0]) is bptt.torch.RNN
    assert type(model.deep) is bptt.torch.GRU
    assert type(model.odd) is torch.nn.GRU  # not supported, left alone
    model.lstm(torch.randn(4, 2, 3))
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        bptt.torch.accelerate("model")


def test_install_and_uninstall():
    original = torch.nn.LSTM.forward
    layer, x = torch.nn.LSTM(3, 5), torch.randn(4, 2, 3)
    assert not bptt.torch.explain(layer, x).core
    bptt.torch.uninstall()  # without an install
    with bptt.torch.install():
        assert bptt.torch.explain(layer, x).core
        with bptt.torch.install():  # twice
            pass
        assert bptt.torch.explain(layer, x).core  # still installed outside
        assert bptt.torch.explain(torch.nn.RNN(3, 5), x).core
    assert torch.nn.LSTM.forward is original
    bptt.torch.install()
    bptt.torch.install()
    bptt.torch.uninstall()
    bptt.torch.uninstall()
    assert torch.nn.LSTM.forward is original


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_ten_adam_steps_with_and_without_install(kind):
    def losses():
        torch.manual_seed(3)
        layer, linear = getattr(torch.nn, kind)(4, 20, batch_first=True), torch.nn.Linear(20, 2)
        optimizer = torch.optim.Adam([*layer.parameters(), *linear.parameters()], lr=1e-2)
        x, y = torch.randn(8, 12, 4), torch.randn(8, 12, 2)
        found = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(linear(layer(x)[0]), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    plain = losses()
    with bptt.torch.install():
        ours = losses()
    assert ours != plain  # another path was taken
    np.testing.assert_allclose(ours, plain, rtol=1e-5)
    assert plain[-1] < plain[0]


X = torch.randn(4, 2, 3)
FALLBACKS = {
    "dropout=1": lambda: (bptt.torch.GRU(3, 5, num_layers=2, dropout=1.0), X),
    "bfloat16": lambda: (bptt.torch.LSTM(3, 5, dtype=torch.bfloat16), X.bfloat16()),
    "empty": lambda: (bptt.torch.LSTM(3, 5), X[:, :0]),
}


@pytest.mark.parametrize("reason", FALLBACKS)
def test_what_is_not_supported_goes_to_torch(reason):
    layer, x = FALLBACKS[reason]()
    theirs = type(layer).__base__.forward
    path = bptt.torch.explain(layer, x)
    assert not path.core
    assert reason in str(path)
    with pytest.warns(UserWarning, match=reason) as seen:
        y, _ = layer(x)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x)  # the second time without a warning
    want, _ = theirs(layer, x)
    assert torch.equal(y, want)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_torch_does_around_a_call():
    layer, x = bptt.torch.LSTM(3, 5), torch.randn(4, 2, 3)
    if torch_has_bf16():
        with (
            torch.autocast("cpu", dtype=torch.bfloat16),
            pytest.warns(UserWarning, match="autocast"),
        ):
            assert layer(x)[0].dtype == torch.bfloat16
    with pytest.warns(UserWarning, match=r"torch\.func"):
        torch.func.grad(lambda x: layer(x)[0].sum())(x)
    with torch.autograd.forward_ad.dual_level(), pytest.warns(UserWarning, match="forward-mode"):
        layer(x)
    with pytest.warns(UserWarning, match="meta"):
        bptt.torch.LSTM(3, 5, device="meta")(x.to("meta"))


def test_compiled_models_work():
    layer, x = bptt.torch.LSTM(3, 5), torch.randn(4, 2, 3)
    compiled = torch.compile(torch.nn.Sequential(layer), backend="eager")
    assert_close(compiled(x)[0], layer(x)[0], 2e-5)


@pytest.mark.parametrize(
    ("x", "hx"),
    [
        (torch.randn(4, 2, 4), None),
        (torch.randn(3), None),
        (torch.randn(4, 2, 3), (torch.zeros(1, 3, 5), torch.zeros(1, 3, 5))),
        (torch.randn(4, 2, 3), torch.zeros(1, 2, 5)),
        (torch.randn(4, 3), (torch.zeros(1, 1, 5), torch.zeros(1, 1, 5))),
        (torch.randn(4, 2, 3).double(), None),
        ([[1.0]], None),
    ],
)
def test_mistakes_give_torchs_own_errors(x, hx):
    errors = []
    for cls in PAIRS["LSTM"]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(Exception) as caught:
                cls(3, 5)(x, hx)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def test_explain_wants_a_layer():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LSTM(3, 5))
    with pytest.raises(TypeError, match=r"\['1'\]"):
        bptt.torch.explain(model, X)
    with pytest.raises(TypeError, match="str"):
        bptt.torch.explain("lstm", X)


class Windows(torch.utils.data.Dataset):
    """A data set that runs a layer itself, in the worker."""

    def __init__(self):
        self.layer = torch.nn.LSTM(3, 64)

    def __len__(self):
        return 8

    def __getitem__(self, n):
        with torch.no_grad():
            return self.layer(torch.full((50, 40, 3), float(n)))[0][-1, 0]


def test_forked_workers_do_not_hang():
    with bptt.torch.install():
        data = Windows()
        here = torch.stack([data[n] for n in range(len(data))])  # the pool has threads now
        loader = torch.utils.data.DataLoader(
            data, batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        there = torch.cat(list(loader))
    assert torch.equal(here, there)
