"""Writes out loops that run a small constant number of times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes._loop_states import behind_identities
from onnxopt_passes.simplify._splice import Splicer

_AXES_ARE_INPUT_SINCE = 13


@dataclass(frozen=True)
class UnrollShortLoops(Pass):
    """Loop(n){f} → f(…f(f(x))) for a constant n, and x for n = 0 or a condition that is false.

    Only loops whose body never breaks off: its condition is constantly true or handed on. What a
    body gathers from each round is concatenated; with no round at all its shape is not known, so
    then it must be unread.

    Attributes:
        max_trips: Loops that run more often stay.
        max_nodes: So do those that would become more nodes than this.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Loop"})
    max_trips: int = 2
    max_nodes: int = 64

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Unroll in every graph and function; a loop in a loop when it has become outermost."""
        loops = [(n, v) for n, v in edit.nodes_with_opset(model) if edit.is_op(n, "Loop")]
        loops = [(node, version) for node, version in loops if _trips(node) is not None]
        splicer = Splicer(model) if loops else None
        for node, version in loops:
            if splicer is None or node.graph is None:
                continue
            trips, body = _trips(node), node.attributes["body"].as_graph()
            obstacle = self._obstacle(node, trips or 0) or splicer.obstacle(body, node)
            if obstacle:
                yield Note.refused(node, obstacle)
                continue
            results = _Unroller(node, version, splicer).unroll(trips or 0)
            splicer.stand_in(node, results)
            edit.remove(node)
            yield Note.applied(node, f"this loop of {trips} rounds is written out")

    def _obstacle(self, node: ir.Node, trips: int) -> str:
        body = node.attributes["body"].as_graph()
        states = len(node.inputs) - 2
        if trips > self.max_trips or trips * sum(1 for _ in body.all_nodes()) > self.max_nodes:
            return f"its {trips} rounds are too much to write out"
        gathered = node.outputs[states:]
        if not trips and any(out.uses() or out.is_graph_output() for out in gathered):
            return "never runs, but the shape of what it gathers is needed"
        if any(value is None for value in node.inputs[2:]):
            return "starts from a state that is left out"
        return "" if trips == 0 or _never_breaks(body) else "its body may break off"


def _trips(node: ir.Node) -> int | None:
    """How often a loop would run if its body never broke off."""
    count, condition = (node.inputs[i] if i < len(node.inputs) else None for i in range(2))
    attr = node.attributes.get("body")
    if attr is None or attr.is_ref():
        return None
    runs = None if condition is None else edit.constant(condition)
    if runs is not None and runs.size == 1 and not runs.reshape(-1)[0]:
        return 0
    number = edit.constant(count)
    if number is None or number.size != 1:
        return None
    trips = max(int(number.reshape(-1)[0]), 0)
    return trips if trips == 0 or condition is None or runs is not None else None


def _never_breaks(body: ir.Graph) -> bool:
    handed_on, given = behind_identities(body.outputs[0]), body.inputs[1]
    known = edit.constant(handed_on)
    return handed_on is given or (known is not None and known.size == 1 and bool(known.all()))


class _Unroller:
    """Writes out one loop."""

    def __init__(self, node: ir.Node, version: int, splicer: Splicer) -> None:
        self._node, self._version, self._splicer = node, version, splicer
        self._body = node.attributes["body"].as_graph()
        self._name = node.outputs[0].name or edit.label(node)

    def unroll(self, trips: int) -> list[ir.Value]:
        """The values that the loop's outputs were."""
        states = [value for value in self._node.inputs[2:] if value is not None]
        gathered: list[list[ir.Value]] = [[] for _ in self._node.outputs[len(states) :]]
        for number in range(trips):
            results = self._round(number, states)
            states, items = results[: len(states)], results[len(states) :]
            for row, item in zip(gathered, items, strict=True):
                row.append(item)
        return states + [self._joined(row, out) for row, out in self._rows(gathered, len(states))]

    def _rows(
        self, gathered: list[list[ir.Value]], states: int
    ) -> Iterator[tuple[list[ir.Value], ir.Value]]:
        yield from zip(gathered, self._node.outputs[states:], strict=True)

    def _round(self, number: int, states: list[ir.Value]) -> list[ir.Value]:
        editor, node = self._splicer.editor, self._node
        body = self._body.clone(allow_outer_scope_values=True)
        index = editor.constant(node, f"{self._name}/round", np.asarray(number, dtype=np.int64))
        runs = editor.constant(node, f"{self._name}/runs", np.asarray(True))
        given = [index, runs, *states]
        own = dict(zip(body.inputs, given, strict=True))
        for old, new in own.items():
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        results = self._splicer.splice(body, node, copied=True)
        for value in (index, runs):
            edit.drop_if_unread(value)
        return results[1:]

    def _joined(self, items: list[ir.Value], out: ir.Value) -> ir.Value:
        """What the rounds gathered, along a new first axis."""
        if not items:
            return out
        editor, node = self._splicer.editor, self._node
        rows = [self._row(item, f"{out.name}/round") for item in items]
        if len(rows) == 1:
            return rows[0]
        return editor.insert_before(node, "Concat", rows, f"{out.name}/rounds", {"axis": 0})

    def _row(self, item: ir.Value, name: str) -> ir.Value:
        editor, node = self._splicer.editor, self._node
        if self._version < _AXES_ARE_INPUT_SINCE:
            return editor.insert_before(node, "Unsqueeze", [item], name, {"axes": [0]})
        axes = editor.constant(node, f"{name}/axes", np.asarray([0], dtype=np.int64))
        return editor.insert_before(node, "Unsqueeze", [item, axes], name)
