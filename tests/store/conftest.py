"""Small models to load and save."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx.helper as oh
import pytest

MakeModel = Callable[..., onnx.ModelProto]


def chain(weights: int = 3, size: int = 600, seed: int = 0) -> onnx.ModelProto:
    """``weights`` additions, each of its own float32 initializer of ``size`` elements."""
    generator = np.random.default_rng(seed)
    nodes, initializers = [], []
    for index in range(weights):
        data = generator.standard_normal(size, dtype=np.float32)
        name = f"w{index}"
        initializers.append(oh.make_tensor(name, 1, [size], data.tobytes(), raw=True))
        source = "x" if index == 0 else f"v{index - 1}"
        nodes.append(oh.make_node("Add", [source, name], [f"v{index}"], name=f"add{index}"))
    return model_of(nodes, initializers, output=f"v{weights - 1}", size=size)


def model_of(
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto] | None = None,
    *,
    output: str = "y",
    size: int | str = "N",
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    """A model from ``x`` to ``output``, both float32 vectors."""
    graph = oh.make_graph(
        nodes,
        "graph",
        [oh.make_tensor_value_info("x", 1, [size])],
        [oh.make_tensor_value_info(output, 1, [size])],
        initializers or [],
    )
    opsets = [oh.make_opsetid("", 18), oh.make_opsetid("local", 1)]
    return oh.make_model(
        graph, opset_imports=opsets, ir_version=9, functions=functions or [], producer_name="test"
    )


@pytest.fixture(name="chain")
def chain_fixture() -> MakeModel:
    return chain


@pytest.fixture(name="model_of")
def model_of_fixture() -> MakeModel:
    return model_of
