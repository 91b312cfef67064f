"""recognize-log-softmax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, attribute, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._algebra import ARITHMETIC, FIRST_OPSET, expand, leak, power, readers
from onnxopt_passes.fuse._reduction import Reduction, misaligned, same_order
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.fuse._softmax import axis_attribute, read_exponentials

_WALKED = (*ARITHMETIC, "Expand", "Reshape", "Squeeze", "Unsqueeze")
_OLD_DEFAULT_AXIS = 1
_AXIS_OPSET = 13


@dataclass(frozen=True)
class RecognizeLogSoftmax(Pass):
    """``ln(Softmax(x)) = LogSoftmax(x)``; ``x - max(x) - ln(sum(exp(x - max(x))))`` too.

    And ``x - ReduceLogSumExp(x)``, along one axis. The result is finite where the softmax
    underflows. Nothing else may read what lies in between.
    """

    looks_for = frozenset({"Log", "ReduceLogSumExp"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Log and each ReduceLogSumExp."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in list(nodes_with_opset(model)):
            if version < FIRST_OPSET or node.graph is None:
                continue
            note = _try(editor, layouts, node, version)
            if note is not None:
                yield note


def _try(editor: Editor, layouts: Layouts, node: ir.Node, version: int) -> Note | None:
    if is_op(node, "Log") and node.inputs[0] is not None:
        softmax = node.inputs[0].producer()
        if is_op(softmax, "Softmax") and softmax is not None:
            return _of_softmax(editor, softmax, node, version)
    for found in _log_sums(node, layouts):
        note = _of_sum(editor, layouts, found, version)
        if note is not None:
            return note
    return None


@dataclass(frozen=True)
class _LogSum:
    """``total = ln(sum(exp(argument)))`` along one axis; ``source`` may differ from the argument
    by what is constant along it.
    """

    source: ir.Value
    argument: ir.Value
    total: ir.Value
    rows: tuple[Reduction, ...]
    nodes: frozenset[ir.Node]

    @property
    def axis(self) -> int:
        return self.rows[0].axes[0]


def _of_softmax(editor: Editor, softmax: ir.Node, last: ir.Node, version: int) -> Note | None:
    if only_consumer(softmax.outputs[0]) is not last:
        return Note.refused(last, f"{softmax.outputs[0].name} is read elsewhere too")
    attr = softmax.attributes.get("axis")
    if attr is not None and attr.is_ref():
        return Note.refused(last, "the axis is a parameter of the function")
    default = -1 if version >= _AXIS_OPSET else _OLD_DEFAULT_AXIS
    axis = int(str(attribute(softmax, "axis", default)))
    return _replace(editor, softmax.inputs[0], frozenset({softmax, last}), last, axis)


def _log_sums(node: ir.Node, layouts: Layouts) -> Iterator[_LogSum]:
    row = Reduction.read(node, layouts, "ReduceLogSumExp")
    if row is not None and len(row.axes) == 1:
        yield _LogSum(row.source, row.source, row.result, (row,), frozenset({node}))
    for found in read_exponentials(node, layouts):
        summed = found.total.result
        for log in readers(summed, ("Log", "Expand", "Reshape", "Unsqueeze"), most=3):
            argument = log.inputs[0] if is_op(log, "Log") else None
            total = None if argument is None else expand(argument, {summed}, same_order)
            if total is not None and dict(total.terms) == {power(summed, 1): 1.0}:
                nodes = found.nodes | total.nodes | {log}
                yield _LogSum(found.source, found.argument, log.outputs[0], found.rows, nodes)


def _of_sum(editor: Editor, layouts: Layouts, found: _LogSum, version: int) -> Note | None:
    argument, total = found.argument, found.total
    wanted = {power(argument, 1): 1.0, power(total, 1): -1.0}
    refusal = None
    for last in reversed(readers(total, _WALKED)):
        difference = expand(last.outputs[0], {argument, total}, same_order)
        if difference is None or dict(difference.terms) != wanted or difference.constant_rank > 0:
            continue
        if same_order(last) is not None:
            continue
        nodes = difference.nodes | found.nodes
        odd, read = misaligned(nodes, found.rows, found.source), leak(nodes, last)
        if odd is not None:
            reason = f"the shape of {odd.name} does not fit {found.source.name}"
            refusal = Note.refused(last, reason)
            continue
        if read is not None:
            return Note.refused(last, f"{read.name} is read elsewhere too")
        axis = axis_attribute(found.axis, layouts[found.source].rank, version)
        if isinstance(axis, str):
            return Note.refused(last, axis)
        return _replace(editor, found.source, nodes, last, axis)
    return refusal


def _replace(
    editor: Editor, source: ir.Value | None, nodes: frozenset[ir.Node], last: ir.Node, axis: int
) -> Note:
    name = f"{label(last)}/log_softmax"
    origin = sorted(nodes, key=label)
    new = editor.insert_before(last, "LogSoftmax", [source], name, {"axis": axis}, origin=origin)
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(nodes)} nodes became LogSoftmax")
