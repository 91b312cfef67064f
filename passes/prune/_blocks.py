"""The residual blocks of a graph: what can be left out, with what it reads standing in for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import is_op, label, only_consumer, subgraphs
from onnxopt_passes.prune._coupling_pointwise import POINTWISE

_NORMS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
_PAIR = 2


@dataclass(frozen=True, eq=False)
class Block:
    """``y = x + f(x)``, or ``norm(x + f(x))`` where ``x`` has been normalized alike.

    Attributes:
        name: Of the node that makes the sum.
        entry: ``x``.
        exit: ``y``.
        nodes: Those that go when ``y`` is ``x``, in graph order.
    """

    name: str
    entry: ir.Value
    exit: ir.Value
    nodes: tuple[ir.Node, ...]


def find_blocks(model: ir.Model, sizes: Mapping[str, int]) -> Iterator[Block]:
    """The residual blocks of the main graph, in graph order.

    What computes place by place only, as ``x + 0.04 x^3`` inside an activation, is none.

    Args:
        model: The model.
        sizes: Elements of each tensor on a sample, by name.
    """
    for node in model.graph:
        if not is_op(node, "Add", "Sum") or len(node.inputs) != _PAIR:
            continue
        first, second = node.inputs
        for entry, branch in ((first, second), (second, first)):
            if entry is None or branch is None or entry is branch:
                continue
            inner = _between(entry, branch, node)
            if _mixes(inner) and _are_alike(entry, node.outputs[0], sizes):
                yield _block(node, entry, inner)
                break


def _mixes(inner: set[ir.Node]) -> bool:
    """Whether some node does more than compute place by place."""
    return any(not is_op(node, "Constant", *POINTWISE) for node in inner)


def _block(node: ir.Node, entry: ir.Value, inner: set[ir.Node]) -> Block:
    reader, maker = only_consumer(node.outputs[0]), entry.producer()
    is_normal = is_op(reader, *_NORMS) and is_op(maker, *_NORMS)
    end = reader if reader is not None and is_normal and len(reader.outputs) == 1 else node
    gone = {*inner, node, end}
    graph = node.graph
    nodes = tuple(one for one in graph or () if one in gone)
    return Block(label(node), entry, end.outputs[0], nodes)


def _between(entry: ir.Value, branch: ir.Value, end: ir.Node) -> set[ir.Node]:
    """The nodes that make a branch out of its entry; none where anything else reads them."""
    after = _descendants(entry, end)
    found: set[ir.Node] = set()
    pending = [branch]
    while pending:
        producer = pending.pop().producer()
        if producer is None or producer in found or producer not in after:
            continue
        found.add(producer)
        pending += [value for value in producer.inputs if value is not None]
    for node in found:
        for out in node.outputs:
            if out.is_graph_output() or any(
                use.node not in found and use.node is not end for use in out.uses()
            ):
                return set()
        if any(True for _ in subgraphs(node)):
            return set()
    return found


def _descendants(entry: ir.Value, end: ir.Node) -> set[ir.Node]:
    """The nodes between a value and a node that read the value, directly or not."""
    found: set[ir.Node] = set()
    pending = [use.node for use in entry.uses()]
    while pending:
        node = pending.pop()
        if node in found or node is end:
            continue
        found.add(node)
        pending += [use.node for out in node.outputs for use in out.uses()]
    return found


def _are_alike(entry: ir.Value, result: ir.Value, sizes: Mapping[str, int]) -> bool:
    """Whether two values have as many elements, and as far as is known the same shape."""
    ours, theirs = sizes.get(entry.name or ""), sizes.get(result.name or "")
    if ours is None or ours != theirs:
        return False
    if entry.shape is None or result.shape is None:
        return True
    pairs = zip(entry.shape, result.shape, strict=False)
    known = [(a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int)]
    return len(entry.shape) == len(result.shape) and all(a == b for a, b in known)
