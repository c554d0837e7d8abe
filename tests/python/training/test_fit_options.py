"""What `fit` can be given: weights, metrics, callbacks, early stopping, another fit after it."""

import copy
import pickle

import numpy as np
import pytest
from fitting import fit, model, parameters, regression

import bptt

RAGGED = [3, 1, 5, 2, 4, 4]


def classifier(seed=0, *more, dtype="float64"):
    rng = np.random.default_rng(seed)
    layers = bptt.GRU(2, 7, dtype=dtype, rng=rng), *more, bptt.Linear(7, 3, dtype=dtype, rng=rng)
    return bptt.Sequential(*layers)


def ragged(seed=0):
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((steps, 2)) for steps in RAGGED]
    return x, [rng.integers(0, 3, steps) for steps in RAGGED]


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


# Again and again.


@pytest.mark.parametrize("again", ["same", "none"])
@pytest.mark.parametrize(
    "schedule", [None, bptt.StepLR(1, 0.5), bptt.LinearLR(per="step", total_iters=9)]
)
def test_fit_again_goes_on_with_the_same_bits(again, schedule):
    x, y = regression()
    whole, parts = model(), model()
    settings = {"batch_size": 4, "shuffle": False, "schedule": schedule}
    fit(whole, x, y, epochs=4, optimizer=bptt.AdamW(0.05), **settings)
    optimizer = bptt.AdamW(0.05)
    fit(parts, x, y, epochs=1, optimizer=optimizer, **settings)
    parts = pickle.loads(pickle.dumps(parts)) if again == "none" and schedule is None else parts
    optimizer = None if again == "none" else optimizer
    fit(parts, x, y, epochs=3, optimizer=optimizer, **settings)
    np.testing.assert_array_equal(parameters(whole), parameters(parts))


def test_another_optimizer_and_another_model_begin_anew():
    x, y = regression()
    a, b, c = model(), model(), model()
    optimizer = bptt.Adam(0.05)
    for m in (a, b, c):
        fit(m, x, y, optimizer=optimizer)  # none of them sees what the others did
    np.testing.assert_array_equal(parameters(a), parameters(b))
    fit(a, x, y, optimizer=optimizer)
    fit(b, x, y, optimizer=bptt.Adam(0.05))  # equal, but not the same
    fresh = model()
    fresh.load_state_dict(c.state_dict())
    fit(fresh, x, y, optimizer=bptt.Adam(0.05))
    np.testing.assert_array_equal(parameters(b), parameters(fresh))
    assert not np.array_equal(parameters(a), parameters(b))


def test_a_copy_goes_on_by_itself():
    x, y = regression()
    m = model()
    fit(m, x, y)
    other = copy.deepcopy(m)
    fit(other, x, y, optimizer=None)
    before = parameters(m)
    fit(m, x, y, optimizer=None)
    np.testing.assert_array_equal(parameters(m), parameters(other))
    assert not np.array_equal(parameters(m), before)


def test_a_refused_or_diverged_fit_leaves_what_the_optimizer_remembers():
    x, y = regression()
    a, b = model(), model()
    for m in (a, b):
        fit(m, x, y)
    with pytest.raises(ValueError, match="features"):
        fit(a, x[..., :1], y, optimizer=None)
    with pytest.raises(bptt.DivergedError):
        fit(a, x * np.nan, y, optimizer=None, check_finite=False)
    for m in (a, b):
        fit(m, x, y, optimizer=None)
    np.testing.assert_array_equal(parameters(a), parameters(b))


# Weights, ignored targets, targets for whole sequences.


def test_sample_weights_multiply_the_losses():
    x, y = ragged()
    weights = np.array([1.0, 0.5, 0.0, 2.0, 1.0, 3.0])
    m = classifier()
    before = parameters(m)
    sums = []
    for part, targets in zip(x, y):
        rows = log_softmax(m.predict([part])[0])
        sums.append(-rows[np.arange(len(rows)), targets].sum())
    settings = {"loss": "cross_entropy", "shuffle": False, "optimizer": bptt.SGD(1.0)}
    history = fit(m, x, y, sample_weight=weights, batch_size=6, **settings)
    np.testing.assert_allclose(history.loss[0], weights @ sums / sum(RAGGED), rtol=1e-12)
    # The step is the weighted sum of those on each sequence alone.
    step = np.zeros_like(before)
    for n, steps in enumerate(RAGGED):
        one = classifier()
        fit(one, [x[n]], [y[n]], **settings)
        step += weights[n] * steps / sum(RAGGED) * (parameters(one) - before)
    np.testing.assert_allclose(parameters(m) - before, step, rtol=1e-10, atol=1e-13)


def test_ignored_targets_are_as_if_they_were_not_there():
    x, y = ragged()
    cut = [np.append(part, np.zeros((3, 2)), axis=0) for part in x]
    a, b = classifier(), classifier()
    settings = {"optimizer": bptt.SGD(0.5), "epochs": 3, "batch_size": 4, "metrics": ["perplexity"]}
    a_history = fit(a, x, y, loss="cross_entropy", validation=(x, y), **settings)
    for ignored in (-100, 7):
        b = classifier()
        marked = [np.append(part, [ignored] * 3) for part in y]
        loss = bptt.CrossEntropyLoss(ignore_index=ignored)
        b_history = fit(b, cut, marked, loss=loss, validation=(cut, marked), **settings)
        np.testing.assert_allclose(parameters(a), parameters(b), rtol=1e-11, atol=1e-13)
        assert b_history.validation_loss == pytest.approx(a_history.validation_loss, rel=1e-12)
        assert b_history.perplexity == pytest.approx(a_history.perplexity, rel=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "bce_with_logits", "mse", "mae", "huber"])
def test_one_target_for_a_sequence(loss):
    x, _ = ragged()
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 6) if loss == "cross_entropy" else rng.integers(0, 2, (6, 3))
    m = classifier(0, bptt.LastStep())
    before = m.evaluate(x, y, loss=loss)
    history = fit(m, x, y, loss=loss, epochs=150, batch_size=4, optimizer=bptt.Adam(0.05))
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert m.evaluate(x, y, loss=loss) < 0.3 * before
    # The same as a target for the last step, if no other step has one.
    if loss == "cross_entropy":
        steps = [np.append([-100] * (len(part) - 1), n).astype(int) for part, n in zip(x, y)]
        every, last = classifier(), classifier(0, bptt.LastStep())
        settings = {"loss": loss, "epochs": 3, "batch_size": 4, "optimizer": bptt.SGD(0.5)}
        fit(every, x, steps, **settings)
        fit(last, x, y, **settings)
        np.testing.assert_allclose(parameters(every), parameters(last), rtol=1e-10, atol=1e-13)


# Metrics.


def test_metrics_are_means_over_all_steps():
    x, y = ragged()
    y[2][1] = -100
    m = classifier()
    history = fit(
        m,
        x,
        y,
        loss="cross_entropy",
        optimizer=bptt.SGD(0.0),
        metrics=["accuracy", "perplexity"],
        validation=(x[:3], y[:3]),
        epochs=2,
        batch_size=4,
    )
    rows = [log_softmax(part) for part in m.predict(x)]

    def metrics(count):
        all_rows, targets = np.concatenate(rows[:count]), np.concatenate(y[:count])
        all_rows, targets = all_rows[targets != -100], targets[targets != -100]
        right = all_rows.argmax(axis=-1) == targets
        return right.mean(), np.exp(-all_rows[np.arange(len(targets)), targets].mean())

    for prefix, count in [("", 6), ("validation_", 3)]:
        accuracy, perplexity = metrics(count)
        assert getattr(history, f"{prefix}accuracy") == pytest.approx([accuracy] * 2)
        assert history.metrics[f"{prefix}perplexity"] == pytest.approx([perplexity] * 2)
    assert "perplexity" in repr(history)
    result = m.evaluate(x[:3], y[:3], loss="cross_entropy", metrics=["accuracy"])
    assert result["accuracy"] == history.validation_accuracy[0]
    assert result["loss"] == history.validation_loss[0]
    with pytest.raises(AttributeError, match=r"no 'rmse', it has loss, .*accuracy"):
        _ = history.rmse


def test_losses_are_means_over_the_steps_that_count():
    """In training as in evaluation, with class weights and ignored steps, also whole sequences."""
    x, y = ragged()
    y[0][:], y[2][1] = -100, -100
    weight = np.array([0.5, 1.0, 3.0])
    m = classifier()
    loss = bptt.CrossEntropyLoss(weight=weight)
    history = fit(
        m, x, y, loss=loss, optimizer=bptt.SGD(0.0), validation=(x, y), epochs=1, batch_size=2
    )
    rows, targets = np.concatenate(m.predict(x)), np.concatenate(y)
    rows, targets = log_softmax(rows[targets != -100]), targets[targets != -100]
    each = -rows[np.arange(len(targets)), targets]
    want = pytest.approx(np.average(each, weights=weight[targets]), rel=1e-6)
    assert (history.loss[0], history.validation_loss[0]) == (want, want)
    batches = [([part], [target]) for part, target in zip(x, y)]  # one of which has none that count
    assert m.evaluate(batches, loss=loss) == want


def test_rmse_and_the_accuracy_of_logits():
    x, y = regression()
    m = model(dtype="float64")
    settings = {"optimizer": bptt.SGD(0.0), "batch_size": 5}
    history = fit(m, x, y, loss="mae", metrics=["rmse"], **settings)
    errors = m.predict(x) - y
    assert history.rmse[0] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-12)
    labels = y > 0
    history = fit(m, x, labels, loss="bce_with_logits", metrics=["accuracy"], **settings)
    assert history.accuracy[0] == pytest.approx(((m.predict(x) > 0) == labels).mean(), rel=1e-12)


# Callbacks.


class Recorder:
    """No subclass: any object will do."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self, epoch, logs):
        self.calls.append((epoch, sorted(logs)))

    def on_train_end(self):
        self.calls.append("end")


def test_callbacks_are_called_and_may_stop():
    class Stop(bptt.Callback):
        def on_epoch_begin(self, epoch):
            self.begun = epoch

        def on_epoch_end(self, epoch, logs):
            assert epoch == self.begun
            assert logs["loss"] == self.model.history.loss[-1]
            self.model.stop_training = epoch == 1

    x, y = regression()
    recorder = Recorder()
    settings = {"epochs": 5, "callbacks": [recorder, Stop()]}
    history = fit(model(), x, y, validation=(x, y), metrics=["rmse"], **settings)
    assert len(history.loss) == 2
    names = sorted(["loss", "validation_loss", "rmse", "validation_rmse", "lr"])
    assert recorder.calls == ["begin", (0, names), (1, names), "end"]
    # Another fit is not stopped by the last one.
    m = model()
    m.stop_training = True
    assert len(fit(m, x, y, epochs=3).loss) == 3


def test_a_callback_may_change_parameters():
    class Clamp(bptt.Callback):
        def on_epoch_end(self, epoch, logs):
            for layer in self.model.layers:
                for array in layer.parameters.values():
                    np.clip(array, -0.1, 0.1, out=array)

    x, y = regression()
    m = model()
    fit(m, x, y, epochs=5, callbacks=[Clamp()], optimizer=bptt.Adam(1e-4), batch_size=3)
    assert np.abs(parameters(m)).max() <= np.float32(0.1)
    free = model()
    fit(free, x, y, epochs=5, optimizer=bptt.Adam(1e-4), batch_size=3)
    assert np.abs(parameters(free)).max() > 0.3


def test_ctrl_c_within_a_callback_keeps_what_was_learnt():
    class Interrupt(Recorder):
        def on_epoch_end(self, epoch, logs):
            if epoch == 2:
                raise KeyboardInterrupt

    x, y = regression()
    m, three, recorder = model(), model(), Interrupt()
    history = fit(m, x, y, epochs=9, callbacks=[recorder])
    assert history.interrupted
    assert recorder.calls == ["begin", "end"]
    fit(three, x, y, epochs=3)
    np.testing.assert_array_equal(parameters(m), parameters(three))


def test_early_stopping_goes_back_to_the_best_epoch():
    x, y = regression(rows=6)
    validation = regression(rows=40, seed=1)
    for restore in (True, False):
        m = model()
        stopping = bptt.EarlyStopping(patience=3, restore_best_weights=restore)
        history = fit(
            m,
            x,
            y,
            epochs=500,
            validation=validation,
            optimizer=bptt.Adam(0.05),
            early_stopping=stopping,
        )
        losses = history.validation_loss
        best = int(np.argmin(losses))
        assert len(losses) == best + 3 + 1 < 500
        assert (stopping.best, stopping.best_epoch) == (losses[best], best)
        assert stopping.stopped_epoch == len(losses) - 1
        assert m.evaluate(*validation, loss="mse") == losses[best if restore else -1]


def test_early_stopping_watches_what_it_is_told():
    x, y = ragged()
    for watched, mode in [("accuracy", "auto"), ("accuracy", "max"), ("loss", "min")]:
        stopping = bptt.EarlyStopping(2, min_delta=0.01, monitor=watched, mode=mode)
        history = fit(
            classifier(),
            x,
            y,
            loss="cross_entropy",
            metrics=["accuracy"],
            epochs=300,
            optimizer=bptt.Adam(0.01),
            callbacks=[stopping],
        )
        assert stopping.best == getattr(history, watched)[stopping.best_epoch]
        sign = -1 if watched == "accuracy" else 1
        values = sign * np.array(getattr(history, watched))
        assert len(values) < 300
        # Nothing after the best one is better by more than min_delta.
        assert (values[stopping.best_epoch :] >= values[stopping.best_epoch] - 0.01).all()


# Schedules within fit; their formulas are in test_fit_golden.py.


def test_a_schedule_by_steps_counts_those_of_the_optimizer():
    x, y = regression(rows=10, steps=5)

    def rates(**settings):
        m = model()
        schedule = bptt.StepLR(1, 0.5, per="step")
        optimizer = bptt.SGD(1.0)
        fit(m, x, y, epochs=2, schedule=schedule, optimizer=optimizer, **settings)
        return m._training.schedule_state["step"], m.history.lr[1]

    assert rates(batch_size=4) == (6, 0.5**3)
    assert rates(batch_size=4, tbptt=2) == (18, 0.5**9)
    assert rates(batch_size=2, accumulate=2) == (6, 0.5**3)
    assert rates(batch_size=2, accumulate=100) == (2, 0.5)


def test_a_cycle_fills_the_fit_it_is_given_to():
    x, y = regression(rows=10)
    m = model()
    cycle = bptt.OneCycleLR(0.1)
    fit(m, x, y, epochs=5, batch_size=4, schedule=cycle, optimizer=bptt.SGD(7.0))
    assert m._training.schedule_state == {"step": 15, "total": 15}
    with pytest.raises(ValueError, match="0 steps left of total_steps=15"):
        fit(m, x, y, batch_size=4, schedule=cycle)
    with pytest.raises(ValueError, match="14 steps left of total_steps=14, this run takes 15"):
        fit(m, x, y, epochs=5, batch_size=4, schedule=bptt.OneCycleLR(0.1, total_steps=14))
    with pytest.raises(ValueError, match="Adagrad has no momentum"):
        fit(m, x, y, schedule=bptt.OneCycleLR(0.1), optimizer=bptt.Adagrad())
    settings = {"schedule": bptt.OneCycleLR(0.1, cycle_momentum=False)}
    fit(m, x, y, optimizer=bptt.Adagrad(), **settings)


def test_reduce_on_plateau_watches_the_validation_loss():
    x, y = regression()
    schedule = bptt.ReduceLROnPlateau(patience=0, factor=0.5, threshold=0.0)
    optimizer = bptt.SGD(1e-30)  # nothing moves: every epoch but the first is a bad one
    settings = {"epochs": 4, "schedule": schedule, "optimizer": optimizer}
    history = fit(model(), x, y, validation=regression(seed=1), **settings)
    assert history.lr == [1e-30] * 4, "changes below eps are not made"
    schedule = bptt.ReduceLROnPlateau(patience=0, factor=0.5, threshold=0.0, eps=0.0)
    history = fit(
        model(), x, y, validation=regression(seed=1), **(settings | {"schedule": schedule})
    )
    assert history.lr == [1e-30, 1e-30, 5e-31, 2.5e-31]


@pytest.mark.parametrize("threads", [1, 3])
def test_all_of_it_has_the_same_bits_for_any_number_of_threads(threads):
    x, y = regression(rows=64, steps=30)

    def train():
        m = bptt.Sequential(bptt.LSTM(2, 40, rng=1), bptt.Linear(40, 1, rng=3))
        history = fit(
            m,
            x,
            y,
            loss=bptt.HuberLoss(0.5),
            epochs=3,
            batch_size=16,
            accumulate=3,
            optimizer=bptt.RMSprop(1e-3, momentum=0.9, centered=True),
            schedule=bptt.OneCycleLR(1e-2),
            sample_weight=np.linspace(0, 2, 64),
            metrics=["rmse"],
            validation=(x, y),
            early_stopping=bptt.EarlyStopping(),
        )
        return parameters(m), history.loss, history.metrics

    before = bptt.get_num_threads()
    try:
        bptt.set_num_threads(1)
        want = train()
        bptt.set_num_threads(threads)
        got = train()
    finally:
        bptt.set_num_threads(before)
    np.testing.assert_array_equal(got[0], want[0])
    assert got[1:] == want[1:]
