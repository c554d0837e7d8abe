"""Callbacks for trackers: what each tracker's own format says, and what is told without it."""

import sys
import time

import numpy as np
import pytest

import bptt

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 5, 1))


def fit(callback, epochs=3, **options):
    model = bptt.Sequential(bptt.GRU(1, 4, rng=0), bptt.Linear(4, 1, rng=0))
    options = {"loss": "mse", "optimizer": bptt.Adam(0.1), "metrics": ["rmse"]} | options
    return model.fit(
        X[:10],
        -X[:10],
        validation=(X[10:], -X[10:]),
        epochs=epochs,
        batch_size=4,
        rng=0,
        progress=False,
        callbacks=[callback],
        **options,
    )


@pytest.mark.parametrize(
    ("make", "module"),
    [
        (lambda: bptt.TensorBoard("runs"), "tensorboard"),
        (lambda: bptt.MLflow(run_name="a"), "mlflow"),
        (lambda: bptt.WandB(project="a"), "wandb"),
    ],
)
def test_without_the_tracker_its_package_is_named(make, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {module} .*track"):
        make()


class Scalars:
    """What TensorBoard's own reader reads."""

    def __init__(self, path):
        accumulator = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator"
        ).EventAccumulator(str(path))
        accumulator.Reload()
        self.names = sorted(accumulator.Tags()["tensors"])
        self._read = accumulator.Tensors

    def __getitem__(self, name):
        from tensorboard.util.tensor_util import make_ndarray

        return [(e.step, float(make_ndarray(e.tensor_proto))) for e in self._read(name)]


def numbered(values):
    """Numbers as float32, which is what TensorBoard keeps, with their steps from 1."""
    return [(n, float(np.float32(value))) for n, value in enumerate(values, 1)]


def test_tensorboard_reads_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    history = fit(bptt.TensorBoard(tmp_path / "new" / "run"))
    training = Scalars(tmp_path / "new" / "run" / "training")
    validation = Scalars(tmp_path / "new" / "run" / "validation")
    assert training.names == ["loss", "lr", "rmse"] and validation.names == ["loss", "rmse"]
    assert training["loss"] == numbered(history.loss)
    assert training["lr"] == numbered(history.lr)
    assert validation["loss"] == numbered(history.validation_loss)
    assert validation["rmse"] == numbered(history.validation_rmse)


def test_tensorboard_reads_the_steps_of_a_resumed_run_once(tmp_path):
    pytest.importorskip("tensorboard")
    options = {"checkpoint": tmp_path / "file", "resume": True, "optimizer": bptt.Adam(0.1)}
    fit(bptt.TensorBoard(tmp_path / "a", steps=True), 2, **options)
    history = fit(bptt.TensorBoard(tmp_path / "b", steps=True), 3, **options)
    before, after = (Scalars(tmp_path / name / "training") for name in "ab")
    for name in ("loss", "gradient_norm", "lr"):
        read = before[f"step/{name}"] + after[f"step/{name}"]
        assert read == numbered(getattr(history.steps, name))


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny has no database
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield mlflow
    while mlflow.active_run() is not None:
        mlflow.end_run()


def runs_of(mlflow):
    client = mlflow.MlflowClient()
    return client, client.search_runs(["0"])


def test_mlflow_reads_the_numbers(mlflow):
    history = fit(bptt.MLflow(run_name="one"))
    client, [run] = runs_of(mlflow)
    assert (run.info.run_name, run.info.status) == ("one", "FINISHED")
    assert set(run.data.metrics) == set(history)
    for name, values in history.items():
        read = client.get_metric_history(run.info.run_id, name)
        assert [(m.step, m.value) for m in read] == [*enumerate(values, 1)]


def test_mlflow_goes_on_in_an_active_run(mlflow):
    with mlflow.start_run(run_name="mine"):
        fit(bptt.MLflow())
        assert mlflow.active_run() is not None
    _, [run] = runs_of(mlflow)
    assert run.info.run_name == "mine" and "validation_rmse" in run.data.metrics


class Ends(bptt.Callback):
    def __init__(self, inner, error):
        self.inner, self.error = inner, error

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def on_train_begin(self):
        self.inner.set_model(self.model)
        self.inner.on_train_begin()

    def on_epoch_end(self, epoch, logs):
        self.inner.on_epoch_end(epoch, logs)
        raise self.error

    def on_train_end(self):
        self.inner.on_train_end()


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "KILLED"), (RuntimeError("no"), "FAILED")]
)
def test_mlflow_knows_how_training_ended(mlflow, error, status):
    try:
        fit(Ends(bptt.MLflow(), error))
    except RuntimeError:
        assert status == "FAILED"
    assert mlflow.active_run() is None
    _, [run] = runs_of(mlflow)
    assert run.info.status == status


def finished(path):
    """The records of a file, once the last is there: wandb's other process writes it."""
    for _ in range(100):
        read = [*records(path)]
        if read and read[-1].WhichOneof("record_type") == "exit":
            break
        time.sleep(0.1)
    return read


def records(path):
    """The records of a file of wandb's, which are a log of LevelDB with wandb's own header."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a header at the end of a block
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(b"".join(parts))
            parts = []


@pytest.fixture
def offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path


@pytest.mark.parametrize("error", [None, RuntimeError("no")])
def test_wandb_writes_the_numbers(offline, error):
    callback, written = bptt.WandB(project="bptt", mode="offline", dir=str(offline)), []
    if error is None:
        history = fit(callback)
    else:
        with pytest.raises(RuntimeError, match="no"):
            fit(Ends(callback, error))
    [path] = (offline / "wandb").glob("offline-run-*/*.wandb")
    axes, codes = {}, []
    for record in finished(path):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = record.history.item
            written.append({"/".join(i.nested_key) or i.key: i.value_json for i in items})
        elif kind == "metric":
            axes[record.metric.name] = record.metric.step_metric
        elif kind == "exit":
            codes.append(record.exit.exit_code)
    assert codes == [int(error is not None)]
    assert [float(row["epoch"]) for row in written] == ([1, 2, 3] if error is None else [1])
    assert axes["validation_loss"] == axes["lr"] == "epoch"
    if error is None:
        for name, values in history.items():
            assert [float(row[name]) for row in written] == values
