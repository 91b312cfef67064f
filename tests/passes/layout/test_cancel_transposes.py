"""Random graphs of Transposes and nodes that do not care for the order of axes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxopt import pipeline, store
from onnxopt.graph import stats
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session

SIZES = (2, 3, 4, 5)
ORDERS = ((0, 2, 3, 1), (0, 3, 1, 2), (1, 0, 2, 3), (3, 2, 1, 0))
NODES = 14


class _Graph:
    """Grows a graph whose values all hold the axes 2, 3, 4, 5 in some order."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._values: list[tuple[str, tuple[int, ...]]] = [("x", (0, 1, 2, 3))]
        while len(self._nodes) < NODES:
            self._grow()

    def model(self) -> ir.Model:
        read = {name for node in self._nodes for name in node.input}
        loose = [(n, o) for n, o in self._values if n not in read] or self._values[-1:]
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIZES[axis] for axis in order])
            for name, order in loose
        ]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, SIZES)]
        graph = helper.make_graph(self._nodes, "g", inputs, outputs, self._weights)
        imports = [helper.make_opsetid("", 17)]
        return store.load(helper.make_model(graph, opset_imports=imports, ir_version=8))

    def _grow(self) -> None:
        value, order = self._pick()
        kind = self._random.integers(6)
        if kind < 3:
            perm = ORDERS[self._random.integers(len(ORDERS))]
            self._add("Transpose", [value], tuple(order[axis] for axis in perm), perm=perm)
        elif kind == 3:
            self._add("Relu", [value], order)
        elif kind == 4:
            axis = int(self._random.integers(4))
            array = self._random.normal(size=SIZES[order[axis]]).astype(np.float32)
            name = f"w{len(self._nodes)}"
            shape = [1] * axis + [array.size] + [1] * (3 - axis)
            self._weights.append(onnx.numpy_helper.from_array(array.reshape(shape), name))
            self._add("Mul", [value, name], order)
        else:
            same = [name for name, other in self._values if other == order]
            self._add("Add", [value, same[self._random.integers(len(same))]], order)

    def _pick(self) -> tuple[str, tuple[int, ...]]:
        return self._values[self._random.integers(len(self._values))]

    def _add(
        self, op: str, inputs: list[str], order: tuple[int, ...], **attributes: object
    ) -> None:
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self._values.append((name, order))


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_keep_their_outputs_and_lose_transposes(seed: int) -> None:
    model = _Graph(seed).model()
    result = pipeline.run(model, Recipe.parse("(cancel-transposes | merge-duplicate-nodes)"))
    assert not result.remarks
    before, after = stats(model).ops, stats(result.model).ops
    assert after.get("Transpose", 0) <= before.get("Transpose", 0)
    x = np.random.default_rng(seed).normal(size=SIZES).astype(np.float32)
    outputs = []
    for one in (model, result.model):
        with open_session(one, SessionConfig(optimization="off")) as session:
            outputs.append(session.run({"x": x}))
    assert list(outputs[0]) == list(outputs[1])
    for name, expected in outputs[0].items():
        np.testing.assert_array_equal(outputs[1][name], expected)
