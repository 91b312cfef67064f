"""recognize-hard-sigmoid and recognize-hard-swish on random spellings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import rewriting
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt.transform import Pass
from onnxopt_passes.fuse.recognize_hard_sigmoid import RecognizeHardSigmoid
from onnxopt_passes.fuse.recognize_hard_swish import RecognizeHardSwish

PATIENT = settings(max_examples=60, deadline=None, derandomize=True)
FEEDS = {"x": np.linspace(-6, 6, 241, dtype=np.float32).reshape(1, 1, 241)}


class Chain:
    """Builds scalar arithmetic on one input, with operands in any order."""

    def __init__(self, draw: Callable, opset: int = 17) -> None:
        self.draw = draw
        self.x = ir.val("x", ir.DataType.FLOAT, [1, 1, 241])
        self.graph = ir.Graph([self.x], [], nodes=[], opset_imports={"": opset}, name="g")
        self.opset = opset
        self.count = 0

    def pick(self, *options: object) -> object:
        return self.draw(st.sampled_from(options))

    def number(self, value: float, shape: tuple[int, ...] | None = None) -> ir.Value:
        self.count += 1
        shape = self.pick((), (1,), (1, 1, 1)) if shape is None else shape
        tensor = ir.tensor(np.full(shape, value, np.float32), name=f"k{self.count}")
        constant = ir.val(tensor.name, const_value=tensor)
        self.graph.register_initializer(constant)
        return constant

    def node(self, op_type: str, *inputs: ir.Value, **attributes: float) -> ir.Value:
        self.count += 1
        node = ir.node(op_type, list(inputs), attributes, num_outputs=1)
        node.outputs[0].name = f"v{self.count}"
        self.graph.append(node)
        return node.outputs[0]

    def either(self, op_type: str, left: ir.Value, right: ir.Value) -> ir.Value:
        return self.node(op_type, *self.pick((left, right), (right, left)))

    def scaled(self, x: ir.Value, factor: float) -> ir.Value:
        if factor == 1:
            return x
        if self.pick(True, False):
            return self.node("Div", x, self.number(1 / factor))
        return self.either("Mul", x, self.number(factor))

    def shifted(self, x: ir.Value, shift: float) -> ir.Value:
        match self.pick("add", "sub", "flip"):
            case "add":
                return self.either("Add", x, self.number(shift))
            case "sub":
                return self.node("Sub", x, self.number(-shift))
        return self.node("Neg", self.node("Sub", self.number(-shift), x))

    def clamped(self, x: ir.Value, high: float) -> ir.Value:
        match self.pick("clip", "relu", "max", "min first"):
            case "clip" if self.opset < 11:
                return self.node("Clip", x, min=0.0, max=high)
            case "clip":
                return self.node("Clip", x, self.number(0, ()), self.number(high, ()))
            case "relu":
                return self.either("Min", self.node("Relu", x), self.number(high))
            case "max":
                low = self.either("Max", x, self.number(0))
                return self.either("Min", low, self.number(high))
        return self.either("Max", self.either("Min", x, self.number(high)), self.number(0))

    def gate(self, slope: float) -> ir.Value:
        """``min(max(slope·x + 1/2, 0), 1)``, with a factor pulled through the clamp."""
        pulled = self.pick(1.0, 6.0, 3.0, 0.5)
        line = self.shifted(self.scaled(self.x, slope * pulled), 0.5 * pulled)
        return self.scaled(self.clamped(line, pulled), 1 / pulled)

    def finish(self, value: ir.Value) -> ir.Model:
        self.graph.outputs.append(value)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        return ir.Model(self.graph, ir_version=8)


def check(step: Pass, model: ir.Model, expected: set[str]) -> None:
    result, notes = rewriting.apply(step, model)
    assert rewriting.hits(notes) >= 1
    assert {node.op_type for node in result.graph} == expected
    rewriting.assert_same_names_mean_same_tensors(model, result, FEEDS)
    _, notes = rewriting.apply(step, result)
    assert rewriting.hits(notes) == 0


@given(data=st.data())
@PATIENT
def test_every_spelling_of_a_hard_sigmoid_becomes_one_node(data: st.DataObject) -> None:
    chain = Chain(data.draw)
    slope = data.draw(st.sampled_from([1 / 6, 0.2, 0.5, 0.1]))
    check(RecognizeHardSigmoid(), chain.finish(chain.gate(slope)), {"HardSigmoid"})


@given(data=st.data())
@PATIENT
def test_every_spelling_of_hard_swish_becomes_one_node(data: st.DataObject) -> None:
    chain = Chain(data.draw)
    on_input, after = data.draw(st.sampled_from([(1, 1), (2, 0.5), (1 / 6, 6), (-1, -1)]))
    product = chain.either("Mul", chain.gate(1 / 6), chain.scaled(chain.x, on_input))
    check(RecognizeHardSwish(), chain.finish(chain.scaled(product, after)), {"HardSwish"})


@given(data=st.data(), opset=st.sampled_from([8, 10, 13]))
@PATIENT
def test_below_opset_14_it_becomes_the_pair_that_runtimes_fuse(
    data: st.DataObject, opset: int
) -> None:
    chain = Chain(data.draw, opset)
    product = chain.either("Mul", chain.gate(1 / 6), chain.x)
    check(RecognizeHardSwish(), chain.finish(product), {"HardSigmoid", "Mul"})


@pytest.mark.parametrize("step", [RecognizeHardSigmoid(), RecognizeHardSwish()], ids=str)
@given(data=st.data())
@PATIENT
def test_near_misses_keep_their_values(step: Pass, data: st.DataObject) -> None:
    chain = Chain(data.draw)
    values = [chain.x]
    numbers = st.sampled_from([-3.0, -1.0, 1 / 6, 0.2, 0.5, 1.0, 3.0, 6.0])
    for _ in range(data.draw(st.integers(2, 8))):
        value = data.draw(st.sampled_from(values[-3:]))
        match data.draw(st.sampled_from(["scale", "shift", "clamp", "product", "sigmoid"])):
            case "scale":
                value = chain.scaled(value, data.draw(numbers))
            case "shift":
                value = chain.shifted(value, data.draw(numbers))
            case "clamp":
                value = chain.clamped(value, data.draw(st.sampled_from([0.5, 1.0, 6.0])))
            case "product":
                value = chain.either("Mul", value, data.draw(st.sampled_from(values)))
            case "sigmoid":
                value = chain.node("HardSigmoid", value, alpha=data.draw(numbers), beta=0.5)
        values.append(value)
    if values[-1] is chain.x:
        return
    model = chain.finish(values[-1])
    result, _ = rewriting.apply(step, model)
    rewriting.assert_same_names_mean_same_tensors(model, result, FEEDS)


def test_half_precision_constants_are_recognized() -> None:
    """1/6 rounded to float16 is off by 2e-4, the type's own precision."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float16[1,4] x) => (float16[1,4] y)
        { y = Identity(x) }"""
    from onnxopt import store

    model = store.from_text(text)
    x, last = model.graph.inputs[0], model.graph.node(0)
    numbers = [ir.tensor(np.array(n, np.float16)) for n in (3, 0, 6, 1 / 6)]
    consts = [ir.node("Constant", [], {"value": t}, num_outputs=1) for t in numbers]
    three, zero, six, sixth = (c.outputs[0] for c in consts)
    add = ir.node("Add", [x, three], num_outputs=1)
    clip = ir.node("Clip", [add.outputs[0], zero, six], num_outputs=1)
    gate = ir.node("Mul", [clip.outputs[0], sixth], num_outputs=1)
    product = ir.node("Mul", [x, gate.outputs[0]], num_outputs=1)
    model.graph.insert_before(last, [*consts, add, clip, gate, product])
    last.replace_input_with(0, product.outputs[0])
    for index, node in enumerate(model.graph):
        node.outputs[0].name = node.outputs[0].name or f"v{index}"

    _, notes = rewriting.apply(RecognizeHardSwish(), model)

    assert rewriting.hits(notes) == 1
