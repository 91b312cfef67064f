"""Chooses which constant nodes are worth computing ahead of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Note
from onnxopt_passes.simplify._foldable import SIZED_BY_VALUES, rounds_apart
from onnxopt_passes.simplify._inference import Inferred

_INTERMEDIATE_FACTOR = 4
_PLENTY = 1 << 62
_UNKNOWN = Inferred(None, None)


@dataclass(frozen=True)
class Limits:
    """How much folding may add to a model, in bytes for each value."""

    size: int
    growth: int


@dataclass
class Plan:
    """Which nodes to compute, and which of their outputs others read.

    Attributes:
        nodes: In topological order.
        wanted: Outputs that something else reads, the last first.
        sources: Bytes of the constants that each node is made from in the end.
        notes: Nodes left alone, with a reason.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    wanted: list[ir.Value] = field(default_factory=list)
    sources: dict[ir.Node, int] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)


def plan(
    candidates: Sequence[ir.Node], inferred: Mapping[ir.Value, Inferred], limits: Limits
) -> Plan:
    """Leave out what is too large, grows the model too much or is of an awkward type.

    A large value is fine where only other folded nodes read it.

    Args:
        candidates: In topological order; they read constants and one another.
        inferred: Types and shapes of their outputs, as far as known.
        limits: For what stays in the model.
    """
    result = Plan()
    computable = dict.fromkeys(_computable(candidates, inferred, limits, result))
    result.sources = _source_bytes(list(computable))
    for node in reversed(list(computable)):
        wanted = [v for v in node.outputs if v.name and _is_read_outside(v, computable)]
        reason = _obstacle(wanted, inferred, limits, result.sources[node])
        if reason:
            result.notes.append(Note.refused(node, reason))
        result.wanted += [] if reason else wanted
        if (reason or not wanted) and not _is_read_inside(node, computable):
            del computable[node]
    result.nodes = list(computable)
    return result


def _computable(
    candidates: Sequence[ir.Node],
    inferred: Mapping[ir.Value, Inferred],
    limits: Limits,
    result: Plan,
) -> Iterator[ir.Node]:
    """The nodes whose outputs fit into memory and whose inputs are computable as well."""
    pending: set[ir.Value] = set()
    left_out: set[ir.Value] = set()
    for node in candidates:
        if any(value in left_out for value in node.inputs):
            left_out.update(node.outputs)
            continue
        facts = [inferred.get(value, _UNKNOWN) for value in node.outputs if value.name]
        reason = _danger(node, facts, limits)
        unsized = any(fact.nbytes is None for fact in facts)
        later = unsized and any(value in pending for value in node.inputs)
        if reason and not later:
            result.notes.append(Note.refused(node, reason))
        if reason or later:
            left_out.update(node.outputs)
            continue
        pending.update(node.outputs)
        yield node


def _danger(node: ir.Node, facts: Sequence[Inferred], limits: Limits) -> str:
    """Why computing a node, rather than keeping the result, is out of the question."""
    if any(isinstance(f.type, ir.TensorType) and rounds_apart(node, f.type.dtype) for f in facts):
        return "16-bit arithmetic: ONNX Runtime rounds it differently inside its graph"
    total = sum(fact.nbytes or 0 for fact in facts)
    if total > _INTERMEDIATE_FACTOR * limits.size:
        return f"would take {total} bytes to compute"
    if node.op_type in SIZED_BY_VALUES and any(fact.nbytes is None for fact in facts):
        return "how large its output gets is not known"
    return ""


def _obstacle(
    wanted: Sequence[ir.Value], inferred: Mapping[ir.Value, Inferred], limits: Limits, source: int
) -> str:
    """Why the wanted outputs of a node cannot become constants of the model."""
    for value in wanted:
        fact = inferred.get(value, _UNKNOWN)
        if not isinstance(fact.type, ir.TensorType):
            return f"{value.name} is of unknown type"
        reason = too_large(fact.nbytes or 0, source, limits)
        if reason:
            return reason
    return ""


def too_large(nbytes: int, source: int, limits: Limits) -> str:
    """Why a value of this size, made from constants of that size, is not kept."""
    if nbytes > limits.size:
        return f"its {nbytes} bytes are above max_bytes={limits.size}"
    if nbytes > source + limits.growth:
        return f"would put {nbytes} bytes into the model in place of {source}"
    return ""


def _source_bytes(nodes: Sequence[ir.Node]) -> dict[ir.Node, int]:
    """Bytes of the constants that each node is made from in the end."""
    sources: dict[ir.Node, int] = {}
    for node in nodes:
        total = 0
        for value in node.inputs:
            producer = None if value is None else value.producer()
            tensor = edit.constant_tensor(value)
            if tensor is not None:
                total += tensor.nbytes
            elif producer in sources:
                total += sources[producer]
        sources[node] = min(total, _PLENTY)
    return sources


def _is_read_inside(node: ir.Node, folded: Mapping[ir.Node, None]) -> bool:
    return any(use.node in folded for value in node.outputs for use in value.uses())


def _is_read_outside(value: ir.Value, folded: Mapping[ir.Node, None]) -> bool:
    return value.is_graph_output() or any(use.node not in folded for use in value.uses())
