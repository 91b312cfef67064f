"""Removes what no output needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass

_ARITY_IS_MEANING = frozenset({"BatchNormalization"})


@dataclass(frozen=True)
class EliminateDeadNodes(Pass):
    """{y = f(x), z = g(x)} → {y = f(x)} where nothing reads z.

    Goes backward from the outputs through subgraphs (what only a dead If read is dead too) and
    functions, drops functions nobody calls, and trims optional outputs nobody reads (an unread
    ``Indices`` keeps MaxPool out of ONNX Runtime's fast layout). Not BatchNormalization's: their
    number selects training before opset 14.
    """

    exactness = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Remove dead nodes, trim dead outputs, drop functions that are not called."""
        yield from _remove_dead(model)
        for node, version in edit.nodes_with_opset(model):
            yield from _trim_outputs(node, version)
        functions = dict(model.functions)
        if not functions:
            return
        RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        for identifier, function in functions.items():
            if identifier not in model.functions:
                yield Note.applied(function.name, "no node calls this function")


def _remove_dead(model: ir.Model) -> Iterator[Note]:
    pending = list(edit.all_nodes(model))
    while pending:
        node = pending.pop()
        if node.graph is None or any(_is_needed(out) for out in node.outputs):
            continue
        yield Note.applied(node, f"nothing reads this {node.op_type}")
        producers = (value.producer() for value in edit.remove(node))
        pending.extend(producer for producer in producers if producer is not None)


def _trim_outputs(node: ir.Node, version: int) -> Iterator[Note]:
    unread = [out for out in node.outputs if _is_unread(out)]
    if not unread or node.domain or node.op_type in _ARITY_IS_MEANING:
        return
    optional = _optional_outputs(node.op_type, version)
    trimmed = [out for out in unread if out.index() in optional]
    for out in trimmed:
        yield Note.applied(node, f"nothing reads its optional output {out.name}")
        out.name = ""
    if trimmed:
        used = max((i for i, out in enumerate(node.outputs) if out.name), default=-1)
        node.resize_outputs(used + 1)


def _is_unread(value: ir.Value) -> bool:
    return bool(value.name) and not _is_needed(value)


def _is_needed(value: ir.Value) -> bool:
    return edit.use_count(value) > 0 or value.is_graph_output()


def _optional_outputs(op_type: str, version: int) -> frozenset[int]:
    if not onnx.defs.has(op_type):
        return frozenset()
    try:
        schema = onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return frozenset()
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return frozenset(i for i, out in enumerate(schema.outputs) if out.option == optional)
