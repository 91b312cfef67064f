"""Groups through nodes that look places up, and through sizes of which some are unknown."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from pruning import ALL, check, model_of

from onnxopt_passes.prune._coupling import couplings

IMAGE = "(float[2,3,8,8] x) => (float[2,5,h,w] y)"
ENDS = {"u": (8, 3, 1, 1), "w": (5, 8, 1, 1)}


def ints(name: str, *numbers: int) -> str:
    return f"{name} = Constant<value_ints=[{','.join(map(str, numbers))}]>()"


@pytest.mark.parametrize(
    "taken",
    [
        "i = Constant<value = int64[3,2] {0,1, 1,0, 1,4}>() z = GatherND(h, i)",
        "i = Constant<value = int64[2,3,1] {0,1,1, 0,1,4}>() z = GatherND<batch_dims=1>(h, i)",
        "i = Constant<value = int64[3,2] {0,1, 1,0, 1,4}>() k = ScatterND(h, i, rows) z = Relu(k)",
        "s = Shape(h) l = Constant<value_int=2>() i = Expand(l, s)"
        " k = GatherElements<axis=1>(h, i) z = Add(k, h)",
        "t = Transpose<perm=[2,0,1]>(h) k = Trilu(t) z = Transpose<perm=[1,2,0]>(k)",
    ],
)
def test_channels_behind_what_is_looked_up_pass(taken: str) -> None:
    model = model_of(
        f"(float[2,5,3] x) => (float[n,m,6] y) {{ h = MatMul(x, u) {taken} y = MatMul(z, w) }}",
        u=(3, 8),
        w=(8, 6),
        rows=(3, 8),
    )
    check(model, {"h": 8}, roles=ALL)


def test_channels_that_are_looked_up_stay() -> None:
    model = model_of(
        "(float[2,5,3] x) => (float[n,6] y) { o = Constant<value_ints=[1]>()"
        " i = Constant<value = int64[3,3] {0,1,2, 1,0,1, 1,4,7}>()"
        " h = MatMul(x, u) z = GatherND(h, i) k = Unsqueeze(z, o) y = MatMul(k, w) }",
        u=(3, 8),
        w=(1, 6),
    )
    groups, notes = couplings(model)
    assert not groups
    assert "GatherND z looks places up" in notes[0].reason


def test_sizes_behind_one_that_is_unknown_are_known() -> None:
    model = model_of(
        "(float[2,3] x, int64 n) => (float[k,5] y) { o = Constant<value_ints=[1]>()"
        " eight = Constant<value_ints=[8]>() l = Reshape(n, o) s = Concat<axis=0>(l, eight)"
        " c = MatMul(x, u) e = Expand(row, s) a = Add(c, e) r = Relu(a) y = MatMul(r, w) }",
        u=(3, 8),
        row=(1, 8),
        w=(8, 5),
    )
    assert [(group.name, group.units) for group in couplings(model)[0]] == [("c", 8)]


def test_declared_sizes_help_where_none_follows() -> None:
    text = (
        "(float[b,l,3] x, int64 n) => (float[b,k,5] y)"
        " { c = MatMul(x, u) f = Constant<value_ints=[0]>() o = Constant<value_ints=[1]>()"
        " t = Constant<value_ints=[4]>() m = Constant<value_ints=[-1]>() v = Shape(x)"
        " q = Gather<axis=0>(v, f) j = Reshape(n, o) s = Concat<axis=0>(q, j, m, t)"
        " r = Reshape(c, s) p = Transpose<perm=[0,1,3,2]>(r)"
        " g = ReduceMean<axes=[3], keepdims=0>(p) y = MatMul(g, w) }"
    )
    model = model_of(text, u=(3, 8), w=(4, 5))
    assert [group.units for group in couplings(model)[0]] == [4]
    node = next(node for node in model.graph if node.outputs[0].name == "r")
    node.outputs[0].shape = ir.Shape(["b", None, 2, 4])
    assert sorted(group.units for group in couplings(model)[0]) == [2, 4]


def test_groups_normalized_by_instance_lose_the_same_places_of_each() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('i', 0, 2, -1)} c = Conv(x, u) f = Reshape(c, i)"
        " n = InstanceNormalization(f, one, one) s = Shape(c) r = Reshape(n, s)"
        " a = Mul(r, scale) b = Add(a, shift) y = Conv(b, w) }",
        **ENDS,
        one=(2,),
        scale=(8, 1, 1),
        shift=(8, 1, 1),
    )
    done = check(model, exact=False)
    assert sorted(done.units.values()) == [2, 4]
