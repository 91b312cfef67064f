"""Runs a finder of steps over a model until nothing more is found."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxopt.graph import Editor, all_nodes, nodes_with_opset
from onnxopt.transform import Note
from onnxopt_passes.recurrent._chain import Finder, chains
from onnxopt_passes.recurrent._loop import plan_loop, write_loop
from onnxopt_passes.recurrent._states import Refusal
from onnxopt_passes.recurrent._trace import Trace
from onnxopt_passes.recurrent._unrolled import plan_chain, write_chain

PRODUCTS = frozenset({"Gemm", "GRU", "LSTM", "MatMul", "RNN"})
"""Ops of which every step of a recurrence holds one, or which it has become."""

_FIRST_OPSET = 7


def recognize(model: ir.Model, find: Finder) -> Iterator[Note]:
    """Replace loops over steps, then unrolled steps, by recurrent operators.

    A sequence that reads what another one made waits for the next sweep over the model.
    """
    ops = {node.op_type for node in all_nodes(model)}
    if not ops & PRODUCTS:
        return
    editor = Editor(model)
    while True:
        sweep = _Sweep(model, editor, find)
        yield from sweep.applied()
        if not sweep.waiting:
            yield from sweep.refused
            return


class _Sweep:
    """One trace of the model and the replacements that it shows."""

    def __init__(self, model: ir.Model, editor: Editor, find: Finder) -> None:
        self._model, self._editor, self._find = model, editor, find
        self._trace = Trace(model)
        self._versions = dict(nodes_with_opset(model))
        self._gone: set[ir.Value] = set()
        self.waiting = False
        self.refused: list[Note] = []

    def applied(self) -> Iterator[Note]:
        """Replace what can be replaced now."""
        for node, version in self._versions.items():
            if version >= _FIRST_OPSET and node.graph is not None and not node.domain:
                yield from self._loop(node, version)
        for chain in list(chains(self._model, self._trace, self._find)):
            node = chain.first.anchor
            version = self._versions.get(node, 0)
            if version < _FIRST_OPSET:
                continue
            name = chain.last.hidden.name or ""
            try:
                plan = plan_chain(self._trace, chain, version)
            except Refusal as refusal:
                self._refuse(Note.refused(name, refusal.reason))
                continue
            if self._is_gone(plan.reads):
                continue
            self._gone |= write_chain(self._trace, self._editor, plan, version)
            steps = len(chain.cells)
            yield Note.applied(name, f"{steps} steps became one {chain.first.kind}")

    def _loop(self, node: ir.Node, version: int) -> Iterator[Note]:
        try:
            plan = plan_loop(self._trace, node, self._find, version)
        except Refusal as refusal:
            self._refuse(Note.refused(node, refusal.reason))
            return
        if plan is None or self._is_gone(plan.reads):
            return
        kinds = " and ".join(step.cell.kind for step in plan.cells)
        self._gone |= write_loop(self._trace, self._editor, plan, version)
        yield Note.applied(node, f"the {node.op_type} became {kinds}")

    def _refuse(self, note: Note) -> None:
        """Once something was replaced, what the trace says may be old: the next sweep decides."""
        self.waiting = self.waiting or bool(self._gone)
        self.refused.append(note)

    def _is_gone(self, reads: Iterator[ir.Value]) -> bool:
        gone = any(value in self._gone for value in reads)
        self.waiting = self.waiting or gone
        return gone
