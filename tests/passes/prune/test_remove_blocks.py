"""Which residual blocks there are, and which of them go."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxopt import store
from onnxopt.data import synthesize
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_passes.prune._blocks import find_blocks
from onnxopt_passes.prune._latency import sizes_of
from onnxopt_passes.prune.remove_blocks import RemoveBlocks

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
SQUARE = "float[3,3] w = {1,2,3, 4,5,6, 7,8,10}, float[3] s = {1,1,1}, float[3] t = {0,0,0}"
POST_NORM = f"""{HEAD}(float[2,3] x, float[2,3] mask) => (float[2,3] y) <{SQUARE}> {{
  n = LayerNormalization(x, s, t)
  f = MatMul(n, w) m = Mul(f, mask) [half] a = Add(n, m) b = LayerNormalization(a, s, t)
  y = Relu(b) }}"""
CHAIN = f"""{HEAD}(float[2,3] x) => (float[2,3] y)
  <{SQUARE}, float[3,3] tiny = {{0.01,0,0, 0,0.01,0, 0,0,-0.01}}> {{
  a = MatMul(x, w)
  f = MatMul(a, w) [first] b = Add(f, a)
  g = MatMul(b, tiny) [second] c = Sum(b, g)
  h = MatMul(c, tiny) [third] d = Add(c, h)
  y = MatMul(d, w) }}"""


def context_of(model: ir.Model) -> Context:
    data = synthesize(signature_of(model), dims={}, seed=0, samples=4)
    return Context(target=load_target("x64-vnni"), calibration=data, teacher=model)


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    with open_session(model, SessionConfig(optimization="off")) as session:
        return np.asarray(session.run(feeds)["y"])


def test_a_normalization_after_the_sum_goes_with_it() -> None:
    model = store.from_text(POST_NORM)
    (block,) = find_blocks(model, sizes_of(model, context_of(model)))
    assert (block.name, block.entry.name, block.exit.name) == ("half", "n", "b")
    assert [node.op_type for node in block.nodes] == ["MatMul", "Mul", "Add", "LayerNormalization"]
    list(RemoveBlocks(only=("half",)).rewrite(model, context_of(model)))
    assert [node.op_type for node in model.graph] == ["LayerNormalization", "Relu"]
    assert [value.name for value in model.graph.inputs] == ["x", "mask"]


def test_those_that_do_least_go_first() -> None:
    model = store.from_text(CHAIN)
    context = context_of(model)
    notes = list(RemoveBlocks(count=3, max_error=0.5).rewrite(model, context))
    gone = [note.node for note in notes if note.kind == "applied"][:-1]
    assert sorted(gone) == ["second", "third"]
    assert notes[-2].node == "first"
    assert "the error is" in notes[-2].reason
    again = store.from_text(CHAIN)
    (step,) = Recipe.parse(str(notes[-1].figures["replay"])).steps
    assert isinstance(step, RemoveBlocks)
    list(step.rewrite(again, context))
    assert store.same_graph(model, again, rtol=0, atol=0) is None


def test_what_is_left_reads_what_the_block_read() -> None:
    model = store.from_text(CHAIN)
    list(RemoveBlocks(only=("*",)).rewrite(model, context_of(model)))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    weight = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 10]], np.float32)
    np.testing.assert_allclose(run(model, {"x": x}), x @ weight @ weight, rtol=1e-6)


def test_a_sum_that_is_an_output_keeps_its_name() -> None:
    body = "a = Relu(x) f = MatMul(a, w) y = Add(a, f)"
    text = f"{HEAD}(float[2,3] x) => (float[2,3] y) <{SQUARE}> {{ {body} }}"
    model = store.from_text(text)
    list(RemoveBlocks(count=1, max_error=10.0).rewrite(model, context_of(model)))
    assert [(node.op_type, node.outputs[0].name) for node in model.graph] == [("Relu", "y")]


def test_the_inside_of_an_activation_is_no_block() -> None:
    text = (
        f"{HEAD}(float[2,3] x) => (float[2,3] y) <{SQUARE}> {{ a = MatMul(x, w)"
        " three = Constant<value_float=3.0>() p = Pow(a, three) b = Mul(p, t)"
        " [cubic] c = Add(a, b) h = Tanh(c) f = MatMul(h, w) [real] y = Add(h, f) }"
    )
    model = store.from_text(text)
    found = find_blocks(model, sizes_of(model, context_of(model)))
    assert [block.name for block in found] == ["real"]
