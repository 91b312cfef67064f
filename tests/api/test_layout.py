"""Which layout a model that gave up precision ships in: tried where a target names several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from onnxopt import store
from onnxopt.api import RunOptions, layout
from onnxopt.api.layout import fastest_layout, layouts_for
from onnxopt.api.workbench import Workbench

CONV = store.from_text(
    """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2,4,4] x) => (float[1,2,4,4] y) <float[2,2,1,1] w = {1, 2, 3, 4}>
    { y = Conv(x, w) }"""
)
NEG = store.from_text(
    '<ir_version: 8, opset_import: ["" : 17]>g (float[1,4] x) => (float[1,4] y) { y = Neg(x) }'
)


@pytest.fixture
def bench() -> Workbench:
    return Workbench.open(CONV, None, RunOptions(target="cuda"))


def test_layouts_matter_to_convolutions_alone(bench: Workbench) -> None:
    assert layouts_for(bench, CONV) == ("nchw", "nhwc")
    assert layouts_for(bench, NEG) == ("nchw",)
    assert bench.session.layout == "nchw"
    assert bench.at(layout="nhwc").session.layout == "nhwc"
    assert layouts_for(bench.at(layout="nhwc"), CONV) == ("nhwc",)


@pytest.mark.parametrize(("is_faster", "wanted"), [(True, "nhwc"), (False, "nchw")])
def test_another_layout_has_to_be_surely_faster(
    bench: Workbench, is_faster: bool, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def time_both(bench: Workbench, models: Any, sessions: Any) -> Any:
        asked.append({name: session.layout for name, session in sessions.items()})
        ratio = SimpleNamespace(candidate="nhwc", is_faster=is_faster, speedup=1.5)
        return SimpleNamespace(ratios=[ratio])

    monkeypatch.setattr(layout, "time_both", time_both)
    assert fastest_layout(bench, CONV) == wanted
    assert fastest_layout(bench, NEG) == "nchw"
    assert asked == [{"nchw": "nchw", "nhwc": "nhwc"}]
