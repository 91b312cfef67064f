"""Puts the bodies of model-local functions in place of their calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass

_PLENTY = 1 << 40


@dataclass(frozen=True)
class InlineFunctions(Pass):
    """f(x) with f(a) = {g(a)} → g(x), for every function that the model itself defines.

    Nothing is known of shapes inside a function, and it holds no weights, so most passes see
    little of one. All or nothing: functions that call one another in a circle, need other opsets
    than the model, or grow beyond the limit stay.

    Attributes:
        max_nodes: The most nodes that the model may have afterwards, where it grows at all.
    """

    exactness = Exactness.BITWISE
    max_nodes: int = 20_000

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Check what it would come to, then inline."""
        if not model.functions:
            return
        name = model.graph.name or "graph"
        obstacle = _mismatch(model) or self._growth(model)
        if obstacle:
            yield Note.refused(name, obstacle)
            return
        called = [f.name for f in model.functions.values()]
        result = InlinePass()(model)
        if result.modified:
            yield Note.applied(name, f"functions {', '.join(sorted(called))} are inlined")

    def _growth(self, model: ir.Model) -> str:
        """Why inlining would not end, or end too large."""
        sizes: dict[ir.OperatorIdentifier, int | None] = {}
        total = _size(model.graph.all_nodes(), model.functions, sizes)
        if total is None:
            return "its functions call one another in a circle"
        if total > max(self.max_nodes, sum(1 for _ in edit.all_nodes(model))):
            return f"its functions would grow to {total} nodes"
        return ""


def _mismatch(model: ir.Model) -> str:
    imports = model.opset_imports
    for function in model.functions.values():
        for domain, version in function.opset_imports.items():
            if imports.get(domain, version) != version:
                return f"function {function.name} needs opset {version} of {domain or 'ai.onnx'}"
    return ""


def _size(
    nodes: Iterator[ir.Node],
    functions: Mapping[ir.OperatorIdentifier, ir.Function],
    sizes: dict[ir.OperatorIdentifier, int | None],
) -> int | None:
    """Number of nodes with every call written out; None for a circle."""
    total = 0
    for node in nodes:
        identifier = node.op_identifier()
        if identifier not in functions:
            total += 1
            continue
        if identifier not in sizes:
            sizes[identifier] = None
            sizes[identifier] = _size(functions[identifier].all_nodes(), functions, sizes)
        inner = sizes[identifier]
        if inner is None:
            return None
        total = min(total + inner, _PLENTY)
    return total
