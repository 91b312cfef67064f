"""What is known inside functions that stay, and that it is true at every call."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.simplify._calls import calls_in_order
from onnxopt_passes.simplify._facts import facts_of
from onnxopt_passes.simplify.infer_shapes import InferShapes

HEAD = '<ir_version: 8, opset_import: ["" : 17, "d" : 1]>'
BODY = '<domain: "d", opset_import: ["" : 17, "d" : 1]>'


def read(*parts: str) -> ir.Model:
    return store.from_text("\n".join((HEAD, *parts)))


def infer(model: ir.Model) -> list[Note]:
    return list(InferShapes().rewrite(model, Context()))


def known(model: ir.Model, name: str = "f") -> dict[str, str]:
    (function,) = (f for f in model.functions.values() if f.name == name)
    made = [v for g in (function.graph, *function.subgraphs()) for n in g for v in n.outputs]
    values = (*function.inputs, *made)
    return {v.name or "": "" if v.dtype is None else f"{v.dtype}{v.shape}" for v in values}


def test_sizes_that_all_calls_agree_on_are_known() -> None:
    model = read(
        "g (float[N,4,6] x, float[2,4,6] z) => (float[N,24] y, float[2,24] w)",
        "{ y = d.f(x)  w = d.f(z) }",
        BODY,
        "f (a) => (b) { c = Relu(a)  s = Shape(c)  b = Flatten(c) }",
    )
    (note,) = infer(model)
    assert note.reason == "type or shape of 4 values written down"
    shapes = {
        "a": "FLOAT[None,4,6]",
        "c": "FLOAT[None,4,6]",
        "s": "INT64[3]",
        "b": "FLOAT[None,24]",
    }
    assert known(model) == shapes
    assert infer(model) == []


@pytest.mark.parametrize(
    ("inputs", "shape"),
    [
        ("float[2,3] x, float[4,5] z", "FLOAT[None,None]"),
        ("float[2,3] x, float[2] z", "FLOATNone"),
        ("float[2,3] x, float z", "FLOATNone"),
        ("float[2,3] x, double[2,3] z", ""),
        ("float[2,3] x, seq(float[2,3]) z", ""),
    ],
)
def test_calls_that_disagree(inputs: str, shape: str) -> None:
    model = read(
        f"g ({inputs}) => (y, w) {{ y = d.f(x)  w = d.f(z) }}",
        BODY,
        "f (a) => (b) { b = Identity(a) }",
    )
    infer(model)
    assert known(model)["a"] == shape


def test_sizes_that_are_equal_in_each_call_are_equal() -> None:
    model = read(
        "g (float[N,4] x, float[M,3] z) => (y, w) { y = d.f(x, x)  w = d.f(z, z) }",
        BODY,
        "f (a, b) => (c) { c = MatMul(a, b) }",
    )
    (function,) = model.functions.values()
    facts = facts_of(model)
    assert facts.shape(function.inputs[0]) == facts.shape(function.inputs[1])
    other = read(
        "g (float[N,4] x, float[M,3] z) => (y, w) { y = d.f(x, z)  w = d.f(z, x) }",
        BODY,
        "f (a, b) => (c) { c = Add(a, b) }",
    )
    (function,) = other.functions.values()
    facts = facts_of(other)
    assert facts.shape(function.inputs[0]) != facts.shape(function.inputs[1])


def test_one_size_of_the_model_stays_that_in_a_body() -> None:
    model = read(
        "g (float[N,4] x, float[N,2,2] z) => (y, w) { y = d.f(x)  w = d.f(z) }",
        BODY,
        "f (a) => (b) { s = Shape<start = 0, end = 1>(a)  b = Neg(s) }",
    )
    (function,) = model.functions.values()
    assert facts_of(model).content(function[0].outputs[0]) is None  # the ranks differ
    model = read(
        "g (float[N,4] x, float[N,3] z) => (y, w) { y = d.f(x)  w = d.f(z) }",
        BODY,
        "f (a) => (b) { s = Shape<start = 0, end = 1>(a)  b = Neg(s) }",
    )
    (function,) = model.functions.values()
    facts = facts_of(model)
    content, size = facts.content(function[0].outputs[0]), facts.shape(model.graph.inputs[0])
    assert content is not None
    assert size is not None
    assert list(content) == [size[0]]


def test_elements_that_all_calls_give() -> None:
    model = read(
        "g (float[2,6] x, float[2,6] z) => (y, w)",
        "<int64[2] s = {4, 3}, int64[2] t = {6, 3}> { y = d.f(x, s)  w = d.f(z, t) }",
        BODY,
        "f (a, s) => (b) { b = Reshape(a, s) }",
    )
    (function,) = model.functions.values()
    content = facts_of(model).content(function.inputs[1])
    assert content is not None
    assert list(content) == [None, 3]


def test_functions_in_functions_and_calls_in_branches() -> None:
    model = read(
        "g (float[3,4] x, bool c) => (float[3,4] y)",
        "{ y = If(c) <then_branch = p () => (float[3,4] u) { u = d.f(x) },",
        "            else_branch = q () => (float[3,4] v) { t = Abs(x)  v = d.h(t) }> }",
        BODY,
        "h (a) => (b) { b = Exp(a) }",
        BODY,
        "f (a) => (b) { k = Constant<value = bool {1}>()",
        "  b = If(k) <then_branch = p () => (u) { t = Neg(a)  u = d.h(t) },",
        "             else_branch = q () => (v) { v = Abs(a) }> }",
    )
    assert [function.name for function, _ in calls_in_order(model)] == ["f", "h"]
    infer(model)
    assert known(model, "h") == {"a": "FLOAT[3,4]", "b": "FLOAT[3,4]"}
    assert set(known(model, "f").values()) == {"BOOL[]", "FLOAT[3,4]"}


def test_calls_from_where_nobody_calls_count() -> None:
    model = read(
        "g (float[3,4] x) => (float[3,4] y) { y = d.h(x) }",
        BODY,
        "h (a) => (b) { b = Exp(a) }",
        BODY,
        "idle (a) => (b) { b = d.h(a) }",
    )
    infer(model)
    assert set(known(model, "h").values()) == {""}
    assert set(known(model, "idle").values()) == {""}


def test_inputs_that_a_call_leaves_out_are_unknown() -> None:
    model = read(
        "g (float[3] x) => (y, w) { y = d.f(x, x)  w = d.f(x) }",
        BODY,
        "f (a, m) => (b) { b = Clip(a, m) }",
    )
    infer(model)
    assert known(model) == {"a": "FLOAT[3]", "m": "", "b": "FLOAT[3]"}


def test_a_body_is_read_by_its_own_opset() -> None:
    model = store.from_text(
        """<ir_version: 8, opset_import: ["" : 17, "d" : 1]>
        g (float[2,1] x) => (float[2] y) { y = d.f(x) }
        <domain: "d", opset_import: ["" : 11]> f (a) => (b) { b = Squeeze<axes = [1]>(a) }"""
    )
    infer(model)
    assert known(model) == {"a": "FLOAT[2,1]", "b": "FLOAT[2]"}


def test_what_callers_choose_is_not_taken_for_the_default() -> None:
    model = read(
        "g (float[2,3] x) => (y, w) { y = d.f<p = [0, 1], s = 0.5>(x)  w = d.f<p = [1, 0]>(x) }",
        BODY,
        "f <p, s> (a) => (c) { b = Transpose<perm: ints = @p>(a)",
        "  e = Exp(a)  l = LeakyRelu<alpha: float = @s>(e)  t = Neg(l)  c = Add(b, t) }",
    )
    infer(model)
    hidden = {"a": "FLOATNone", "b": "", "e": "FLOATNone", "l": "FLOATNone", "c": ""}
    assert known(model) == {**hidden, "t": "FLOAT[2,3]"}


def test_a_contradiction_is_noted() -> None:
    model = read("g (float[2,3] x) => (y) { y = d.f(x) }", BODY, "f (a) => (b) { b = Relu(a) }")
    (function,) = model.functions.values()
    function.inputs[0].shape = ir.Shape([4, 3])
    refused = [note for note in infer(model) if note.kind == "refused"]
    assert [note.reason for note in refused] == ["declared as [4,3], but the calls make it [2,3]"]


def test_facts_follow_the_calls() -> None:
    model = read(
        "g (float[N,3] x, float[4,3] z) => (y, w) { y = d.f(x)  w = d.f(z) }",
        BODY,
        "f (a) => (b) { b = Relu(a) }",
    )
    infer(model)
    assert known(model)["b"] == "FLOAT[None,3]"
    for step in Recipe.parse("fix-dims{sizes={N=4}} | infer-shapes").steps:
        assert isinstance(step, Pass)
        list(step.rewrite(model, Context()))
    assert known(model)["b"] == "FLOAT[4,3]"


@pytest.mark.parametrize(("ir_version", "opset"), [(8, 17), (9, 17), (10, 21)])
def test_files_with_facts_are_valid_and_run(ir_version: int, opset: int) -> None:
    model = store.from_text(
        f"""<ir_version: {ir_version}, opset_import: ["" : {opset}, "d" : 1]>
        g (float[N,4] x, float[2,4] z, bool c) => (float[N,4] y, float[2,4] w)
        {{ a = d.f<s = 0.5>(x)  b = d.f<s = 0.25>(z)  y = Relu(a)
           w = If(c) <then_branch = p () => (float[2,4] u) {{ u = d.f<s = 0.1>(b) }},
                      else_branch = q () => (float[2,4] v) {{ v = Abs(b) }}> }}
        <domain: "d", opset_import: ["" : {opset}, "d" : 1]>
        f <s> (a) => (b) {{ t = Exp(a)  u = LeakyRelu<alpha: float = @s>(t)  "t/2" = d.h(u)
                            b = Neg("t/2") }}
        <domain: "d", opset_import: ["" : {opset}]> h (a) => (b) {{ b = Exp(a) }}"""
    )
    feeds = {"x": np.ones((3, 4), "f"), "z": np.ones((2, 4), "f"), "c": np.array(True)}
    with open_session(model, SessionConfig(optimization="off", threads=1)) as session:
        before = session.run(feeds)
    infer(model)
    assert known(model, "h") == {"a": "FLOAT[None,4]", "b": "FLOAT[None,4]"}
    data = store.serialize(model)
    onnx.checker.check_model(data, full_check=True)
    again = store.load(onnx.ModelProto.FromString(data))
    assert known(again, "h")["b"] == "FLOAT[None,4]"
    for optimization in ("off", "all"):
        with open_session(again, SessionConfig(optimization=optimization, threads=1)) as session:
            after = session.run(feeds)
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-6)


@pytest.mark.parametrize(("ir_version", "shape"), [(9, ""), (10, "FLOAT[3]")])
def test_overloads_of_an_old_model_get_no_facts(ir_version: int, shape: str) -> None:
    model = read("g (float[3] x) => (y) { y = d.f(x) }", BODY, "f (a) => (b) { b = Exp(a) }")
    (function,) = model.functions.values()
    model.functions.clear()
    function.overload = "other"
    model.functions[function.identifier()] = function
    model.graph[0].overload = "other"
    model.ir_version = ir_version
    infer(model)
    assert known(model)["a"] == shape


def test_a_model_without_functions_has_no_calls() -> None:
    model = store.from_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    )
    assert calls_in_order(model) == []
