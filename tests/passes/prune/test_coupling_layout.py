"""Groups through nodes that put elements elsewhere, and through what is added and gated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from pruning import ALL, check, model_of

from onnxopt.graph import attribute, rewrite_constant
from onnxopt_passes.prune._coupling import couplings

IMAGE = "(float[2,3,8,8] x) => (float[2,5,h,w] y)"
ENDS = {"u": (8, 3, 1, 1), "w": (5, 8, 1, 1)}


def ints(name: str, *numbers: int) -> str:
    return f"{name} = Constant<value_ints=[{','.join(map(str, numbers))}]>()"


@pytest.mark.parametrize(
    "between",
    [
        "d = Sigmoid(c)",
        "d = Clip(c, lo, hi)",
        "d = PRelu(c, slope)",
        "d = Mul(c, row)",
        "k = Mul(row, row) d = Mul(c, k)",
        "a = Add(c, three) b = Clip(a, lo, hi) e = Mul(c, b) d = Div(e, hi)",
        "m = Greater(c, lo) d = Where(m, c, row)",
        "d = Resize(c, , scales)",
        "d = AveragePool<kernel_shape=[2,2]>(c)",
        "d = GlobalAveragePool(c)",
        "d = ReduceMean<axes=[2,3]>(c)",
        "p = Softmax<axis=-1>(c) d = Mul(p, c)",
        "d = Tile(c, tiles)",
        "i = InstanceNormalization(c, one, one) d = Relu(i)",
        "q = Unsqueeze(c, first) d = Squeeze(q, first)",
        "p = Transpose<perm=[0,2,3,1]>(c) r = Relu(p) d = Transpose<perm=[0,3,1,2]>(r)",
        "s = Shape(c) z = ConstantOfShape(s) d = Add(z, c)",
        "s = Shape(row) e = Expand(row, s) d = Mul(e, c)",
        "g = Constant<value_ints=[2,8,8,8]>() e = Expand(row, g) d = Mul(e, c)",
        "m = ReduceL2<axes=[1]>(c) d = Div(c, m)",
        "d = GridSample(c, grid)",
    ],
)
def test_what_is_between_goes_along(between: str) -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('first', 0)} {ints('tiles', 1, 1, 2, 1)}"
        " lo = Constant<value_float=0.0>() hi = Constant<value_float=6.0>()"
        " three = Constant<value_float=3.0>() scales = Constant<value_floats=[1.0,1.0,2.0,2.0]>()"
        f" c = Conv(x, u) {between} y = Conv(d, w) }}",
        **ENDS,
        slope=(8, 1, 1),
        row=(1, 8, 1, 1),
        one=(8,),
        grid=(2, 4, 4, 2),
    )
    check(model, {"c": 8}, roles=ALL, seeds=2)


def test_residual_streams_lose_the_same_channels_everywhere() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) a = Conv(c, p) r = Relu(a) b = Conv(r, q) s = Add(c, b)"
        " t = Relu(s) d = Conv(t, k) e = Add(t, d) y = Conv(e, w) }",
        **ENDS,
        p=(6, 8, 1, 1),
        q=(8, 6, 1, 1),
        k=(8, 8, 1, 1),
    )
    done = check(model, {"c": 8, "a": 6}, roles=("makes", "carries"))
    assert done.weight("k").shape[:2] == (len(done.chosen["c"]),) * 2


def test_gates_lose_their_own_width_and_that_of_what_they_gate() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) g = GlobalAveragePool(c) s = Conv(g, p, a) r = Relu(s)"
        " e = Conv(r, q, b) h = HardSigmoid(e) m = Mul(c, h) y = Conv(m, w) }",
        **ENDS,
        p=(4, 8, 1, 1),
        a=(4,),
        q=(8, 4, 1, 1),
        b=(8,),
    )
    check(model, {"c": 8, "s": 4}, roles=("makes", "carries"))


def test_gates_of_gemms() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('f', 2, 8)} {ints('t', 2, 8, 1, 1)} c = Conv(x, u)"
        " g = GlobalAveragePool(c) v = Reshape(g, f) s = Gemm(v, p, a) r = Relu(s)"
        " e = Gemm(r, q, b) h = Sigmoid(e) z = Reshape(h, t) m = Mul(z, c) y = Conv(m, w) }",
        **ENDS,
        p=(8, 4),
        a=(4,),
        q=(4, 8),
        b=(8,),
    )
    check(model, {"c": 8, "s": 4}, roles=("makes", "carries"))


def test_concatenations_shift_the_places_of_what_follows() -> None:
    model = model_of(
        f"{IMAGE} {{ a = Conv(x, u) b = Conv(x, v) d = Concat<axis=1>(a, x, b) r = Relu(d)"
        " y = Conv(r, k) }",
        u=(8, 3, 1, 1),
        v=(6, 3, 1, 1),
        k=(5, 17, 1, 1),
    )
    done = check(model, {"a": 8, "b": 6})
    places = {m.value.name: m.places[:, 0].tolist() for m in done.groups["b"].members}
    assert places == {"v": list(range(6)), "k": list(range(11, 17))}
    assert done.groups["b"].tensors["d"][1][:, 0].tolist() == list(range(11, 17))


def test_a_tensor_concatenated_with_itself() -> None:
    model = model_of(
        f"{IMAGE} {{ a = Conv(x, u) r = Relu(a) d = Concat<axis=1>(a, r, a) y = Conv(d, k) }}",
        u=(8, 3, 1, 1),
        k=(5, 24, 1, 1),
    )
    done = check(model, {"a": 8})
    (reader,) = (m for m in done.groups["a"].members if m.value.name == "k")
    np.testing.assert_array_equal(reader.places, np.arange(24).reshape(3, 8).T)


def test_concatenations_of_other_cuts_that_are_added() -> None:
    model = model_of(
        f"{IMAGE} {{ a = Conv(x, u) b = Conv(x, v) d = Concat<axis=1>(a, b)"
        " e = Concat<axis=1>(b, a) s = Add(d, e) r = Relu(s) y = Conv(r, k) }",
        u=(8, 3, 1, 1),
        v=(4, 3, 1, 1),
        k=(5, 12, 1, 1),
    )
    done = check(model, {"a": 4}, roles=("makes", "carries"))
    assert {m.value.name: m.places.shape for m in done.groups["a"].members} == {
        "u": (4, 2),
        "v": (4, 1),
        "k": (4, 3),
    }


def test_dense_blocks() -> None:
    model = model_of(
        f"{IMAGE} {{ a = Conv(x, u) b = Conv(a, v) d = Concat<axis=1>(a, b) e = Conv(d, p)"
        " f = Concat<axis=1>(d, e) r = Relu(f) y = Conv(r, q) }",
        u=(8, 3, 1, 1),
        v=(6, 8, 1, 1),
        p=(4, 14, 1, 1),
        q=(5, 18, 1, 1),
    )
    check(model, {"a": 8, "b": 6, "e": 4})


@pytest.mark.parametrize(
    ("opset", "cut"),
    [
        (17, "n = Constant<value_ints=[5,3]>() a, b = Split<axis=1>(c, n)"),
        (11, "a, b = Split<axis=1, split=[5,3]>(c)"),
        (
            17,
            "o = Constant<value_ints=[0]>() i = Constant<value_ints=[5]>() n = Constant<value_ints"
            "=[9223372036854775807]>() j = Constant<value_ints=[1]>() a = Slice(c, o, i, j)"
            " b = Slice(c, i, n, j)",
        ),
        (
            9,
            "a = Slice<starts=[0], ends=[5], axes=[1]>(c)"
            " b = Slice<starts=[-3], ends=[9], axes=[1]>(c)",
        ),
        (
            17,
            "i = Constant<value_ints=[0,1,2,3,4]>() j = Constant<value_ints=[5,6,-1]>()"
            " a = Gather<axis=1>(c, i) b = Gather<axis=1>(c, j)",
        ),
    ],
)  # fmt: skip
def test_parts_lose_channels_of_their_own(opset: int, cut: str) -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) {cut} d = Conv(a, p) e = Conv(b, q) s = Add(d, e) r = Relu(s)"
        " y = Conv(r, k) }",
        opset=opset,
        u=(8, 3, 1, 1),
        p=(6, 5, 1, 1),
        q=(6, 3, 1, 1),
        k=(5, 6, 1, 1),
    )
    check(model, {"c": 5, "c/2": 3, "d": 6}, roles=("makes", "carries"))


@pytest.mark.parametrize(("opset", "equally"), [(17, ""), (18, "<axis=1, num_outputs=2>")])
def test_a_gated_half_couples_both(opset: int, equally: str) -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) a, b = Split{equally or '<axis=1>'}(c) g = Sigmoid(b)"
        " m = Mul(a, g) y = Conv(m, k) }",
        opset=opset,
        u=(12, 3, 1, 1),
        k=(5, 6, 1, 1),
    )
    done = check(model, {"c": 6})
    assert done.groups["c"].members[0].places.tolist() == [[i, i + 6] for i in range(6)]


def test_overlapping_slices_that_are_added() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('i', 0)} {ints('j', 8)} {ints('k', 3)} {ints('l', 11)} {ints('e', 1)}"
        " c = Conv(x, u) a = Slice(c, i, j, e) b = Slice(c, k, l, e) s = Add(a, b) r = Relu(s)"
        " y = Conv(r, w) }",
        u=(12, 3, 1, 1),
        w=(5, 8, 1, 1),
    )
    groups, _ = couplings(model)
    assert sum(group.units for group in groups) <= 4
    check(model)


def test_any_order_of_channels() -> None:
    order = [3, 0, 7, 1, 6, 2, 5, 4, 3]
    model = model_of(
        f"{IMAGE} {{ {ints('i', *order)} c = Conv(x, u) a = Gather<axis=1>(c, i) r = Relu(a)"
        " y = Conv(r, k) }",
        u=(8, 3, 1, 1),
        k=(5, 9, 1, 1),
    )
    groups, _ = couplings(model)
    assert [(group.name, group.units) for group in groups] == [("c", 7)]
    check(model)


def test_shuffled_groups() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('i', 2, 2, 6, 8, 8)} {ints('j', 2, 12, 8, 8)} c = Conv(x, u)"
        " d = Conv<group=2>(c, p) a = Reshape(d, i) t = Transpose<perm=[0,2,1,3,4]>(a)"
        " b = Reshape(t, j) e = Conv<group=2>(b, q) r = Relu(e) y = Conv(r, k) }",
        u=(12, 3, 1, 1),
        p=(12, 6, 1, 1),
        q=(6, 6, 1, 1),
        k=(5, 6, 1, 1),
    )
    done = check(model)
    assert done.units == {"c": 2, "c/2": 6, "d": 2, "d/2": 3, "e": 3}


def test_shuffled_groups_that_do_not_line_up_stay() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('i', 2, 3, 4, 8, 8)} {ints('j', 2, 12, 8, 8)} c = Conv(x, u)"
        " d = Conv<group=3>(c, p) a = Reshape(d, i) t = Transpose<perm=[0,2,1,3,4]>(a)"
        " b = Reshape(t, j) e = Conv<group=3>(b, q) r = Relu(e) y = Conv(r, k) }",
        u=(12, 3, 1, 1),
        p=(12, 4, 1, 1),
        q=(6, 4, 1, 1),
        k=(5, 6, 1, 1),
    )
    assert check(model).units == {"c": 4, "e": 2}
    assert "Conv e joins axes of different structure" in couplings(model)[1][0].reason


def test_shuffled_channels_that_are_split_in_the_middle_of_a_pair() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('i', 2, 2, 7, 8, 8)} {ints('j', 2, 14, 8, 8)} c = Conv(x, u)"
        " d = Conv(x, v) k = Concat<axis=1>(c, d) a = Reshape(k, i)"
        " t = Transpose<perm=[0,2,1,3,4]>(a) b = Reshape(t, j) e, f = Split<axis=1>(b)"
        " g = Conv(f, p) h = Concat<axis=1>(e, g) r = Relu(h) y = Conv(r, w) }",
        u=(7, 3, 1, 1),
        v=(7, 3, 1, 1),
        p=(7, 7, 1, 1),
        w=(5, 14, 1, 1),
    )
    done = check(model)
    assert sorted(done.units.values()) == [3, 3, 7]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    model = model_of(
        f'{IMAGE} {{ c = Conv(x, u) d = DepthToSpace<blocksize=2, mode="{mode}">(c) r = Relu(d)'
        " y = Conv(r, k) }",
        u=(24, 3, 1, 1),
        k=(5, 6, 1, 1),
    )
    done = check(model, {"c": 6})
    first = done.groups["c"].members[0].places[1].tolist()
    assert first == ([1, 7, 13, 19] if mode == "DCR" else [4, 5, 6, 7])


def test_pixel_shuffle_spelled_out() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('i', 2, 6, 2, 2, 8, 8)} {ints('j', 2, 6, 16, 16)} c = Conv(x, u)"
        " a = Reshape(c, i) t = Transpose<perm=[0,1,4,2,5,3]>(a) b = Reshape(t, j) r = Relu(b)"
        " y = Conv(r, k) }",
        u=(24, 3, 1, 1),
        k=(5, 6, 1, 1),
    )
    done = check(model)
    assert done.units["c"] == 6


def test_space_to_depth() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) d = SpaceToDepth<blocksize=2>(c) r = Relu(d) y = Conv(r, k) }}",
        u=(6, 3, 1, 1),
        k=(5, 24, 1, 1),
    )
    check(model, {"c": 6})


@pytest.mark.parametrize("shape", [(0, -1), (2, 512), (-1, 512), (2, -1)])
@pytest.mark.parametrize("flat", [False, True])
def test_flattened_images(shape: tuple[int, int], flat: bool) -> None:
    node = "Flatten(r)" if flat else "Reshape(r, i)"
    model = model_of(
        "(float[2,3,8,8] x) => (float[2,5] y) {" + ints("i", *shape) + " c = Conv(x, u)"
        f" r = Relu(c) f = {node} y = Gemm(f, k) }}",
        u=(8, 3, 1, 1),
        k=(512, 5),
    )
    check(model, {"c": 8})


@pytest.mark.parametrize(
    ("size", "kinds"),
    [("b", {"Gather", "Concat"}), ("many", {"Concat"}), ("cast", {"Concat"}), ("twice", {"Where"})],
)
def test_shapes_that_are_computed(size: str, kinds: set[str]) -> None:
    """Sizes come from the tensor itself, or as numbers that have to change."""
    double = "e = Reshape(c, t) z = ReduceSum(e) g = Mul(f, z)"
    model = model_of(
        "(float[N,3,H,W] x) => (float[N,q,5] y) {"
        f" {ints('zero', 0)} {ints('one', 1)} {ints('many', 8)} {ints('rest', -1)} c = Conv(x, u)"
        f" s = Shape(c) n = Gather(s, zero) b = Gather(s, one)"
        " cast = Cast<to=7>(many) twice = Identity(many)"
        f" t = Concat<axis=0>(n, {size}, rest) f = Reshape(c, t)"
        f" {double if size == 'twice' else 'g = Relu(f)'} p = Transpose<perm=[0,2,1]>(g)"
        " y = MatMul(p, k) }",
        u=(8, 3, 1, 1),
        k=(8, 5),
    )
    strict = size != "twice"  # onnx does not follow shapes through Where
    done = check(model, {"c": 8}, strict=strict)
    found = {node.op_type for node in done.after.graph}
    assert kinds <= found
    assert ("Where" in found) == ("Where" in kinds)


def test_padded_channels_stay() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('p', 0, 1, 0, 0, 0, 2, 0, 0)} c = Conv(x, u) a = Pad(c, p)"
        " b = Conv(x, v) s = Add(a, b) r = Relu(s) y = Conv(r, k) }",
        u=(8, 3, 1, 1),
        v=(11, 3, 1, 1),
        k=(5, 11, 1, 1),
    )
    done = check(model, {"c": 8})
    places = {m.value.name: m.places[0].tolist() for m in done.groups["c"].members}
    assert places == {"u": [0], "v": [1], "k": [1]}


def test_resized_to_given_sizes() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('s', 2, 8, 5, 5)} c = Conv(x, u) d = Resize(c, , , s) y = Conv(d, w) }}",
        **ENDS,
    )
    check(model, {"c": 8})


def test_groups_of_a_normalization() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) d = GroupNormalization<num_groups=4>(c, s, b) r = Relu(d)"
        " y = Conv(r, w) }",
        opset=21,
        **ENDS,
        s=(8,),
        b=(8,),
    )
    done = check(model, exact=False)
    assert sorted(done.units.values()) == [2, 4]
    check(model, only=[name for name, units in done.units.items() if units == 4], roles=ALL)
    node = next(n for n in done.after.graph if n.op_type == "GroupNormalization")
    assert attribute(node, "num_groups", 0) == 2


def test_branches_make_the_same() -> None:
    model = model_of(
        "(float[2,3,8,8] x, bool k) => (float[2,5,8,8] y) { c = Conv(x, u) r = If(k) <"
        "then_branch = t () => (float[2,8,8,8] a) { a = Relu(c) },"
        "else_branch = e () => (float[2,8,8,8] b) { b = Conv(c, v) }> y = Conv(r, w) }",
        **ENDS,
        v=(8, 8, 1, 1),
    )
    check(model, {"c": 8})


REFUSALS: Mapping[str, str] = {
    "d = Softmax<axis=1>(c)": "Softmax d wants all of them",
    "d = ReduceMax<axes=[1]>(c)": "ReduceMax d wants all of them",
    "d = LRN<size=3>(c)": "LRN d is not known to keep channels apart",
    "s = Shape(c) f = Cast<to=1>(s) g = ReduceProd<keepdims=0>(f) d = Mul(c, g)": "Cast f computes",
    "i = Constant<value_ints=[2,4,2,8,8]>() e = Reshape(c, i) p = Softmax<axis=1>(e)"
    " j = Constant<value_ints=[2,8,8,8]>() k = Softmax<axis=2>(p) d = Reshape(k, j)": "Softmax",
}


@pytest.mark.parametrize("between", REFUSALS)
def test_what_cannot_be_mapped_stays_for_a_reason(between: str) -> None:
    ends = {**ENDS, "w": (5, 1, 1, 1)} if "ReduceMax" in between else ENDS
    groups, notes = couplings(
        model_of(f"{IMAGE} {{ c = Conv(x, u) {between} y = Conv(d, w) }}", **ends)
    )
    assert not groups
    reasons = [note.reason for note in notes if note.node == "c"]
    assert reasons and REFUSALS[between] in reasons[0]


def test_no_part_becomes_empty() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) a, b = Split<axis=1>(c) d = Concat<axis=1>(b, a) r = Relu(d)"
        " y = Conv(r, w) }",
        **ENDS,
    )
    assert check(model, {"c": 4, "c/2": 4}).units == {"c": 4, "c/2": 4}


def test_weights_in_codes_with_a_scale_for_each_channel() -> None:
    model = model_of(
        f"{IMAGE} {{ q = QuantizeLinear<axis=0>(u, s) d = DequantizeLinear<axis=0>(q, t)"
        " c = Conv(x, d) r = Relu(c) y = Conv(r, w) }",
        **ENDS,
        s=(8,),
        t=(8,),
    )
    for name in "st":
        rewrite_constant(model.graph.initializers[name], np.full(8, 0.1, np.float32))
    done = check(model, {"c": 8})
    roles = {member.value.name: member.role for member in done.groups["c"].members}
    assert roles == {"u": "makes", "s": "carries", "t": "carries", "w": "reads"}


def test_weights_that_may_be_fed_stay_with_advice() -> None:
    model = model_of(f"{IMAGE} {{ c = Conv(x, u) y = Conv(c, w) }}", **ENDS)
    model.graph.inputs.append(model.graph.initializers["u"])
    groups, notes = couplings(model)
    assert not groups
    assert "freeze-default-inputs first" in notes[0].reason


def test_padding_of_named_axes() -> None:
    model = model_of(
        f"{IMAGE} {{ {ints('p', 1, 2)} {ints('i', 1)} c = Conv(x, u) a = Pad(c, p, , i)"
        " y = Conv(a, k) }",
        opset=18,
        u=(8, 3, 1, 1),
        k=(5, 11, 1, 1),
    )
    done = check(model, {"c": 8})
    assert {m.value.name: int(m.places[0, 0]) for m in done.groups["c"].members} == {"u": 0, "k": 1}


def test_layers_in_loops_stay_for_a_reason() -> None:
    model = model_of(
        "(float[2,8] x, int64 n, bool k) => (float[2,8] z) { c = MatMul(x, u) r = Relu(c)"
        " z = Loop(n, k, r) <body = b (int64 i, bool q, float[2,8] a) => (bool p, float[2,8] o)"
        " { p = Identity(q) o = MatMul(a, v) }> }",
        u=(8, 8),
        v=(8, 8),
    )
    groups, notes = couplings(model)
    assert not groups
    reasons = {note.node: note.reason for note in notes}
    assert "its weights stay whole" in reasons["z"]
    assert "Loop z" in reasons["c"]
