"""Puts the bodies of model-local functions in place of their calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._options import bind_options

_PLENTY = 1 << 40

Id = ir.OperatorIdentifier


@dataclass(frozen=True)
class InlineFunctions(Pass):
    """f(x) with f(a) = {g(a)} → g(x), for the functions that the model itself defines.

    A function holds no weights, and in it only what all calls have in common is known, so passes
    see less of one. A function stays where it takes graphs as attributes, where one of its ops
    means something else in the model's opset, or where it is called more than once and the model
    would grow beyond the limit. In one that stays, an option that is the same in all calls is
    written into the body. Values that would hide another of their name in a graph around them get
    new names.

    Attributes:
        max_nodes: The most nodes that the model may have afterwards, where it grows at all.
    """

    exactness = Exactness.BITWISE
    max_nodes: int = 20_000

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Check each function, inline those that pass, and make names unique again."""
        if not model.functions:
            return
        yield from self._inline(model)
        yield from bind_options(model)

    def _inline(self, model: ir.Model) -> Iterator[Note]:
        chosen: dict[Id, ir.Function] = {}
        for key, function in model.functions.items():
            reason = _obstacle(model, function)
            if reason:
                yield Note.refused(function.name, reason)
            else:
                chosen[key] = function
        calls = Counter(node.op_identifier() for node in edit.all_nodes(model))
        total = _size(model, chosen)
        if total > max(self.max_nodes, sum(calls.values())):
            for key in [key for key in chosen if calls[key] > 1]:
                reason = f"is called {calls[key]} times; with all inlined, there were {total} nodes"
                yield Note.refused(chosen.pop(key).name, reason)
        chosen = {key: function for key, function in chosen.items() if calls[key]}
        if not chosen:
            return
        names = ", ".join(sorted(function.name for function in chosen.values()))
        for function in chosen.values():
            _take_over_opsets(model, function)
        InlinePass(criteria=lambda function: function.identifier() in chosen)(model)
        _unhide(model)
        yield Note.applied(model.graph.name or "graph", f"functions {names} are inlined")


def _obstacle(model: ir.Model, function: ir.Function) -> str:
    """Why the body of a function cannot stand elsewhere in the model."""
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    if any(attr.type in kinds for attr in function.attributes.values()):
        return "takes a graph as an attribute"
    for domain, version in function.opset_imports.items():
        own = model.opset_imports.get(domain, version)
        if own == version:
            continue
        ops = {node.op_type for node in function.all_nodes() if node.domain == domain}
        changed = sorted(op for op in ops if not _means_the_same(op, domain, version, own))
        if changed:
            shown = domain or "ai.onnx"
            return f"needs opset {version} of {shown} for {changed[0]}, the model has {own}"
    return ""


def _means_the_same(op_type: str, domain: str, one: int, other: int) -> bool:
    try:
        found = [onnx.defs.get_schema(op_type, version, domain) for version in (one, other)]
    except onnx.defs.SchemaError:
        return False
    return found[0].since_version == found[1].since_version


def _take_over_opsets(model: ir.Model, function: ir.Function) -> None:
    for domain in function.opset_imports:
        own = model.opset_imports.get(domain)
        if own is not None:
            function.opset_imports[domain] = own


def _size(model: ir.Model, chosen: dict[Id, ir.Function]) -> int:
    """Number of nodes with every call of the chosen functions written out."""
    sizes: dict[Id, int] = {}

    def expanded(nodes: Iterable[ir.Node]) -> int:
        total = 0
        for node in nodes:
            key = node.op_identifier()
            if key in chosen and key not in sizes:
                sizes[key] = expanded(chosen[key].all_nodes())
            total += sizes.get(key, 1)
        return min(total, _PLENTY)

    kept = [f.graph for key, f in model.functions.items() if key not in chosen]
    return sum(expanded(root.all_nodes()) for root in (model.graph, *kept))


def _unhide(model: ir.Model) -> None:
    """Rename what is defined in a subgraph under a name that a graph around it defines too."""
    editor = Editor(model)
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        _rename_hiding(root, frozenset(), editor)


def _rename_hiding(graph: ir.Graph, outer: frozenset[str], editor: Editor) -> None:
    inner = [graph for node in graph for graph in edit.subgraphs(node)]
    if not outer and not inner:
        return
    weights = [value for value in graph.initializers.values() if not value.is_graph_input()]
    own = [*graph.inputs, *weights, *(value for node in graph for value in node.outputs)]
    for value in own:
        if value.name and value.name in outer:
            value.name = editor.fresh(value.name)
    names = outer | {value.name for value in own if value.name}
    for subgraph in inner:
        _rename_hiding(subgraph, names, editor)
