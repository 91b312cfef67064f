"""Groups across layers: convolutions, products, recurrent layers, attention, shared weights."""

from __future__ import annotations

import numpy as np
import pytest
from pruning import ALL, check, model_of

from onnxopt.graph import attribute, rewrite_constant
from onnxopt_passes.prune._coupling import couplings

IMAGE = "(float[2,3,8,8] x) => (float[2,5,h,w] y)"


def test_convolutions_and_what_is_between() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u, b) n = BatchNormalization(c, s, t, m, v) r = Relu(n)"
        " p = MaxPool<kernel_shape=[2,2]>(r) y = Conv<pads=[1,1,1,1]>(p, w) }",
        u=(12, 3, 3, 3), b=(12,), s=(12,), t=(12,), m=(12,), v=(12,), w=(5, 12, 3, 3),
    )  # fmt: skip
    rewrite_constant(model.graph.initializers["v"], np.full(12, 0.5, np.float32))
    done = check(model, {"c": 12}, roles=("makes", "carries"))
    roles = {member.value.name: member.role for member in done.groups["c"].members}
    carried = dict.fromkeys("stmv", "carries")
    assert roles == {"u": "makes", "b": "makes", "w": "reads", **carried}


def test_depthwise_convolutions_go_along() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) d = Conv<group=12>(c, k, b) r = Relu(d) y = Conv(r, w) }}",
        u=(12, 3, 1, 1), k=(12, 1, 3, 3), b=(12,), w=(5, 12, 1, 1),
    )  # fmt: skip
    done = check(model, {"c": 12}, roles=("makes", "carries"))
    roles = {member.value.name: member.role for member in done.groups["c"].members}
    assert roles == {"u": "makes", "k": "carries", "b": "carries", "w": "reads"}
    node = next(n for n in done.after.graph if n.outputs[0].name == "d")
    assert attribute(node, "group", 1) == len(done.chosen["c"])


def test_depthwise_convolutions_that_multiply() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) d = Conv<group=6>(c, k, b) r = Relu(d) y = Conv(r, w) }}",
        u=(6, 3, 1, 1), k=(18, 1, 3, 3), b=(18,), w=(5, 18, 1, 1),
    )  # fmt: skip
    done = check(model, {"c": 6, "d": 3}, roles=("makes", "carries"))
    assert done.weight("k").shape[0] == len(done.chosen["c"]) * len(done.chosen["d"])


def test_grouped_convolutions_lose_groups_or_the_same_places_of_each() -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) d = Conv<group=3>(c, k, b) r = Relu(d) y = Conv(r, w) }}",
        u=(12, 3, 1, 1), k=(9, 4, 3, 3), b=(9,), w=(5, 9, 1, 1),
    )  # fmt: skip
    done = check(model)
    assert sorted(done.units.values()) == [3, 3, 4]
    for name in done.units:
        check(model, only=[name])


@pytest.mark.parametrize("group", [1, 2, 4])
def test_transposed_convolutions(group: int) -> None:
    model = model_of(
        f"{IMAGE} {{ c = Conv(x, u) d = ConvTranspose<group={group}, strides=[2,2]>(c, k, b)"
        " r = Relu(d) y = Conv(r, w) }",
        u=(8, 3, 1, 1), k=(8, 12 // group, 2, 2), b=(12,), w=(5, 12, 1, 1),
    )  # fmt: skip
    check(model, roles=("makes", "carries"))


@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm(turned: tuple[int, int]) -> None:
    a, b = turned
    shape = "[3,4]" if a else "[4,3]"
    model = model_of(
        f"(float{shape} x) => (float[4,5] y) {{ c = Gemm<transA={a}, transB={b}>(x, u, d)"
        f" r = Relu(c) y = Gemm<transB={b}>(r, w) }}",
        u=(7, 3) if b else (3, 7), d=(7,), w=(5, 7) if b else (7, 5),
    )  # fmt: skip
    check(model, {"c": 7})


def test_matmul_with_bias() -> None:
    model = model_of(
        "(float[2,4,3] x) => (float[2,4,5] y) { c = MatMul(x, u) d = Add(c, b) r = Relu(d)"
        " y = MatMul(r, w) }",
        u=(3, 7), b=(7,), w=(7, 5),
    )  # fmt: skip
    check(model, {"c": 7}, roles=("makes", "carries"))


def test_weights_on_the_left() -> None:
    model = model_of(
        "(float[2,3,4] x) => (float[2,5,4] y) { c = MatMul(u, x) r = Relu(c) y = MatMul(w, r) }",
        u=(7, 3), w=(5, 7),
    )  # fmt: skip
    check(model, {"c": 7})


def test_einsum() -> None:
    model = model_of(
        '(float[2,4,3] x) => (float[2,4,5] y) { c = Einsum<equation="btc,cd->btd">(x, u)'
        ' r = Relu(c) y = Einsum<equation="btd,ed->bte">(r, w) }',
        u=(3, 7), w=(5, 7),
    )  # fmt: skip
    check(model, {"c": 7})


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("turns", [1, 2])
def test_recurrent_layers(op: str, gates: int, turns: int) -> None:
    direction = "bidirectional" if turns > 1 else "forward"
    attributes = f'hidden_size=6, direction="{direction}"'
    model = model_of(
        f"(float[5,2,3] x) => (float[5,2,4] y) {{ c = MatMul(x, q)"
        f" l, h = {op}<{attributes}>(c, u, r, b) z = Transpose<perm=[0,2,1,3]>(l)"
        ' s = Constant<value_ints=[0,0,-1]>() f = Reshape(z, s) y = MatMul(f, w) }',
        q=(3, 8), u=(turns, 6 * gates, 8), r=(turns, 6 * gates, 6), b=(turns, 12 * gates),
        w=(6 * turns, 4),
    )  # fmt: skip
    check(model, {"c": 8, "l": 6})


def test_two_lstms_with_states_and_peepholes() -> None:
    model = model_of(
        "(float[5,2,3] x) => (float[5,2,4] y) { one = Constant<value_ints=[1]>()"
        " l, h, c = LSTM<hidden_size=6>(x, u, r, b, , h0, c0, p) a = Squeeze(l, one)"
        " k, m = LSTM<hidden_size=5>(a, v, q) d = Squeeze(k, one) y = MatMul(d, w) }",
        u=(1, 24, 3), r=(1, 24, 6), b=(1, 48), h0=(1, 2, 6), c0=(1, 2, 6), p=(1, 18),
        v=(1, 20, 6), q=(1, 20, 5), w=(5, 4),
    )  # fmt: skip
    check(model, {"l": 6, "k": 5}, roles=ALL)


HEADS = """(float[2,5,12] x) => (float[2,5,7] y) {
 q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
 s = Constant<value_ints=[0,0,4,6]>() f = Constant<value_ints=[0,0,24]>()
 qr = Reshape(q, s) kr = Reshape(k, s) vr = Reshape(v, s)
 qt = Transpose<perm=[0,2,1,3]>(qr) kt = Transpose<perm=[0,2,3,1]>(kr)
 vt = Transpose<perm=[0,2,1,3]>(vr) a = MatMul(qt, kt) p = Softmax<axis=-1>(a)
 o = MatMul(p, vt) ot = Transpose<perm=[0,2,1,3]>(o) m = Reshape(ot, f) y = MatMul(m, wo) }"""


def test_attention_loses_heads_and_places_within_heads() -> None:
    model = model_of(HEADS, wq=(12, 24), wk=(12, 24), wv=(12, 24), wo=(24, 7))
    done = check(model)
    assert done.units == {"q": 4, "q/2": 6, "v": 6}
    heads = {member.value.name: member.places.shape for member in done.groups["q"].members}
    assert heads == dict.fromkeys(["wq", "wk", "wv", "wo"], (4, 6))
    inner = {member.value.name for member in done.groups["q/2"].members}
    assert inner == {"wq", "wk"}
    for name in done.units:
        check(model, only=[name])


def test_attention_of_one_product_for_queries_keys_and_values() -> None:
    text = HEADS.replace(
        "q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)",
        "n = Constant<value_ints=[24,24,24]>() qkv = MatMul(x, w) b = Add(qkv, c)"
        " q, k, v = Split<axis=-1>(b, n)",
    )
    model = model_of(text, w=(12, 72), c=(72,), wo=(24, 7))
    done = check(model, roles=("makes", "carries"))
    assert done.units == {"qkv": 4, "qkv/2": 6, "qkv/3": 6}


def test_attention_as_one_node_keeps_its_scale() -> None:
    model = model_of(
        "(float[2,5,12] x) => (float[2,5,7] y) { q = MatMul(x, wq) k = MatMul(x, wk)"
        " v = MatMul(x, wv) a = Attention<q_num_heads=4, kv_num_heads=2>(q, k, v)"
        " y = MatMul(a, wo) }",
        opset=23,
        wq=(12, 24), wk=(12, 12), wv=(12, 10), wo=(20, 7),
    )  # fmt: skip
    done = check(model, {"q": 2, "q/2": 6, "v": 5})
    node = next(n for n in done.after.graph if n.op_type == "Attention")
    assert attribute(node, "q_num_heads", 0) == 2
    assert attribute(node, "kv_num_heads", 0) == 1
    assert attribute(node, "scale", 0.0) == pytest.approx(6**-0.5)


def test_shared_weights_couple_all_that_read_them() -> None:
    model = model_of(
        "(float[2,3,8,8] x) => (float[2,5,8,8] y, float[2,4,4,4] z) { p = MaxPool<"
        "kernel_shape=[2,2], strides=[2,2]>(x) a = Conv(x, u) b = Conv(p, u) r = Relu(a)"
        " s = Relu(b) y = Conv(r, v) z = Conv(s, w) }",
        u=(9, 3, 1, 1), v=(5, 9, 1, 1), w=(4, 9, 1, 1),
    )  # fmt: skip
    done = check(model, {"a": 9})
    assert [m.value.name for m in done.groups["a"].members] == ["u", "v", "w"]


def test_shared_vectors_do_not_couple_but_are_copied() -> None:
    model = model_of(
        "(float[2,3,8,8] x) => (float[2,5,8,8] y) { a = Conv(x, u, b) r = Relu(a)"
        " c = Conv(r, v, b) s = Relu(c) y = Conv(s, w) }",
        u=(9, 3, 1, 1), b=(9,), v=(9, 9, 1, 1), w=(5, 9, 1, 1),
    )  # fmt: skip
    done = check(model, {"a": 9, "c": 9}, exact=False)
    names = {value.name for value in done.after.graph.initializers.values()}
    assert names == {"u", "v", "w", "b/a", "b/c"}
    bias = np.asarray(model.graph.initializers["b"].const_value)
    np.testing.assert_array_equal(done.weight("b/a"), bias[done.chosen["a"]])
    np.testing.assert_array_equal(done.weight("b/c"), bias[done.chosen["c"]])


def test_embeddings_lose_features_not_words() -> None:
    model = model_of(
        "(int64[2,4] x) => (float[2,4,5] y) { e = Gather(t, x) p = Gather(o, x) s = Add(e, p)"
        " r = Relu(s) y = MatMul(r, w) }",
        t=(3, 8), o=(3, 8), w=(8, 5),
    )  # fmt: skip
    check(model, {"e": 8})


def test_tied_embeddings() -> None:
    model = model_of(
        "(int64[2,4] x) => (float[2,4,9] y) { e = Gather(t, x) c = MatMul(e, u) r = Relu(c)"
        " d = Transpose(t) y = MatMul(r, d) }",
        t=(9, 8), u=(8, 8),
    )  # fmt: skip
    done = check(model, {"e": 8}, roles=("makes", "carries", "reads"))
    assert done.weight("u").shape == (len(done.chosen["e"]),) * 2


def test_inputs_and_outputs_stay() -> None:
    model = model_of("(float[2,3,4,4] x) => (float[2,6,4,4] y) { y = Conv(x, u) }", u=(6, 3, 1, 1))
    groups, notes = couplings(model)
    assert not groups
    assert [note.reason for note in notes] == [
        "its 6 channels stay: they are those of the output y"
    ]


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [4, 8])
def test_rotated_heads_lose_heads_and_turned_pairs(interleaved: int, turned: int) -> None:
    options = f"num_heads=4, interleaved={interleaved}"
    options += f", rotary_embedding_dim={turned}" if turned < 8 else ""
    model = model_of(
        "(float[2,5,3] x) => (float[2,5,6] y) { q = MatMul(x, u) k = MatMul(x, v)"
        f" a = RotaryEmbedding<{options}>(q, cos, sin) b = RotaryEmbedding<{options}>(k, cos, sin)"
        " s = Add(a, b) r = Relu(s) y = MatMul(r, w) }",
        opset=23,
        u=(3, 32),
        v=(3, 32),
        w=(32, 6),
        cos=(2, 5, turned // 2),
        sin=(2, 5, turned // 2),
    )
    done = check(model)
    assert sorted(done.units.values()) == sorted([4, turned // 2, *[8 - turned][: turned < 8]])


def test_heads_rotated_apart() -> None:
    model = model_of(
        "(float[2,5,3] x) => (float[2,5,6] y) { p = Constant<value_ints=[0]>()"
        " i = Constant<value_ints=[0,0,4,8]>() j = Constant<value_ints=[0,0,-1]>()"
        " q = MatMul(x, u) h = Reshape(q, i) t = Transpose<perm=[0,2,1,3]>(h)"
        " a = com.microsoft.RotaryEmbedding(t, p, cos, sin) b = Transpose<perm=[0,2,1,3]>(a)"
        " c = Reshape(b, j) y = MatMul(c, w) }",
        opset=17,
        u=(3, 32),
        w=(32, 6),
        cos=(9, 4),
        sin=(9, 4),
    )
    assert sorted(check(model).units.values()) == [4, 4]


def test_rotated_places_without_a_number_of_heads_stay() -> None:
    model = model_of(
        "(float[2,5,3] x) => (float[2,5,6] y) { p = Constant<value_ints=[0]>() q = MatMul(x, u)"
        " a = com.microsoft.RotaryEmbedding(q, p, cos, sin) y = MatMul(a, w) }",
        opset=17,
        u=(3, 32),
        w=(32, 6),
        cos=(9, 4),
        sin=(9, 4),
    )
    groups, notes = couplings(model)
    assert not groups
    assert "has an unknown number of heads" in notes[0].reason
