"""capture-loop-invariants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass

_BEFORE_STATES = {"Loop": (2, 1), "Scan": (0, 0)}
"""What stands before the states: inputs of node and body, outputs of the body."""

_SCAN_WITHOUT_LENGTHS = 9


@dataclass(frozen=True)
class CaptureLoopInvariants(Pass):
    """``Loop(…, v)`` with a body that hands v on as it is → a body that reads v from outside.

    Exporters carry weights through loops as states. What a body reads from outside may be
    constant: then what is computed of it folds, and the runtime packs it once.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset(_BEFORE_STATES)

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Look at every loop, those outside first."""
        editor = Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if not edit.is_op(node, *_BEFORE_STATES) or node.graph is None:
                continue
            states = _States.read(node, version)
            invariant = [] if states is None else states.invariant()
            if states is None or not invariant:
                continue
            obstacle = states.obstacle(invariant)
            if obstacle:
                yield Note.refused(node, obstacle)
                continue
            states.capture(editor, invariant)
            yield Note.applied(node, f"its body reads {len(invariant)} values from outside")


@dataclass(frozen=True)
class _States:
    """A loop with its body and the number of its states."""

    node: ir.Node
    body: ir.Graph
    count: int

    @classmethod
    def read(cls, node: ir.Node, version: int) -> _States | None:
        """None where the body or the number of states is not known."""
        attr = node.attributes.get("body")
        if attr is None or attr.is_ref():
            return None
        body, count = attr.as_graph(), len(node.inputs) - 2
        if edit.is_op(node, "Scan"):
            scanned = edit.attribute(node, "num_scan_inputs", 0)
            if version < _SCAN_WITHOUT_LENGTHS or not isinstance(scanned, int):
                return None
            count = len(node.inputs) - scanned
        return cls(node, body, count) if len(body.inputs) == len(node.inputs) else None

    @property
    def _before(self) -> tuple[int, int]:
        return _BEFORE_STATES[self.node.op_type]

    def invariant(self) -> list[int]:
        """The states that the body hands on as they are."""
        inputs, outputs = self._before
        return [
            k
            for k in range(self.count)
            if self.node.inputs[inputs + k] is not None
            and _behind_identities(self.body.outputs[outputs + k]) is self.body.inputs[inputs + k]
        ]

    def obstacle(self, invariant: Sequence[int]) -> str:
        """Why the body cannot read them from outside; empty where it can."""
        first = self._before[0]
        outer = {self.node.inputs[first + k] for k in invariant}
        names = {value.name for value in outer if value is not None}
        own = {value.name for value in _values_of(self.body) if value not in outer}
        hidden = sorted(name for name in names & own if name)
        return f"a value of its body hides {hidden[0]}" if hidden else ""

    def capture(self, editor: Editor, invariant: Sequence[int]) -> None:
        """Let the body read these states from outside and the loop do without them."""
        first_in, first_out = self._before
        for k in reversed(invariant):
            outer, inner = self.node.inputs[first_in + k], self.body.inputs[first_in + k]
            if outer is None:
                continue
            handed_on = self.body.outputs[first_out + k]
            self.body.outputs.pop(first_out + k)  # del would leave the value an output
            maker = handed_on.producer()
            if maker is not None:
                editor.sweep(maker)
            self._stand_in_for_outputs(editor, inner, outer)
            inner.replace_all_uses_with(outer)
            self.body.inputs.pop(first_in + k)
        self._without(editor, frozenset(invariant))

    def _stand_in_for_outputs(self, editor: Editor, inner: ir.Value, outer: ir.Value) -> None:
        """A body's outputs are made in it: those that are the state itself get a node."""
        for place, output in enumerate(self.body.outputs):
            if output is not inner:
                continue
            copy = ir.Node("", "Identity", [outer], num_outputs=1)
            copy.name = copy.outputs[0].name = editor.fresh(f"{inner.name}/outside")
            copy.outputs[0].type, copy.outputs[0].shape = inner.type, inner.shape
            self.body.append(copy)
            self.body.outputs[place] = copy.outputs[0]

    def _without(self, editor: Editor, invariant: frozenset[int]) -> None:
        """The node with the states that are left."""
        node, first = self.node, self._before[0]
        graph = node.graph
        if graph is None:
            raise ValueError("a loop stands in a graph")
        inputs = [v for i, v in enumerate(node.inputs) if i - first not in invariant]
        kept = [out for k, out in enumerate(node.outputs) if k not in invariant]
        new = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            list(node.attributes.values()),
            num_outputs=len(kept),
            name=node.name,
            doc_string=node.doc_string,
            metadata_props=dict(node.metadata_props),
        )
        graph.insert_before(node, new)
        for k in invariant & frozenset(range(len(node.outputs))):
            self._replace_output(editor, node.outputs[k], node.inputs[first + k])
        for old, value in zip(kept, new.outputs, strict=True):
            editor.replace(old, value)
        node.attributes.clear()  # the body is the new node's
        edit.remove(node)

    def _replace_output(self, editor: Editor, output: ir.Value, source: ir.Value | None) -> None:
        """What was handed through is what went in."""
        if source is None or not (output.uses() or output.is_graph_output()):
            return
        if not editor.bypass(output, source):
            name = f"{output.name}/kept"
            editor.replace(output, editor.insert_before(self.node, "Identity", [source], name))


def _behind_identities(value: ir.Value) -> ir.Value:
    node = value.producer()
    while node is not None and edit.is_op(node, "Identity") and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _values_of(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value that a graph or a graph within it gives a name to."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
        for inner in edit.subgraphs(node):
            yield from _values_of(inner)
