"""What can be quantized and what cannot, with reasons."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from functools import cached_property

import onnx_ir as ir

from onnxopt.graph import all_nodes, label
from onnxopt.targets import Target
from onnxopt.transform import Note
from onnxopt_passes.quantize._units import Unit, find_units


class Names:
    """Node names as the user wrote them: a name itself, or a pattern with ``*`` and ``?``."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(dict.fromkeys(patterns))
        self._exact = frozenset(self._patterns)
        wild = (translate(pattern) for pattern in self._patterns if set(pattern) & set("*?["))
        self._wild = re.compile("|".join(wild) or r"(?!)")

    def __contains__(self, node: ir.Node) -> bool:
        name = label(node)
        return name in self._exact or self._wild.match(name) is not None

    def unused(self, nodes: Iterable[ir.Node]) -> Iterator[str]:
        """The names and patterns that fit none of these nodes."""
        names = {label(node) for node in nodes}
        for pattern in self._patterns:
            if pattern not in names and not any(fnmatchcase(name, pattern) for name in names):
                yield pattern


@dataclass(frozen=True)
class Wanted:
    """Which nodes the user wants in integers.

    Attributes:
        op_types: Ops to quantize; empty for all.
        skip: Patterns of names of nodes to leave in float.
    """

    op_types: tuple[str, ...]
    skip: tuple[str, ...]

    @cached_property
    def skipped(self) -> Names:
        """The nodes to leave in float."""
        return Names(self.skip)


def candidates(
    model: ir.Model, target: Target, wanted: Wanted
) -> Generator[Note, None, list[Unit]]:
    """The nodes with an integer kernel that the user wants; notes on the others."""
    found: list[Unit] = []
    for thing in find_units(model, target):
        if isinstance(thing, Note):
            yield thing
        elif thing.node in wanted.skipped:
            yield Note.refused(thing.node, "left in float as asked")
        elif not wanted.op_types or thing.node.op_type in wanted.op_types:
            found.append(thing)
    yield from _without_effect(model, target, wanted)
    yield from _out_of_reach(model, target)
    return found


def gaps(chosen: Sequence[Unit], target: Target) -> Iterator[Note]:
    """Notes on float nodes between integer ones for which the target has no kernel at all."""
    made = {out for unit in chosen if unit.kernel.output == "codes" for out in unit.outputs}
    read = {value for unit in chosen for value in unit.inputs}
    inside = {node for unit in chosen for node in (unit.node, unit.absorbed)}
    for value in dict.fromkeys(out for unit in chosen for out in unit.outputs):
        for node in dict.fromkeys(use.node for use in value.uses()):
            if node in inside or target.rows(node.op_type) or read.isdisjoint(node.outputs):
                continue
            if all(v in made for v in node.inputs if v is not None and v.producer() is not None):
                reason = f"{target.name} has no integer {node.op_type}: it parts integer nodes"
                yield Note.refused(node, reason)


def _without_effect(model: ir.Model, target: Target, wanted: Wanted) -> Iterator[Note]:
    for pattern in wanted.skipped.unused(model.graph):
        yield Note.refused(pattern, "no node has a name like this")
    for op_type in wanted.op_types:
        if not target.rows(op_type):
            yield Note.refused(op_type, f"{target.name} has no integer kernel for this op")


def _out_of_reach(model: ir.Model, target: Target) -> Iterator[Note]:
    """Notes on products in subgraphs and functions."""
    heavy = {kernel.op for kernel in target.kernels if kernel.weight}
    for node in all_nodes(model):
        if node.graph is not model.graph and node.domain == "" and node.op_type in heavy:
            yield Note.refused(node, "it is inside a subgraph or function: it cannot be calibrated")
