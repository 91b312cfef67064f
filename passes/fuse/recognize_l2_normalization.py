"""recognize-l2-normalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._algebra import (
    ARITHMETIC,
    FIRST_OPSET,
    expand,
    float_type,
    leak,
    power,
    readers,
)
from onnxopt_passes.fuse._normalization import squared
from onnxopt_passes.fuse._ramp import RUNNABLE
from onnxopt_passes.fuse._reduction import Reduction, misaligned, same_order
from onnxopt_passes.fuse._shape import Layouts

_WALKED = (*ARITHMETIC, "Expand", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class RecognizeL2Normalization(Pass):
    """``x/√(sum(x²)) = LpNormalization(x; p=2)`` along one axis.

    The norm may be ReduceL2 or the root of a sum of squares. A lower bound or an addend to the
    norm has no place in the operator: refused. Where the norm is 0 the result is 0 and no longer
    NaN. ONNX Runtime's CPU provider computes the operator no faster than the parts.
    """

    looks_for = frozenset({"ReduceL2", "Sqrt"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each norm."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in list(nodes_with_opset(model)):
            if version < FIRST_OPSET or node.graph is None:
                continue
            norm = _norm(node, layouts)
            note = None if norm is None else _try(editor, norm)
            if note is not None:
                yield note


@dataclass(frozen=True)
class _Norm:
    """``value`` is the norm of ``source`` along one axis."""

    source: ir.Value
    value: ir.Value
    row: Reduction
    nodes: frozenset[ir.Node]


def _norm(node: ir.Node, layouts: Layouts) -> _Norm | None:
    row = Reduction.read(node, layouts, "ReduceL2")
    if row is not None:
        found = _Norm(row.source, row.result, row, frozenset({node}))
        return found if len(row.axes) == 1 else None
    inner = node.inputs[0] if is_op(node, "Sqrt") else None
    producer = None if inner is None else inner.producer()
    row = Reduction.read(producer, layouts, "ReduceSum", "ReduceSumSquare")
    base, before = (None, frozenset[ir.Node]()) if row is None else squared(row)
    if row is None or base is None or len(row.axes) > 1:
        return None
    return _Norm(base, node.outputs[0], row, before | {node, row.node})


def _try(editor: Editor, norm: _Norm) -> Note | None:
    bound = next((use.node for use in norm.value.uses() if is_op(use.node, "Clip", "Max")), None)
    if bound is not None:
        return Note.refused(norm.row.node, f"{label(bound)} bounds the norm from below")
    wanted = {power(norm.source, 1) | power(norm.value, -1): 1.0}
    refusal = None
    for last in reversed(readers(norm.value, _WALKED)):
        quotient = expand(last.outputs[0], {norm.source, norm.value}, same_order)
        if quotient is None or dict(quotient.terms) != wanted or same_order(last) is not None:
            continue
        if quotient.constant_rank > 0:
            continue
        nodes = quotient.nodes | norm.nodes
        odd, read = misaligned(nodes, [norm.row], norm.source), leak(nodes, last)
        dtype = float_type(nodes)
        if odd is not None:
            reason = f"the shape of {odd.name} does not fit {norm.source.name}"
            refusal = Note.refused(last, reason)
            continue
        if read is not None:
            return Note.refused(last, f"{read.name} is read elsewhere too")
        if dtype not in RUNNABLE:
            return Note.refused(last, f"no runtime computes LpNormalization in {dtype}")
        return _replace(editor, norm, nodes, last)
    return refusal


def _replace(editor: Editor, norm: _Norm, nodes: frozenset[ir.Node], last: ir.Node) -> Note:
    name, origin = f"{label(last)}/lp_norm", sorted(nodes, key=label)
    attributes = {"axis": norm.row.axes[0], "p": 2}
    new = editor.insert_before(
        last, "LpNormalization", [norm.source], name, attributes, origin=origin
    )
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(nodes)} nodes became LpNormalization")
