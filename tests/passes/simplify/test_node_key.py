"""When two nodes count as one."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.transform import Context
from onnxopt_passes.simplify.merge_duplicate_nodes import MergeDuplicateNodes


def merged(body: str, version: int = 17) -> int:
    """How many of the nodes of a graph over ``float[N,2,3] x`` give way to another."""
    text = f"""<ir_version: 8, opset_import: ["" : {version}]>
    g (float[N,2,3] x, int64[2] i) => (y, z)
    <int64[1] last = {{-1}}, int64[1] two = {{2}}, int64[1] three = {{3}},
     int64[2] both = {{2, 1}}, int64[2] end = {{-2, -1}}>
    {{ {body}  y = Identity(a)  z = Identity(b) }}"""
    model: ir.Model = store.from_text(text)
    notes = MergeDuplicateNodes().rewrite(model, Context())
    return sum(note.kind == "applied" for note in notes)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Softmax<axis = 2>(x)", "Softmax(x)"),
        ("Concat<axis = -2>(x, x)", "Concat<axis = 1>(x, x)"),
        ("Gather<axis = 1>(x, i)", "Gather<axis = -2>(x, i)"),
        ("ReduceSum(x, both)", "ReduceSum<keepdims = 1>(x, end)"),
        ("Unsqueeze(x, last)", "Unsqueeze(x, three)"),
        ("Flatten<axis = -1>(x)", "Flatten<axis = 2>(x)"),
        ("Elu<alpha = 1.0>(x)", "Elu(x)"),
        ("LeakyRelu<alpha = 0.01>(x)", "LeakyRelu(x)"),
    ],
)
def test_another_spelling_is_the_same(one: str, other: str) -> None:
    assert merged(f"a = {one}  b = {other}") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Softmax<axis = 1>(x)", "Softmax(x)"),
        ("ReduceSum(x, last)", "ReduceSum(x)"),
        ("ReduceSum(x, two)", "ReduceSum(x, both)"),
        ("ReduceSum(x, two)", "ReduceSum<keepdims = 0>(x, last)"),
        ("Unsqueeze(x, last)", "Unsqueeze(x, two)"),
        ("Elu<alpha = 0.5>(x)", "Elu(x)"),
        ("Elu<alpha = 1.0>(x)", "Celu<alpha = 1.0>(x)"),
    ],
)
def test_another_meaning_is_not(one: str, other: str) -> None:
    assert merged(f"a = {one}  b = {other}") == 0


def test_axes_in_attributes() -> None:
    one, other = "ReduceSum<axes = [1, 2]>(x)", "ReduceSum<axes = [-1, -2]>(x)"
    assert merged(f"a = {one}  b = {other}", version=12) == 1
    assert merged(f"a = {one}  b = ReduceSum(x)", version=12) == 0
