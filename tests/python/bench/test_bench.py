"""The comparison with other libraries: who is timed, when, and what is reported. No speeds."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

import bptt
from bptt.__main__ import main
from bptt.bench import cases, cli, contenders, figure, report, runner
from bptt.bench.rules import Contender, UnsupportedError

PLAN = runner.Plan(seconds=0.0, least=4, most=4, turn=0.0, pause=0.0, warm=0.0)
CASE = cases.LayerCase("LSTM", (3, 2, 4, 5), train=False)


@dataclass
class Fake:
    """A library whose contenders give what they are told to, and note their calls."""

    name: str
    result: dict | Exception
    calls: list = field(default_factory=list)
    version: str = "1.0"

    def layer(self, case, data):
        if isinstance(self.result, UnsupportedError):
            raise self.result
        return [Contender(self.name, lambda: self.calls.append(self.name), self.results)]

    def results(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def outputs(**changed):
    arrays = {name: np.ones((1, 2, 5), np.float32) for name in ("y", "h", "c")}
    return arrays | changed


def timed(seconds, case=CASE, peaks=(1e9,)):
    """A row with these times."""
    timings = [runner.Timing(name, [t, t, t], cores=[1.0]) for name, t in seconds.items()]
    return runner.Result(case, timings, list(peaks))


@pytest.fixture
def about():
    return report.About({"bptt": "0", "torch": "2"}, ["Keras is left out: large"], threads=2)


@pytest.fixture(autouse=True)
def _same_threads():
    threads = bptt.get_num_threads()
    yield
    bptt.set_num_threads(threads)


# The runner.


def test_everybody_runs_once_a_round_in_changing_order():
    calls = []
    libraries = [Fake(name, outputs(), calls) for name in "abc"]
    (result,) = runner.run([CASE], libraries, PLAN)
    rounds = ["".join(calls[n : n + 3]) for n in range(0, len(calls), 3)]
    # The first is for estimating the time.
    assert rounds[-4:] == ["abc", "acb", "cab", "cba"]
    assert [len(timing.seconds) for timing in result.timings] == [4, 4, 4]


def test_the_peak_is_measured_in_every_round():
    asked = []
    double = cases.LayerCase("LSTM", (3, 2, 4, 5), train=False, option="float64")
    (result,) = runner.run(
        [double], [Fake("bptt", outputs())], PLAN, lambda double: asked.append(double) or 7.0
    )
    assert (asked, result.peaks) == ([True] * 4, [7.0] * 4)


def test_short_work_is_repeated_and_its_time_divided():
    plan = runner.Plan(seconds=0.0, least=3, most=3, turn=0.002, pause=0.0, warm=0.0)
    (result,) = runner.run([CASE], [Fake("bptt", outputs())], plan)
    (timing,) = result.timings
    assert timing.repeats > 10
    assert timing.median < 0.001


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({"y": outputs()["y"]}, "does not compute c, h"),
        (outputs(y=outputs()["y"] * 1.001), "y differs by 1.0e-03"),
        (outputs(y=outputs()["y"] * np.nan), "y differs by nan"),
        (outputs(y=outputs()["y"][..., :4]), r"y has shape \(1, 2, 4\)"),
        (ValueError("no"), "ValueError: no"),
    ],
)
def test_who_computes_something_else_is_not_timed(result, problem):
    wrong, right = Fake("wrong", result), Fake("right", outputs(y=outputs()["y"] * 1.00001))
    (row,) = runner.run([CASE], [Fake("bptt", outputs()), wrong, right], PLAN)
    assert [timing.name for timing in row.timings] == ["bptt", "right"]
    assert row.timings[1].error == pytest.approx(1e-5, rel=0.1)
    assert not wrong.calls
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(row.wrong["wrong"])


def test_training_without_dx_or_a_weight_is_less_work():
    train = cases.LayerCase("LSTM", (3, 2, 4, 5), train=True)
    full = outputs() | {name: np.ones(1) for name in train.required - {"y", "h", "c"}}
    for name in ("dx", "weight_hh_l0", "bias_hh_l0"):
        less = {key: value for key, value in full.items() if key != name}
        (row,) = runner.run([train], [Fake("bptt", full), Fake("less", less)], PLAN)
        assert row.wrong == {"less": f"WrongError: does not compute {name}"}


def test_what_a_library_does_not_have_is_said():
    libraries = [Fake("bptt", outputs()), Fake("torch", UnsupportedError("no such layer"))]
    (row,) = runner.run([CASE], libraries, PLAN)
    assert row.absent == {"torch": "no such layer"}
    assert row.best_peer is None


def test_without_bptt_there_is_no_comparison():
    with pytest.raises(RuntimeError, match="bptt fails"):
        list(runner.run([CASE], [Fake("bptt", ValueError("broken")), Fake("b", outputs())], PLAN))


def test_ctrl_c_keeps_the_rows_that_are_done(capsys):
    class Interrupted(Fake):
        def layer(self, case, data):
            if case.train:
                raise KeyboardInterrupt
            return super().layer(case, data)

    rows = [CASE, cases.LayerCase("LSTM", (3, 2, 4, 5), train=True)]
    results, complete = cli.measure(rows, [Interrupted("bptt", outputs())], PLAN)
    assert ([result.case for result in results], complete) == ([CASE], False)
    assert "interrupted" in capsys.readouterr().err


# The report.


def test_ratios_and_share():
    row = timed({"bptt": 2e-6, "torch": 5e-6, "JAX": 3e-6}, peaks=[4e9])
    assert row.times_faster("torch") == pytest.approx(2.5)
    assert row.times_faster("ONNX Runtime") is None
    assert (row.best_peer.name, row.over_best) == ("JAX", pytest.approx(1.5))
    assert row.share == pytest.approx(CASE.flops / 2e-6 / 4e9)


def test_losses_look_like_wins(about):
    won, lost = CASE, cases.LayerCase("LSTM", (3, 2, 4, 6), train=False)
    rows = [timed({"bptt": 1, "torch": 2}, won), timed({"bptt": 2, "torch": 1}, lost)]
    text = report.markdown(rows, about)
    assert "| 3, 2, 4, 5 | 2.00 | 2.00 (torch) |" in text
    assert "| 3, 2, 4, 6 | 0.50 | 0.50 (torch) |" in text
    assert "fastest in 1 of 2 rows" in text
    assert "- LSTM, 3, 2, 4, 6, inference: torch, 0.50" in text
    assert "- Keras is left out: large" in text


def test_everything_is_reported(about):
    train = cases.LayerCase("GRU", (3, 2, 4, 5), train=True)
    rows = [
        timed({"bptt": 1e-6, "torch": 2e-6}),
        timed({"bptt": 1e-6, "torch": 2e-6}, train),
        timed({"bptt": 1e-6, "torch LSTMCell": 2e-6}, cases.StepCase()),
    ]
    rows[1].wrong["JAX"] = "does not compute dx"
    rows[0].absent["NumPy"] = "nothing of the kind"
    text = report.markdown(rows, about)
    for wanted in (
        "## LSTM, float32: inference, GFLOP/s",
        "## Other layers and options: training, GFLOP/s",
        "## The lab's steps: microseconds",
        "- JAX, GRU, 3, 2, 4, 5, training: does not compute dx",
        "- NumPy: nothing of the kind",
    ):
        assert wanted in text
    saved = json.loads(json.dumps(report.as_json(rows, about)))
    assert saved["about"]["versions"] == about.versions
    assert [row["best_peer_over_bptt"] for row in saved["rows"]] == pytest.approx([2, 2, 2])
    assert saved["rows"][0]["contenders"]["torch"]["quartiles"] == pytest.approx([2e-6, 2e-6])


def test_a_machine_that_is_not_quiet_is_told_of(about):
    quiet = timed({"bptt": 1e-6}, peaks=[1e9, 1.01e9, 1e9, 1.01e9])
    busy = timed({"bptt": 1e-6}, peaks=[1e9, 1.2e9, 1e9, 1.2e9])
    said = ["not quiet" in report.markdown([row], about) for row in (quiet, busy)]
    assert said == [False, True]


def test_nothing_measured_is_reported_too(about):
    assert "0 of 0 rows" in report.markdown([], about)


def test_the_figure_has_a_mark_for_every_peer(about):
    rows = [
        timed({"bptt": 1, "torch": 2, "JAX": 0.1}),
        timed({"bptt": 1, "torch": 2}, cases.LayerCase("GRU", (3, 2, 4, 5), train=True)),
        timed({"bptt": 1, "ONNX Runtime": 2}, cases.StepCase()),
    ]
    drawn = figure.draw(rows, about)
    infer, train, _ = drawn.axes
    marks = [
        [line.get_xdata()[0] for line in axis.lines if line.get_marker() not in ("None", "")]
        for axis in (infer, train)
    ]
    assert marks == [[2, 0.1, 2], [2]]
    assert infer.get_xlim()[0] < 0.1


# The rows, and what is always installed.


def test_the_grid():
    rows = cases.grid()
    names = [f"{row.group}: {row.label}, {row.mode}" for row in rows]
    assert len(set(names)) == len(names)
    assert {row.mode for row in rows} == {"infer", "train"}
    assert len(cli.select(rows, True, None)) < len(rows)
    assert cli.select(rows, False, "no such row") == []


def test_operations():
    def flops(option="", cell="LSTM"):
        return cases.LayerCase(cell, (10, 2, 3, 8), train=False, option=option).flops

    plain = 2 * 20 * (3 + 8) * 4 * 8
    assert flops() == flops("float64") == flops(cases.BF16) == plain
    assert flops("bidirectional") == 2 * plain
    assert flops("two layers") == plain + 2 * 20 * (8 + 8) * 4 * 8
    assert flops("projection 64") == 2 * 20 * ((3 + 4) * 4 * 8 + 8 * 4)
    assert flops(cell="GRU") == plain * 3 // 4
    lengths = cases.LayerCase("LSTM", (10, 2, 3, 8), train=False, option="packed").lengths
    assert flops("packed") == plain * lengths.sum() // 20


@pytest.mark.parametrize("option", ["", *cases.OPTIONS])
@pytest.mark.parametrize("train", [False, True])
def test_bptt_does_every_row(option, train):
    libraries, _ = contenders.available(bptt.get_num_threads())
    numpy_and_bptt = [library for library in libraries if library.name in ("bptt", "NumPy")]
    for cell in ("LSTM", "GRU", "RNN") if option in ("", "float64") else ("LSTM",):
        case = cases.LayerCase(cell, (5, 3, 4, 6), train, option)
        (result,) = runner.run([case], numpy_and_bptt, runner.QUICK)
        names = [timing.name for timing in result.timings]
        others = {"": ["NumPy"], "float64": ["NumPy"], cases.BF16: ["bptt float32"]}
        assert names == ["bptt", *others.get(option, [])]
        assert (result.best_peer is None) == ("NumPy" not in names)
        assert not result.wrong


def test_bptt_does_the_lab_s_steps():
    libraries, _ = contenders.available(bptt.get_num_threads())
    bptt_alone = [library for library in libraries if library.name == "bptt"]
    results = list(runner.run([cases.StepCase(), cases.FitCase()], bptt_alone, runner.QUICK))
    assert [result.timings[0].name for result in results] == ["bptt", "bptt"]


def test_the_command(tmp_path, capsys, monkeypatch):
    # Peers that happen to be installed would take their time.
    monkeypatch.setattr(contenders, "LIBRARIES", contenders.LIBRARIES[:1])
    files = {"json": tmp_path / "new" / "a.json", "figure": tmp_path / "new" / "a.png"}
    arguments = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    assert main(["bench", "--quick", "--only", ": 4, 8, 1, 50", "--threads", "1", *arguments]) == 0
    printed = capsys.readouterr()
    assert "| 4, 8, 1, 50 |" in printed.out
    assert "[2/2]" in printed.err
    saved = json.loads(files["json"].read_text())
    assert [row["mode"] for row in saved["rows"]] == ["infer", "train"]
    assert saved["about"]["threads"] == 1
    assert saved["rows"][0]["peak"] > 0
    assert files["figure"].read_bytes().startswith(b"\x89PNG")


def test_the_command_says_what_is_wrong():
    with pytest.raises(SystemExit, match="matches no row"):
        main(["bench", "--only", "nothing of the kind"])
    with pytest.raises(SystemExit, match="--threads"):
        main(["bench", "--threads", "0"])
