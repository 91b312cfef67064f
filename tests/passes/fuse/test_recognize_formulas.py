"""The recognisers of activations, normalizations and softmax on random spellings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import pytest
import rewriting
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt.transform import Pass
from onnxopt_passes.fuse.recognize_gelu import RecognizeGelu
from onnxopt_passes.fuse.recognize_instance_normalization import RecognizeInstanceNormalization
from onnxopt_passes.fuse.recognize_layer_normalization import RecognizeLayerNormalization
from onnxopt_passes.fuse.recognize_log_softmax import RecognizeLogSoftmax
from onnxopt_passes.fuse.recognize_mish import RecognizeMish
from onnxopt_passes.fuse.recognize_rms_normalization import RecognizeRmsNormalization
from onnxopt_passes.fuse.recognize_sigmoid import RecognizeSigmoid
from onnxopt_passes.fuse.recognize_silu import RecognizeSilu
from onnxopt_passes.fuse.recognize_softmax import RecognizeSoftmax
from onnxopt_passes.fuse.recognize_softplus import RecognizeSoftplus
from onnxopt_passes.fuse.spell_residual_as_sum import SpellResidualAsSum
from onnxopt_passes.fuse.spell_softplus_by_exp import SpellSoftplusByExp

PATIENT = settings(max_examples=60, deadline=None, derandomize=True)
SHAPE = (2, 4, 6)
FEEDS = {"x": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32) * 2}
ALL: Sequence[Pass] = (
    RecognizeGelu(),
    RecognizeGelu(domain="microsoft"),
    RecognizeSilu(),
    RecognizeMish(),
    RecognizeSigmoid(),
    RecognizeSoftplus(),
    RecognizeSoftmax(),
    RecognizeLogSoftmax(),
    RecognizeLayerNormalization(),
    RecognizeInstanceNormalization(),
    RecognizeRmsNormalization(),
    SpellResidualAsSum(),
    SpellSoftplusByExp(),
)


class Formula:
    """Builds arithmetic on one input, with operands in any order and shapes declared."""

    def __init__(self, draw: Callable, opset: int = 23) -> None:
        self.draw, self.count = draw, 0
        self.x = ir.val("x", ir.DataType.FLOAT, SHAPE)
        self.graph = ir.Graph([self.x], [], nodes=[], opset_imports={"": opset}, name="g")

    def pick(self, *options: object) -> object:
        return self.draw(st.sampled_from(options))

    def const(self, array: object, dtype: type = np.float32) -> ir.Value:
        self.count += 1
        tensor = ir.tensor(np.asarray(array, dtype), name=f"k{self.count}")
        value = ir.val(tensor.name, const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def number(self, value: float) -> ir.Value:
        return self.const(np.full(self.pick((), (1,), (1, 1, 1)), value))

    def node(self, op_type: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        self.count += 1
        node = ir.node(op_type, list(inputs), attributes, num_outputs=1)
        output = node.outputs[0]
        output.name, output.type = f"v{self.count}", ir.TensorType(ir.DataType.FLOAT)
        self.graph.append(node)
        return output

    def sized(self, shape: Sequence[int], value: ir.Value) -> ir.Value:
        value.shape = ir.Shape(shape)
        return value

    def either(self, op_type: str, left: ir.Value, right: ir.Value) -> ir.Value:
        return self.node(op_type, *self.pick((left, right), (right, left)))

    def scaled(self, value: ir.Value, factor: float) -> ir.Value:
        if self.pick(True, False):
            return self.node("Div", value, self.number(1 / factor))
        return self.either("Mul", value, self.number(factor))

    def squared(self, value: ir.Value) -> ir.Value:
        square = self.pick("mul", "pow")
        if square == "mul":
            return self.node("Mul", value, value)
        return self.node("Pow", value, self.number(2))

    def over(self, value: ir.Value, below: ir.Value) -> ir.Value:
        if self.pick(True, False):
            return self.node("Div", value, below)
        return self.either("Mul", value, self.node("Reciprocal", below))

    def less(self, value: ir.Value, other: ir.Value) -> ir.Value:
        match self.pick("sub", "neg", "flip"):
            case "sub":
                return self.node("Sub", value, other)
            case "neg":
                return self.either("Add", value, self.node("Neg", other))
        return self.node("Neg", self.node("Sub", other, value))

    def reduced(self, op_type: str, value: ir.Value, axis: int) -> ir.Value:
        """A reduction that keeps its axis or gets it back."""
        value.shape = ir.Shape(SHAPE)
        shape = [1 if i == axis % 3 else size for i, size in enumerate(SHAPE)]
        axes = self.const([self.pick(axis, axis % 3)], np.int64)
        if self.pick(True, False):
            return self.sized(shape, self.node(op_type, value, axes))
        dropped = self.node(op_type, value, axes, keepdims=0)
        if self.pick(True, False):
            return self.sized(shape, self.node("Unsqueeze", dropped, axes))
        return self.sized(shape, self.node("Reshape", dropped, self.const(shape, np.int64)))

    def mean(self, value: ir.Value, axis: int = -1) -> ir.Value:
        if self.pick(True, False):
            return self.reduced("ReduceMean", value, axis)
        total = self.reduced("ReduceSum", value, axis)
        return self.sized(total.shape, self.scaled(total, 1 / SHAPE[axis]))

    def finish(self, value: ir.Value) -> ir.Model:
        value.shape = ir.Shape(SHAPE)
        self.graph.outputs.append(value)
        return ir.Model(self.graph, ir_version=10)


def check(step: Pass, model: ir.Model, expected: Sequence[str]) -> None:
    result, notes = rewriting.apply(step, model)
    assert rewriting.hits(notes) == 1, notes
    assert [node.op_type for node in result.graph] == list(expected)
    rewriting.assert_same_names_mean_same_tensors(model, result, FEEDS)
    _, notes = rewriting.apply(step, result)
    assert rewriting.hits(notes) == 0


def gelu(f: Formula, gate: ir.Value) -> ir.Value:
    """``x·(1 + gate)/2`` with the half anywhere."""
    half_on_x = f.pick(True, False)
    x = f.scaled(f.x, 0.5) if half_on_x else f.x
    if f.pick(True, False):
        value = f.either("Mul", x, f.either("Add", gate, f.number(1)))
    else:
        value = f.either("Add", x, f.either("Mul", x, gate))
    return value if half_on_x else f.scaled(value, 0.5)


@given(data=st.data())
@PATIENT
def test_every_spelling_of_gelu_with_erf(data: st.DataObject) -> None:
    f = Formula(data.draw)
    gate = f.node("Erf", f.scaled(f.x, math.sqrt(0.5)))
    check(RecognizeGelu(), f.finish(gelu(f, gate)), ["Gelu"])


@given(data=st.data())
@PATIENT
def test_every_spelling_of_gelu_with_tanh(data: st.DataObject) -> None:
    f = Formula(data.draw)
    slope = math.sqrt(2 / math.pi)
    match f.pick("cube", "pow", "factored"):
        case "cube":
            cube = f.either("Mul", f.scaled(f.squared(f.x), 0.044715), f.x)
            inner = f.either("Add", f.x, cube)
        case "pow":
            cube = f.scaled(f.node("Pow", f.x, f.number(3)), 0.044715)
            inner = f.either("Add", f.x, cube)
        case _:
            square = f.either("Add", f.scaled(f.squared(f.x), 0.044715), f.number(1))
            inner = f.either("Mul", f.x, square)
    gate = f.node("Tanh", f.scaled(inner, slope))
    check(RecognizeGelu(), f.finish(gelu(f, gate)), ["Gelu"])


@given(data=st.data())
@PATIENT
def test_every_spelling_of_layer_normalization(data: st.DataObject) -> None:
    f = Formula(data.draw)
    mean = f.mean(f.x)
    distance = f.less(f.x, mean)
    if f.pick(True, False):
        variance = f.mean(f.squared(distance))
    else:
        variance = f.less(f.mean(f.squared(f.x)), f.squared(mean))
        variance = f.node("Relu", variance) if f.pick(True, False) else variance
    root = f.node("Sqrt", f.either("Add", variance, f.number(1e-5)))
    root.shape = ir.Shape((*SHAPE[:2], 1))
    scale, bias = f.const(np.linspace(0.5, 2, 6)), f.const(np.linspace(-1, 1, 6))
    match f.pick("plain", "bare", "factor first"):
        case "plain":
            value = f.either("Mul", f.over(distance, root), scale)
            value = f.either("Add", value, bias)
        case "bare":
            value = f.over(distance, root)
        case _:
            value = f.either("Mul", distance, f.over(scale, root))
            value = f.either("Add", value, bias)
    check(RecognizeLayerNormalization(), f.finish(value), ["LayerNormalization"])


@given(data=st.data())
@PATIENT
def test_every_spelling_of_rms_normalization(data: st.DataObject) -> None:
    f = Formula(data.draw)
    root = f.node("Sqrt", f.either("Add", f.mean(f.squared(f.x)), f.number(1e-5)))
    root.shape = ir.Shape((*SHAPE[:2], 1))
    value = f.either("Mul", f.over(f.x, root), f.const(np.linspace(0.5, 2, 6)))
    check(RecognizeRmsNormalization(), f.finish(value), ["RMSNormalization"])


@given(data=st.data())
@PATIENT
def test_every_spelling_of_instance_normalization(data: st.DataObject) -> None:
    f = Formula(data.draw)
    distance = f.less(f.x, f.mean(f.x))
    root = f.node("Sqrt", f.either("Add", f.mean(f.squared(distance)), f.number(1e-5)))
    root.shape = ir.Shape((*SHAPE[:2], 1))
    value = f.either("Mul", f.over(distance, root), f.const(np.linspace(1, 2, 4)[:, None]))
    check(RecognizeInstanceNormalization(), f.finish(value), ["InstanceNormalization"])


@given(data=st.data(), axis=st.sampled_from([-1, -2]))
@PATIENT
def test_every_spelling_of_softmax(data: st.DataObject, axis: int) -> None:
    f = Formula(data.draw)
    shifted = f.pick(True, False)
    value = f.node("Sub", f.x, f.reduced("ReduceMax", f.x, axis)) if shifted else f.x
    exp = f.node("Exp", value)
    value = f.over(exp, f.reduced("ReduceSum", exp, axis))
    check(RecognizeSoftmax(), f.finish(value), ["Softmax"])


@given(data=st.data())
@PATIENT
def test_every_spelling_of_log_softmax(data: st.DataObject) -> None:
    f = Formula(data.draw)
    value = f.node("Sub", f.x, f.reduced("ReduceMax", f.x, -1)) if f.pick(True, False) else f.x
    total = f.reduced("ReduceSum", f.node("Exp", value), -1)
    log = f.sized(total.shape, f.node("Log", total))
    check(RecognizeLogSoftmax(), f.finish(f.less(value, log)), ["LogSoftmax"])


@pytest.mark.parametrize("step", ALL, ids=str)
@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_near_misses_keep_their_values(step: Pass, data: st.DataObject) -> None:
    f = Formula(data.draw)
    values = [f.x]
    numbers = st.sampled_from([-1.0, 0.044715, 0.5, math.sqrt(0.5), 1.0, 1.702, 2.0])
    for _ in range(data.draw(st.integers(3, 9))):
        value, other = (data.draw(st.sampled_from(values[-4:])) for _ in range(2))
        match data.draw(st.sampled_from(["scale", "shift", "unary", "product", "sum", "mean"])):
            case "scale":
                value = f.scaled(value, data.draw(numbers))
            case "shift":
                value = f.either("Add", value, f.number(data.draw(numbers)))
            case "unary":
                kinds = ["Erf", "Tanh", "Sigmoid", "Softplus", "Exp", "Relu", "Neg", "Mish"]
                limited = f.node("Clip", value, f.const(-3.0), f.const(3.0))
                value = f.node(data.draw(st.sampled_from(kinds)), limited)
            case "product":
                value = f.either("Mul", value, other)
            case "sum":
                value = f.less(value, other)
            case "mean":
                value = f.less(value, f.mean(other, data.draw(st.sampled_from([-1, -2]))))
                value = f.over(
                    value, f.node("Sqrt", f.either("Add", f.mean(f.squared(value)), f.number(1)))
                )
        value.shape = ir.Shape(SHAPE)
        values.append(value)
    model = f.finish(values[-1])
    result, _ = rewriting.apply(step, model)
    rewriting.assert_same_names_mean_same_tensors(model, result, FEEDS)


@pytest.mark.parametrize("step", ALL, ids=str)
def test_long_chains_take_linear_time(step: Pass) -> None:
    """A residual chain of 6,000 activations and sums: bounded work at each node."""
    x = ir.val("x", ir.DataType.FLOAT, SHAPE)
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 23}, name="g")
    value = x
    for index, op_type in enumerate(["Tanh", "Add", "Exp", "Mul", "Sqrt", "Sub"] * 1000):
        pair = op_type in ("Add", "Mul", "Sub")
        node = ir.node(op_type, [value, x] if pair else [value], num_outputs=1)
        node.outputs[0].name = f"v{index}"
        graph.append(node)
        value = node.outputs[0]
    graph.outputs.append(value)
    model = ir.Model(graph, ir_version=10)
    import time

    started = time.perf_counter()
    list(step.rewrite(model, rewriting.Context()))
    assert time.perf_counter() - started < 20
