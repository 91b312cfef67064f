"""recognize-sigmoid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._algebra import FIRST_OPSET, ONE, Monomial, expand, leak, power, readers
from onnxopt_passes.fuse._gate import arguments
from onnxopt_passes.fuse._shape import Layouts


@dataclass(frozen=True)
class RecognizeSigmoid(Pass):
    """``1/(1 + exp(-x)) = Sigmoid(x)``; ``a/(1 + exp(-x)) = a·Sigmoid(x)``.

    And ``exp(x)/(1 + exp(x))``, which no longer overflows. Nothing else may read what lies in
    between. ``x/(1 + exp(-x))`` so becomes the pair of Sigmoid and Mul that runtimes know as SiLU.
    """

    looks_for = frozenset({"Exp"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Exp."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in list(nodes_with_opset(model)):
            if version >= FIRST_OPSET and node.graph is not None and is_op(node, "Exp"):
                found = _match(layouts, node)
                if found is not None:
                    yield _replace(editor, found)


@dataclass(frozen=True)
class _Match:
    """``last`` computes ``factor·sigmoid(source)``; no factor is 1."""

    source: ir.Value
    factor: ir.Value | None
    nodes: frozenset[ir.Node]
    last: ir.Node


def _match(layouts: Layouts, node: ir.Node) -> _Match | None:
    value = node.outputs[0]
    for total in readers(value, ("Add",), most=2):
        below = expand(total.outputs[0], {value})
        if below is None or dict(below.terms) != {ONE: 1.0, power(value, 1): 1.0}:
            continue
        if not _keeps_rank(layouts, value, below.constant_rank):
            continue
        for last in readers(total.outputs[0], ("Div", "Reciprocal", "Pow", "Mul"), most=2):
            found = _quotient(layouts, node, total, last)
            if found is not None:
                nodes = found.nodes | below.nodes | {node}
                return _Match(found.source, found.factor, nodes, last)
    return None


def _quotient(layouts: Layouts, node: ir.Node, total: ir.Node, last: ir.Node) -> _Match | None:
    """What ``last`` makes of ``exp(argument)`` and ``total = 1 + exp(argument)``."""
    value, below, argument = node.outputs[0], total.outputs[0], node.inputs[0]
    quotient = expand(last.outputs[0], {value, below})
    terms = {} if quotient is None else dict(quotient.terms)
    if quotient is not None and argument is not None and terms == {_over(value, below): 1.0}:
        fits = _keeps_rank(layouts, argument, quotient.constant_rank)
        return _Match(argument, None, quotient.nodes, last) if fits else None
    negated = _negated(layouts, node)
    if negated is None:
        return None
    source, nodes = negated
    if quotient is not None and terms == {power(below, -1): 1.0}:
        fits = _keeps_rank(layouts, source, quotient.constant_rank)
        return _Match(source, None, nodes | quotient.nodes, last) if fits else None
    numerator = last.inputs[0] if is_op(last, "Div") else None
    if numerator is None or numerator is below or last.inputs[1] is not below:
        return None
    return _Match(source, numerator, nodes | {last}, last)


def _over(value: ir.Value, below: ir.Value) -> Monomial:
    return power(value, 1) | power(below, -1)


def _negated(layouts: Layouts, node: ir.Node) -> tuple[ir.Value, frozenset[ir.Node]] | None:
    """The value of whose negative a node computes the exponential."""
    for source, argument in arguments(node):
        if dict(argument.terms) != {power(source, 1): -1.0}:
            continue
        if _keeps_rank(layouts, source, argument.constant_rank):
            return source, argument.nodes
    return None


def _keeps_rank(layouts: Layouts, source: ir.Value, constant_rank: int) -> bool:
    return constant_rank == 0 or (layouts[source].rank or 0) >= constant_rank


def _replace(editor: Editor, found: _Match) -> Note:
    last, base = found.last, label(found.last)
    read = leak(found.nodes, last)
    if read is not None:
        return Note.refused(last, f"{read.name} is read elsewhere too")
    origin = sorted(found.nodes, key=label)
    new = editor.insert_before(last, "Sigmoid", [found.source], f"{base}/sigmoid", origin=origin)
    if found.factor is not None:
        new.type = found.source.type
        new.shape = found.source.shape
        factors = [found.factor, new]
        new = editor.insert_before(last, "Mul", factors, f"{base}/product", origin=origin)
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(found.nodes)} nodes became Sigmoid")
