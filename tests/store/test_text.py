"""ONNX text in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.helper as oh
import pytest

from onnxopt.errors import ModelError
from onnxopt.store import from_text, load, same_graph, to_text

GATED = """
<ir_version: 9, opset_import: ["" : 18, "local" : 1]>
gated (float[N, 4] x, bool flag) => (float[N, 4] y)
<float[4] w = {1, 2, 3, 4}, int64[2] "shape/of" = {0, -1}>
{
    h = Add (x, w)
    "h/2" = local.Double <factor = 2.5> (h)
    y = If (flag) <
        then_branch = yes () => (float[N, 4] a) { a = Relu ("h/2") },
        else_branch = no () => (float[N, 4] b) { b = Reshape (h, "shape/of") }
    >
}
<domain: "local", opset_import: ["" : 18]>
Double <factor: float = 2.0> (p) => (q) { q = Elu <alpha: float = @factor> (p) }
"""


def test_reads_graphs_branches_and_functions() -> None:
    model = from_text(GATED)
    assert [node.op_type for node in model.graph] == ["Add", "Double", "If"]
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), [1, 2, 3, 4])
    assert list(model.functions) == [("local", "Double", "")]


def test_reads_back_what_it_writes() -> None:
    model = from_text(GATED.replace(" <factor: float = 2.0> (p)", " <factor> (p)"))
    text = to_text(model)
    assert text.count("float[4] w") == 1
    assert same_graph(model, from_text(text)) is None


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnxtxt"
    path.write_text(GATED, encoding="utf-8")
    assert same_graph(load(path), from_text(GATED)) is None
    path.write_text(GATED.replace("Relu (", "Relu ["), encoding="utf-8")
    with pytest.raises(ModelError, match=r"model.onnxtxt:9:\d+: "):
        load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="is no UTF-8 text"):
        load(path)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "golden:1:"),
        ("hello", "golden:1:6: "),
        (GATED.replace("opset_import", "opset", 1), "golden:2:"),
        (GATED.replace("h = Add", "h = Add Add"), "golden:6:"),
        (GATED.replace("float[4] w", "flat[4] w"), "golden:4:"),
        (GATED[: len(GATED) // 2], "golden:"),
        (GATED.replace("Add (x, w)", "Add (x, ghost)"), "golden: node 'Add' reads 'ghost'"),
        (GATED.replace("{1, 2, 3, 4}", "{1, 2, 3}"), "golden: tensor 'w' has 3 values"),
    ],
)
def test_mistakes_have_a_place(text: str, start: str) -> None:
    with pytest.raises(ModelError) as caught:
        from_text(text, "golden")
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_long_weights_are_elided(chain: Any, model_of: Any) -> None:
    text = to_text(load(chain()))
    assert "float[600] w0 = {\N{HORIZONTAL ELLIPSIS}}" in text
    assert len(text) < 1000
    assert len(to_text(load(chain()), elide_weights=False)) > 10_000
    constant = oh.make_node("Constant", [], ["y"], value=oh.make_tensor("v", 1, [99], [0.5] * 99))
    assert "\N{HORIZONTAL ELLIPSIS}" in to_text(load(model_of([constant])))
