"""The passes around convolutions on random small networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import rewriting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxopt.transform import Pass
from onnxopt_passes.fuse.fuse_conv_affine import FuseConvAffine
from onnxopt_passes.fuse.fuse_conv_bn import FuseConvBn
from onnxopt_passes.fuse.spell_affine_as_batch_norm import SpellAffineAsBatchNorm

PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


class Builder:
    """Adds nodes to a graph of one input, drawing what is left open."""

    def __init__(self, draw: Callable[[st.SearchStrategy], int], rank: int, channels: int) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.rank, self.channels = rank, channels
        size = [1, channels] + [7] * (rank - 2)
        self.x = ir.val("x", ir.DataType.FLOAT, size)
        self.feeds = {"x": self.rng.normal(size=size).astype(np.float32)}
        self.graph = ir.Graph([self.x], [], nodes=[], opset_imports={"": 17}, name="g")
        self.count = 0

    def pick(self, *options: object) -> object:
        return self.draw(st.sampled_from(options))

    def constant(self, array: np.ndarray) -> ir.Value:
        self.count += 1
        tensor = ir.tensor(array.astype(np.float32), name=f"k{self.count}")
        if self.pick(True, False):
            value = ir.val(tensor.name, const_value=tensor)
            self.graph.register_initializer(value)
            return value
        node = ir.node("Constant", [], {"value": tensor}, num_outputs=1)
        node.outputs[0].name = tensor.name
        self.graph.append(node)
        return node.outputs[0]

    def node(self, op_type: str, inputs: list, attributes: dict | None = None) -> ir.Value:
        self.count += 1
        node = ir.node(op_type, inputs, attributes or {}, num_outputs=1)
        node.outputs[0].name = f"v{self.count}"
        self.graph.append(node)
        return node.outputs[0]

    def convolution(self, x: ir.Value) -> ir.Value:
        transposed = self.pick(False, False, True)
        groups = self.pick(*[g for g in (1, 2, 4) if self.channels % g == 0])
        out = groups * self.pick(1, 2)
        spatial = self.rank - 2
        taps = [self.pick(1, 2, 3) for _ in range(spatial)]
        first, second = (
            (self.channels, out // groups) if transposed else (out, self.channels // groups)
        )
        inputs = [x, self.constant(self.rng.normal(size=[first, second, *taps]))]
        if self.pick(True, False):
            inputs.append(self.constant(self.rng.normal(size=out)))
        pads = [self.pick(0, 0, 1) for _ in range(spatial)] * 2
        stride = self.pick(1, 2)
        attributes = {"group": groups, "pads": pads, "strides": [stride] * spatial}
        self.channels = out
        return self.node("ConvTranspose" if transposed else "Conv", inputs, attributes)

    def batch_norm(self, x: ir.Value) -> ir.Value:
        c = self.channels
        arrays = [self.rng.normal(size=c), self.rng.normal(size=c), self.rng.normal(size=c)]
        inputs = [x, *(self.constant(a) for a in [*arrays, self.rng.uniform(0.1, 2, size=c)])]
        return self.node("BatchNormalization", inputs, {"epsilon": 1e-3})

    def affine(self, x: ir.Value) -> ir.Value:
        op_type = self.pick("Add", "Sub", "Mul", "Div", "Neg")
        if op_type == "Neg":
            return self.node("Neg", [x])
        c, ones = self.channels, [1] * (self.rank - 2)
        shape = self.pick([], [1], [c, *ones], [1, c, *ones], [1] * self.rank)
        sign = self.rng.choice([-1.0, 1.0], size=shape)
        operand = self.constant(sign * self.rng.uniform(0.3, 2.0, size=shape))
        swap = op_type != "Div" and self.pick(True, False)
        return self.node(op_type, [operand, x] if swap else [x, operand])

    def finish(self, value: ir.Value) -> ir.Model:
        self.graph.outputs.append(value)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        return ir.Model(self.graph, ir_version=8)


@st.composite
def networks(draw: Callable) -> tuple[ir.Model, dict[str, np.ndarray]]:
    builder = Builder(draw, draw(st.integers(3, 5)), draw(st.sampled_from([1, 2, 4])))
    value = builder.x
    for _ in range(draw(st.integers(1, 2))):
        for _ in range(draw(st.integers(0, 2))):
            value = builder.affine(value)
        if draw(st.booleans()):
            value = builder.batch_norm(value)
        value = builder.convolution(value)
        for kind in draw(st.lists(st.sampled_from(["affine", "bn", "relu", "twice"]), max_size=4)):
            match kind:
                case "affine":
                    value = builder.affine(value)
                case "bn":
                    value = builder.batch_norm(value)
                case "relu":
                    value = builder.node("Relu", [value])
                case "twice":
                    value = builder.node("Add", [value, builder.affine(value)])
    return builder.finish(value), builder.feeds


@pytest.mark.parametrize(
    "step", [FuseConvBn(), FuseConvAffine(), SpellAffineAsBatchNorm()], ids=str
)
@given(network=networks())
@PATIENT
def test_every_surviving_name_keeps_its_tensor(
    step: Pass, network: tuple[ir.Model, dict[str, np.ndarray]]
) -> None:
    model, feeds = network
    result, _ = rewriting.apply(step, model)
    rewriting.assert_same_names_mean_same_tensors(model, result, feeds)
    _, notes = rewriting.apply(step, result)
    assert rewriting.hits(notes) == 0


@given(network=networks())
@PATIENT
def test_together_they_reach_a_fixed_point(
    network: tuple[ir.Model, dict[str, np.ndarray]],
) -> None:
    model, feeds = network
    result = model
    for _ in range(10):
        result, first = rewriting.apply(FuseConvAffine(), result)
        result, second = rewriting.apply(FuseConvBn(), result)
        result, third = rewriting.apply(SpellAffineAsBatchNorm(), result)
        if not rewriting.hits(first + second + third):
            break
    else:
        pytest.fail("no fixed point in ten rounds")
    rewriting.assert_same_names_mean_same_tensors(model, result, feeds)
