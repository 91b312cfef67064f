"""capture-loop-invariants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes._loop_states import States, states_of


@dataclass(frozen=True)
class CaptureLoopInvariants(Pass):
    """``Loop(…, v)`` with a body that hands v on as it is → a body that reads v from outside.

    Exporters carry weights through loops as states. What a body reads from outside may be
    constant: then what is computed of it folds, and the runtime packs it once.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Loop", "Scan"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Look at every loop, those outside first."""
        editor = Editor(model)
        for node in list(edit.all_nodes(model)):
            states = states_of(node)
            invariant = [] if states is None else states.invariant
            if states is None or not invariant:
                continue
            obstacle = _obstacle(states, invariant)
            if obstacle:
                yield Note.refused(node, obstacle)
                continue
            _capture(editor, states, invariant)
            yield Note.applied(node, f"its body reads {len(invariant)} values from outside")


def _obstacle(states: States, invariant: Sequence[int]) -> str:
    """Why the body cannot read them from outside; empty where it can."""
    outer = {states.node.inputs[states.first + k] for k in invariant}
    names = {value.name for value in outer if value is not None}
    own = {value.name for value in _values_of(states.body)}
    hidden = sorted(name for name in names & own if name)
    return f"a value of its body hides {hidden[0]}" if hidden else ""


def _capture(editor: Editor, states: States, invariant: Sequence[int]) -> None:
    """Let the body read these states from outside and the loop do without them."""
    body = states.body
    for k in reversed(invariant):
        outer, inner = states.node.inputs[states.first + k], body.inputs[states.first + k]
        if outer is None:
            continue
        # pop tells a value that it is no output any more; del would not
        maker = body.outputs.pop(states.first_result + k).producer()
        if maker is not None:
            editor.sweep(maker)
        _stand_in_for_outputs(editor, body, inner, outer)
        inner.replace_all_uses_with(outer)
        body.inputs.pop(states.first + k)
    _replace_loop(editor, states, frozenset(invariant))


def _stand_in_for_outputs(editor: Editor, body: ir.Graph, inner: ir.Value, outer: ir.Value) -> None:
    """A body's outputs are made in it: those that are the state itself get a node."""
    for place, output in enumerate(body.outputs):
        if output is not inner:
            continue
        copy = ir.Node("", "Identity", [outer], num_outputs=1)
        copy.name = copy.outputs[0].name = editor.fresh(f"{inner.name}/outside")
        copy.outputs[0].type, copy.outputs[0].shape = inner.type, inner.shape
        body.append(copy)
        body.outputs[place] = copy.outputs[0]


def _replace_loop(editor: Editor, states: States, invariant: frozenset[int]) -> None:
    """A node with the states that are left in place of the loop."""
    node, graph = states.node, states.node.graph
    if graph is None:
        raise ValueError("a loop stands in a graph")
    new = ir.Node(
        node.domain,
        node.op_type,
        [v for i, v in enumerate(node.inputs) if i - states.first not in invariant],
        list(node.attributes.values()),
        num_outputs=sum(k not in invariant for k in range(len(node.outputs))),
        name=node.name,
        doc_string=node.doc_string,
        metadata_props=dict(node.metadata_props),
    )
    graph.insert_before(node, new)
    left = iter(new.outputs)
    for k, output in enumerate(node.outputs):
        if k in invariant:
            _replace_output(editor, node, output, node.inputs[states.first + k])
        else:
            editor.replace(output, next(left))
    node.attributes.clear()  # the body is the new node's
    edit.remove(node)


def _replace_output(
    editor: Editor, node: ir.Node, output: ir.Value, source: ir.Value | None
) -> None:
    """What was handed through is what went in."""
    if source is None or not (output.uses() or output.is_graph_output()):
        return
    if not editor.bypass(output, source):
        name = f"{output.name}/kept"
        editor.replace(output, editor.insert_before(node, "Identity", [source], name))


def _values_of(body: ir.Graph) -> Iterator[ir.Value]:
    """Every value that a body or a graph within it gives a name to."""
    for graph in (body, *body.subgraphs()):
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs
