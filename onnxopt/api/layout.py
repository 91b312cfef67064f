"""How convolutions lie in the device's memory: tried where the target names several layouts."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from onnxopt.api.optimizing import time_both
from onnxopt.api.workbench import Workbench
from onnxopt.graph import all_nodes
from onnxopt.runtime import Layout, SessionConfig

_LAID_OUT = frozenset({"Conv", "ConvTranspose"})


def layouts_for(bench: Workbench, model: ir.Model) -> tuple[Layout, ...]:
    """The layouts that may matter to a model on the bench's target, the usual one first."""
    asked = bench.target.session.layouts
    has_any = any(node.op_type in _LAID_OUT for node in all_nodes(model))
    return asked if has_any else asked[:1]


def fastest_layout(bench: Workbench, model: ir.Model) -> Layout:
    """The layout in which a model is surely faster than in the usual one, else that; measured."""
    layouts = layouts_for(bench, model)
    if len(layouts) == 1:
        return layouts[0]
    sessions: dict[str, SessionConfig] = {
        layout: replace(bench.session, layout=layout) for layout in layouts
    }
    timing = time_both(bench, dict.fromkeys(sessions, model), sessions=sessions)
    best = max(timing.ratios, key=lambda ratio: ratio.speedup)
    return next(
        (layout for layout in layouts if best.is_faster and best.candidate == layout), layouts[0]
    )
