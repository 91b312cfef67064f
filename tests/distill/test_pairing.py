"""Which names of a student belong to which of its teacher; no torch needed."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt import store
from onnxopt.distill.pairing import copy_weights, pair, renamed
from onnxopt.errors import ModelError
from onnxopt.graph import constant, rewrite_constant

TEACHER = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3] x, float[N,3] k) => (float[N,3] y, float[N,3] z) { y = Add(x, k) z = Neg(y) }"""
STUDENT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3] a, float[N,3] b) => (float[N,3] p, float[N,3] q) <float[3] w = {1,2,3}> {
  y = Mul(a, w)
  five = Constant<value = float[1] {5}>()
  p = Add(y, b)
  q = Mul(p, five)
}"""


def test_by_position_where_names_differ() -> None:
    teacher, student = store.from_text(TEACHER), store.from_text(STUDENT)
    found = pair(teacher, student)
    assert dict(found.inputs) == {"a": "x", "b": "k"}
    assert dict(found.outputs) == {"p": "y", "q": "z"}
    assert not found.is_identity
    clone = renamed(student, found)
    assert [v.name for v in clone.graph.inputs] == ["x", "k"]
    assert [v.name for v in clone.graph.outputs] == ["y", "z"]
    names = [v.name for node in clone.graph for v in node.outputs]
    assert len(set(names)) == len(names)
    assert pair(teacher, clone).is_identity
    assert [v.name for v in student.graph.outputs] == ["p", "q"]


def test_weights_come_back() -> None:
    teacher, student = store.from_text(TEACHER), store.from_text(STUDENT)
    clone = renamed(student, pair(teacher, student))
    graph = store.structural_hash(student)
    rewrite_constant(clone.graph.initializers["w"], np.array([7, 8, 9], np.float32))
    five = next(node for node in clone.graph if node.op_type == "Constant").outputs[0]
    rewrite_constant(five, np.array([6], np.float32))
    copy_weights(clone, student)
    found = constant(student.graph.initializers["w"])
    assert found is not None and list(found) == [7, 8, 9]
    inner = next(node for node in student.graph if node.op_type == "Constant").outputs[0]
    assert constant(inner) == [6]
    copy_weights(renamed(store.from_text(STUDENT), pair(teacher, student)), student)
    assert store.structural_hash(student) == graph


def test_a_student_may_take_fewer_inputs() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,3] x) => (float[N,3] y, float[N,3] z) { y = Neg(x) z = Abs(x) }"""
    assert pair(store.from_text(TEACHER), store.from_text(text)).is_identity


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ("float[N,3] p", "other outputs than its teacher"),
        ("float[N,3] p, float[N,4] q", "cannot be compared"),
        ("float[N,3] p, float[N,3,1] q", "cannot be compared"),
    ],
)
def test_what_does_not_match(outputs: str, message: str) -> None:
    body = "p = Neg(x)" if "q" not in outputs else "p = Neg(x) q = Abs(x)"
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,3] x, float[N,3] k) => ({outputs}) {{ {body} }}"""
    with pytest.raises(ModelError, match=message):
        pair(store.from_text(TEACHER), store.from_text(text))
