"""Moves a model to a newer opset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._inference import InferenceFailed, Inferred, infer
from onnxopt_passes.simplify._opset_steps import AUDITED_OPSET, STEPS, CannotFollow, Draft

if TYPE_CHECKING:
    from onnxopt.targets import Target

_OLDEST = 6
_ALLOWZERO_SINCE = 14


@dataclass(frozen=True)
class RaiseOpset(Pass):
    """f, as opset n spells it → f, as opset ``to`` spells it.

    Node by node, so that weights, names, metadata, functions, symbolic sizes and nodes of other
    domains stay as they are. All or nothing: when one node has no equivalent, a refusal names it
    and the model is left alone. Never lowers an opset and never goes above what the target's
    runtime loads. The IR version rises only where the opset asks for it; from below 4, run
    ``freeze-default-inputs`` first, or weights listed as inputs become overridable.

    Attributes:
        to: The opset of the default domain to reach.
    """

    exactness = Exactness.ROUNDING
    to: int = 17

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Plan every node, check the plan, then apply it."""
        name = model.graph.name or "graph"
        roots = [model.graph, *(function.graph for function in model.functions.values())]
        old = [graph for graph in roots if 0 < graph.opset_imports.get("", 0) < self.to]
        if not old:
            return
        obstacle = _too_new(self.to, context.target)
        if obstacle:
            yield Note.refused(name, obstacle)
            return
        planner = _Planner(model, self.to)
        drafts = [draft for graph in old for draft in planner.plan(graph)]
        if planner.refusals:
            yield from planner.refusals
            return
        for draft in drafts:
            yield Note.applied(draft.node, f"{draft.node.op_type} spelled as in opset {self.to}")
        yield from _raise_versions(model, old, self.to)
        editor = Editor(model)
        for draft in drafts:
            _apply(draft, editor, self.to)


def _too_new(to: int, target: Target | None) -> str:
    """Why the runtime would not load the result; empty where it would."""
    highest = min(getattr(target, "max_opset", AUDITED_OPSET), AUDITED_OPSET)
    if to > highest:
        return f"opset {to} is above {highest}, the newest that loads"
    needed, known = _ir_version_of(to), getattr(target, "max_ir", None)
    if known is not None and needed > known:
        return f"opset {to} needs IR version {needed}, and {known} is the newest that loads"
    return ""


def _ir_version_of(opset: int) -> int:
    """The IR version that a model of an opset needs at least."""
    return onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])


class _Planner:
    """Finds out what every node becomes, without changing any."""

    def __init__(self, model: ir.Model, to: int) -> None:
        self.refusals: list[Note] = []
        self._to = to
        self._schemas: dict[tuple[str, int], onnx.defs.OpSchema | None] = {}
        try:
            self._inferred: Mapping[ir.Value, Inferred] = infer(model)
        except InferenceFailed:
            self._inferred = {}

    def plan(self, graph: ir.Graph) -> list[Draft]:
        """The nodes of a graph and its subgraphs that have to change."""
        version = graph.opset_imports[""]
        if version < _OLDEST:
            self.refusals.append(
                Note.refused(graph.name or "graph", f"opset {version} is older than {_OLDEST}")
            )
            return []
        drafts = []
        for body in (graph, *graph.subgraphs()):
            for node in body:
                draft = None if node.domain else self._plan_node(node, version)
                if draft is not None:
                    drafts.append(draft)
        return drafts

    def _plan_node(self, node: ir.Node, version: int) -> Draft | None:
        try:
            draft = self._follow(node, version)
            self._check(draft)
        except CannotFollow as reason:
            self.refusals.append(
                Note.refused(node, f"{node.op_type} cannot go to opset {self._to}: {reason}")
            )
            return None
        return draft if draft.changed else None

    def _follow(self, node: ir.Node, version: int) -> Draft:
        first = node.inputs[0] if node.inputs else None
        draft = Draft(
            node=node,
            op_type=node.op_type,
            inputs=list(node.inputs),
            attributes=dict(node.attributes),
            dtype=self._dtype(first),
            rank=self._rank(first),
        )
        for step in range(version + 1, self._to + 1):
            change = STEPS.get((draft.op_type, step))
            if change is not None:
                change(draft)
        return draft

    def _dtype(self, value: ir.Value | None) -> ir.DataType | None:
        if value is None:
            return None
        if isinstance(value.type, ir.TensorType):
            return value.dtype
        known = self._inferred.get(value)
        return known.type.dtype if known is not None and known.type is not None else None

    def _rank(self, value: ir.Value | None) -> int | None:
        if value is None or value.shape is not None:
            return edit.rank(value)
        known = self._inferred.get(value)
        return len(known.shape) if known is not None and known.shape is not None else None

    def _check(self, draft: Draft) -> None:
        """Compare the outcome with the op's definition in the new opset."""
        schema = self._schema(draft.op_type)
        if schema is None or schema.deprecated:
            raise CannotFollow("there is no such op")
        unknown = [name for name in draft.attributes if name not in schema.attributes]
        if unknown:
            raise CannotFollow(f"attribute {unknown[0]} is no longer there")
        if not schema.min_input <= len(draft.inputs) <= schema.max_input:
            raise CannotFollow(f"it takes {schema.min_input} to {schema.max_input} inputs")

    def _schema(self, op_type: str) -> onnx.defs.OpSchema | None:
        key = (op_type, self._to)
        if key not in self._schemas:
            try:
                self._schemas[key] = onnx.defs.get_schema(op_type, self._to, "")
            except onnx.defs.SchemaError:
                self._schemas[key] = None
        return self._schemas[key]


def _raise_versions(model: ir.Model, graphs: list[ir.Graph], to: int) -> Iterator[Note]:
    for graph in graphs:
        yield Note.applied(graph.name or "graph", f"opset {graph.opset_imports['']} raised to {to}")
        graph.opset_imports[""] = to
    needed = _ir_version_of(to)
    if model.ir_version < needed:
        yield Note.applied(
            model.graph.name or "graph", f"IR version {model.ir_version} raised to {needed}"
        )
        model.ir_version = needed


def _apply(draft: Draft, editor: Editor, to: int) -> None:
    """Change the node in place: its name, metadata and outputs stay."""
    node, name = draft.node, edit.label(draft.node)
    inputs: list[ir.Value | None] = [
        editor.constant(node, f"{name}/input_{index}", value)
        if isinstance(value, np.ndarray)
        else value
        for index, value in enumerate(draft.inputs)
    ]
    node.op_type = draft.op_type
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    node.attributes.clear()
    node.attributes.update(draft.attributes)
    if draft.flatten_at is not None:
        _flatten_around(node, draft.flatten_at, editor, to)


def _flatten_around(node: ir.Node, axis: int, editor: Editor, to: int) -> None:
    """Y = f(x) → y = Reshape(f(Flatten(x)), Shape(x))."""
    source, result = node.inputs[0], node.outputs[0]
    name = result.name or ""
    shape = editor.insert_before(node, "Shape", [source], f"{name}/shape")
    rows = editor.insert_before(node, "Flatten", [source], f"{name}/rows", {"axis": axis})
    node.replace_input_with(0, rows)
    reshape = ir.Node(
        "",
        "Reshape",
        [result, shape],
        [ir.AttrInt64("allowzero", 1)] if to >= _ALLOWZERO_SINCE else [],
        num_outputs=1,
        name=editor.fresh(f"{name}/reshape"),
    )
    edit.record_origin(reshape, [node])
    if node.graph is not None:
        node.graph.insert_after(node, reshape)
    new = reshape.outputs[0]
    new.type, new.shape = result.type, result.shape
    result.replace_all_uses_with(new, replace_graph_outputs=True)
    reshape.replace_input_with(0, result)
    result.name, new.name, result.shape = editor.fresh(f"{name}/flat"), name, None
