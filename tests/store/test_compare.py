"""Graph equality: what counts, what does not, and how a difference reads."""

from __future__ import annotations

import random

import onnx_ir as ir
import pytest

from onnxopt.store import content_hash, from_text, load, same_graph, serialize, structural_hash

HEADER = '<ir_version: 9, opset_import: ["" : 18, "local" : 1]>\n'
BASE = (
    HEADER
    + """graph (float[N] x, bool flag) => (float[N] y, float[N] z)
<float[2] w = {1.0, 2.0}, float[1] spare = {5.0}>
{
    a = Add (x, w)
    b = Mul (x, w)
    c, d = local.Pair <scale = 1.5, names = ["p", "q"]> (a, b)
    e = If (flag) <
        then_branch = yes () => (float[N] s) { s = Sub (c, d) },
        else_branch = no () => (float[N] t) { t = Neg (c) }
    >
    k = Constant <value = float[2] {3.0, 4.0}> ()
    y = Add (e, k)
    z = Clip (d, , k)
    dead = Relu (a)
}
<domain: "local", opset_import: ["" : 18]>
Pair <scale: float = 1.0, names> (p, q) => (m, n) { m = Elu <alpha: float = @scale> (p)
 n = Identity (q) }
"""
)


def differs(*changes: tuple[str, str], names: bool = True) -> str:
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    there = same_graph(from_text(BASE), from_text(text), names=names)
    back = same_graph(from_text(text), from_text(BASE), names=names)
    assert there is not None and back is not None
    assert "\n" not in there
    return there


def test_equal() -> None:
    for names in (True, False):
        assert same_graph(from_text(BASE), from_text(BASE), names=names) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ir_version: 9", "ir_version: 8", "IR version: 9 against 8"),
        ('["" : 18, "local" : 1]>\ngraph', '["" : 17, "local" : 1]>\ngraph', "opset imports: "),
        ("float[N] x,", "float[M] x,", "shape of 'x': ['N'] against ['M']"),
        ("float[N] x,", "double[N] x,", "type of 'x': FLOAT against DOUBLE"),
        ("{1.0, 2.0}", "{1.0, 2.5}", "weight 'w' differs by up to 0.5"),
        ("{3.0, 4.0}", "{3.0, 4.5}", "attribute value of Constant computing 'k' differs by"),
        ("float[2] w", "double[2] w", "type of weight 'w': FLOAT against DOUBLE"),
        ("{5.0}", "{6.0}", "weight 'spare' differs by up to 1"),
        ("b = Mul", "b = Sub", "input 1 of Pair computing 'c', 'd': Mul against Sub"),
        ("scale = 1.5", "scale = 1.25", "attribute scale of Pair computing 'c', 'd': 1.5"),
        ("scale = 1.5, ", "", "attribute of Pair computing 'c', 'd' scale only in the first"),
        ('"q"]', '"r"]', "attribute names of Pair"),
        ("Sub (c, d)", "Sub (d, c)", "input 0 of Sub computing 's': "),
        ("Clip (d, , k)", "Clip (d, k, k)", "input 1 of Clip computing 'z': nothing against 'k'"),
        ("Clip (d, , k)", "Clip (d)", "number of inputs of Clip computing 'z': 3 against 1"),
        ("dead = Relu (a)", "dead = Elu (a)", "nodes that no output needs"),
        ("    dead = Relu (a)\n", "", "nodes that no output needs: ['Relu'] against []"),
        ("scale: float = 1.0", "scale: float = 2.0", "attribute scale of function 'Pair'"),
        ("m = Elu", "m = Celu", "output 'm': Elu against Celu"),
        ("local.Pair", "Pair", "operator Pair computing 'c', 'd'"),
        ("z = Clip (d, , k)", "z = Clip (x, , k)", "input 0 of Clip computing 'z'"),
    ],
)
def test_differences(old: str, new: str, message: str) -> None:
    for names in (True, False):
        assert message in differs((old, new), names=names)


def test_inner_names() -> None:
    renamed = (("a = Add", "sum = Add"), ("(a, b)", "(sum, b)"), ("Relu (a)", "Relu (sum)"))
    assert "'a' against 'sum'" in differs(*renamed)
    text = BASE
    for old, new in renamed:
        text = text.replace(old, new)
    assert same_graph(from_text(BASE), from_text(text), names=False) is None
    assert "graph outputs" in differs(
        ("y = Add", "yy = Add"), ("float[N] y", "float[N] yy"), names=False
    )


def test_one_value_in_place_of_two() -> None:
    two = HEADER + "g (float[N] x) => (float[N] y) { a = Relu (x)\n b = Relu (x)\n y = Add (a, b) }"
    one = HEADER + "g (float[N] x) => (float[N] y) { a = Relu (x)\n y = Add (a, a) }"
    for names in (True, False):
        assert same_graph(from_text(two), from_text(one), names=names) is not None
        assert same_graph(from_text(one), from_text(two), names=names) is not None


def test_what_does_not_count() -> None:
    plain, decorated = from_text(BASE), from_text(BASE)
    decorated.doc_string = "doc"
    decorated.producer_name = "somebody"
    decorated.metadata_props["k"] = "v"
    for index, node in enumerate(decorated.graph):
        node.name = f"n{index}"
        node.doc_string = "doc"
        node.metadata_props["k"] = "v"
        for value in node.outputs:
            if not value.is_graph_output():
                value.type = ir.TensorType(ir.DataType.FLOAT)
                value.shape = ir.Shape([7])
    assert same_graph(plain, decorated) is None


def test_any_valid_order() -> None:
    reference = from_text(BASE)
    shuffler = random.Random(3)
    for _ in range(10):
        model = load(serialize(reference))
        nodes = list(model.graph)
        model.graph.remove(nodes)
        shuffler.shuffle(nodes)
        model.graph.extend(nodes)
        model.graph.sort()
        for names in (True, False):
            assert same_graph(reference, model, names=names) is None


def test_tolerance() -> None:
    near = from_text(BASE.replace("{1.0, 2.0}", "{1.0, 2.001}").replace("= 1.5", "= 1.5001"))
    assert same_graph(from_text(BASE), near, rtol=1e-3) is None
    assert same_graph(from_text(BASE), near, rtol=1e-4) == "weight 'w' differs by up to 0.001"
    far = from_text(BASE.replace("{5.0}", "{5.5}"))
    assert same_graph(from_text(BASE), far, atol=0.5) is None


def test_nan_equals_nan() -> None:
    text = BASE.replace("{1.0, 2.0}", "{nan, inf}").replace("scale = 1.5", "scale = nan")
    assert same_graph(from_text(text), from_text(text)) is None
    assert same_graph(from_text(text), from_text(text), rtol=1e-3) is None


def test_deep_graphs_need_no_recursion() -> None:
    lines = [f"v{i + 1} = Relu (v{i})" for i in range(3000)]
    text = HEADER + "g (float[N] v0) => (float[N] v3000) {" + "\n".join(lines) + "}"
    assert same_graph(from_text(text), from_text(text)) is None


def test_hashes_see_what_the_comparison_sees() -> None:
    base = from_text(BASE)
    for old, new in (
        ("ir_version: 9", "ir_version: 8"),
        ("float[N] x,", "float[M] x,"),
        ("{1.0, 2.0}", "{1.0, 2.5}"),
        ("{3.0, 4.0}", "{3.0, 4.5}"),
        ("b = Mul", "b = Sub"),
        ("scale = 1.5", "scale = 1.25"),
        ("Sub (c, d)", "Sub (d, c)"),
        ("Clip (d, , k)", "Clip (d, k)"),
        ("m = Elu", "m = Celu"),
        ("scale: float = 1.0", "scale: float = 2.0"),
    ):
        changed = from_text(BASE.replace(old, new))
        assert structural_hash(base) != structural_hash(changed)
        assert content_hash(base) != content_hash(changed)
