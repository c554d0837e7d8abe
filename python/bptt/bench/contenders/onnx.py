"""ONNX Runtime: models of its recurrent operators. It does not train.

Inputs and outputs are bound to memory once, which is its fastest path.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bptt._support.extras import require
from bptt.bench.cases import BF16, GATES, FitCase, FitData, LayerCase, LayerData, StepCase
from bptt.bench.rules import Array, Contender, Results, UnsupportedError

#: The places of torch's gates in ONNX's order: i, o, f, c and z, r, h.
ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


class OnnxRuntime:
    """The LSTM, GRU and RNN operators, with lengths for padded sequences."""

    name = "ONNX Runtime"

    def __init__(self, threads: int) -> None:
        self.onnx, self.runtime = require("onnx", "bench"), require("onnxruntime", "bench")
        self.helper = require("onnx.helper", "bench")
        self.version, self._threads = str(self.runtime.__version__), threads

    def layer(self, case: LayerCase, data: LayerData) -> list[Contender]:
        """Run a session whose weights are constants, so that it packs them once."""
        if case.train:
            raise UnsupportedError("no training")
        if case.option == BF16 or case.double:
            raise UnsupportedError("its recurrent operators take float32 only")
        if case.projected:
            raise UnsupportedError("ONNX has no projections")
        binding, run = self._session(self._model(case, data))
        binding.bind_cpu_input("x", data.x)
        if data.lengths is not None:
            binding.bind_cpu_input("lengths", data.lengths.astype(np.int32))
        states = "hc" if case.cell == "LSTM" else "h"
        outputs = ["y", *(f"{state}_{n}" for n in range(case.layers) for state in states)]
        for name in outputs:
            binding.bind_output(name)

        def results() -> Results:
            run()
            arrays = dict(zip(outputs, binding.copy_outputs_to_cpu()))
            y = arrays["y"]  # (T, D, B, H)
            found = {"y": y.transpose(0, 2, 1, 3).reshape(*y.shape[:1], y.shape[2], -1)}
            for state in states:
                parts = [arrays[f"{state}_{n}"] for n in range(case.layers)]
                found[state] = np.concatenate(parts)
            return found

        return [Contender(self.name, run, results)]

    def _session(self, model: Any) -> tuple[Any, Any]:
        """Return the binding of a new session and a function that runs it."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        session = self.runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        return binding, lambda: session.run_with_iobinding(binding)

    def _model(self, case: LayerCase, data: LayerData, carried: bool = False) -> Any:
        """Return layers as an ONNX model; with `carried`, states come in as h_in and c_in."""
        helper, tensor = self.helper, require("onnx.numpy_helper", "bench").from_array
        number, whole = self.onnx.TensorProto.FLOAT, self.onnx.TensorProto.INT32
        states = ("h", "c")[: 2 if case.cell == "LSTM" else 1]
        nodes, constants, outputs = [], [], []
        below = "x"
        for n in range(case.layers):
            for name, array in zip("WRB", self._weights(case, data.weights, n)):
                constants.append(tensor(array, f"{name}{n}"))
            last = n + 1 == case.layers
            ends = [f"{state}_{n}" for state in states]
            attributes: dict[str, Any] = {"hidden_size": case.sizes[3]}
            if case.directions == 2:
                attributes["direction"] = "bidirectional"
            if case.cell == "GRU":
                attributes["linear_before_reset"] = 1
            lengths = "lengths" if data.lengths is not None else ""
            begins = [f"{state}_in" for state in states] if carried else []
            inputs = [below, f"W{n}", f"R{n}", f"B{n}", lengths, *begins]
            node = helper.make_node(
                case.cell, inputs, ["y" if last else f"y_{n}", *ends], **attributes
            )
            nodes.append(node)
            outputs += ends
            if not last:  # (T, 1, B, H) to (T, B, H)
                constants.append(tensor(np.array([1]), f"axis{n}"))
                nodes.append(helper.make_node("Squeeze", [f"y_{n}", f"axis{n}"], [f"x_{n}"]))
                below = f"x_{n}"
        described = [helper.make_tensor_value_info("x", number, data.x.shape)]
        if data.lengths is not None:
            described.append(helper.make_tensor_value_info("lengths", whole, data.lengths.shape))
        if carried:
            shape = (1, data.x.shape[1], case.sizes[3])
            described += [helper.make_tensor_value_info(f"{s}_in", number, shape) for s in states]
        given = [helper.make_tensor_value_info(name, number, None) for name in ["y", *outputs]]
        graph = helper.make_graph(nodes, "layers", described, given, constants)
        # Versions that the runtime knows; the onnx package may have newer ones.
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)

    def _weights(self, case: LayerCase, weights: Results, layer: int) -> list[Array]:
        """Return W, R and B of all directions of a layer, with gates in ONNX's order."""
        places = [place for place, _ in case.places if place.split("_")[0] == f"l{layer}"]
        gates, order = GATES[case.cell], list(ORDER[case.cell])

        def sorted_gates(name: str) -> Array:
            array = weights[name]
            return array.reshape(gates, case.sizes[3], -1)[order].reshape(array.shape)

        return [
            np.stack([sorted_gates(f"weight_ih_{place}") for place in places]),
            np.stack([sorted_gates(f"weight_hh_{place}") for place in places]),
            np.stack(
                [
                    np.concatenate([sorted_gates(f"bias_{part}_{place}") for part in ("ih", "hh")])
                    for place in places
                ]
            ),
        ]

    def step(self, case: StepCase, data: LayerData) -> list[Contender]:
        """Take the steps with a model of one step; its states alternate between two buffers."""
        one = LayerData(data.x[:1], data.dy[:1], None, data.weights)
        model = self._model(case.layer, one, carried=True)
        x = np.zeros((1, 1, case.inputs), np.float32)
        y = np.zeros((1, 1, 1, case.hidden), np.float32)
        states = [np.zeros((2, 1, 1, case.hidden), np.float32) for _ in range(2)]  # h, c
        value = self.runtime.OrtValue.ortvalue_from_numpy
        x_value, y_value = value(x), value(y)
        values = [[value(part) for part in state] for state in states]
        runs = []
        for come, go in (values, values[::-1]):
            binding, run = self._session(model)
            binding.bind_ortvalue_input("x", x_value)
            binding.bind_ortvalue_output("y", y_value)
            for name, before, after in zip("hc", come, go):
                binding.bind_ortvalue_input(f"{name}_in", before)
                binding.bind_ortvalue_output(f"{name}_0", after)
            runs.append(run)
        there, back = runs
        pairs = list(zip(data.x[::2], data.x[1::2]))

        def walk() -> None:
            for first, second in pairs:
                x[0] = first
                there()
                x[0] = second
                back()

        def results() -> Results:
            states[0][:] = 0
            ys = []
            for first, second in pairs:
                x[0] = first
                there()
                ys.append(y_value.numpy().reshape(1, -1).copy())
                x[0] = second
                back()
                ys.append(y_value.numpy().reshape(1, -1).copy())
            h, c = (part.numpy().copy() for part in values[0])
            return {"y": np.array(ys), "h": h, "c": c}

        return [Contender(self.name, walk, results, units=2 * len(pairs))]

    def fit(self, case: FitCase, data: FitData) -> list[Contender]:
        """Raise an error: the runtime does not train."""
        raise UnsupportedError("no training")
