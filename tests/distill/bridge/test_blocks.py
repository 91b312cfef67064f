"""Layers and tables in blocks of few bits compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch")

import bridging
import judging

from onnxopt import store
from onnxopt.distill import to_torch

RNG = np.random.default_rng(0)
SCALES = (RNG.random((8, 4)) + 0.5).astype(np.float32)


def weights(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def model(node: onnx.NodeProto, x: onnx.ValueInfoProto, held: list[onnx.TensorProto]) -> bytes:
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [y], held)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    content: bytes = made.SerializeToString()
    return content


@pytest.mark.parametrize("with_zero", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_layer_in_blocks(bits: int, with_zero: bool) -> None:
    width = 64 * bits // 8 // 4
    held = [
        weights("w", RNG.integers(0, 256, (8, 4, width), np.uint8)),
        weights("s", SCALES.reshape(-1)),
    ]
    names = ["x", "w", "s"]
    if with_zero:
        held.append(weights("z", RNG.integers(0, 256, 8 * 4 * bits // 8, np.uint8)))
        names.append("z")
    node = helper.make_node(
        "MatMulNBits", names, ["y"], domain="com.microsoft", K=64, N=8, bits=bits, block_size=16
    )
    check(
        model(node, helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64]), held),
        {"x": RNG.standard_normal((3, 64)).astype(np.float32)},
    )


def test_a_table_in_blocks() -> None:
    held = [
        weights("t", RNG.integers(0, 256, (8, 32), np.uint8)),
        weights("s", SCALES),
        weights("z", RNG.integers(0, 256, (8, 2), np.uint8)),
    ]
    node = helper.make_node(
        "GatherBlockQuantized",
        ["t", "x", "s", "z"],
        ["y"],
        domain="com.microsoft",
        bits=4,
        block_size=16,
        quantize_axis=1,
        gather_axis=0,
    )
    x = helper.make_tensor_value_info("x", TensorProto.INT64, [2])
    check(model(node, x, held), {"x": np.array([3, 0])})


def check(content: bytes, feeds: dict[str, np.ndarray]) -> None:
    wanted = judging.compute(content, feeds)
    bridge = to_torch(store.load(onnx.ModelProto.FromString(content)))
    assert bridge.scales == {"s"}
    found = bridging.run(bridge, feeds)["y"].numpy()
    np.testing.assert_allclose(found, wanted["y"], rtol=1e-4, atol=2e-3)
