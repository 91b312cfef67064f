"""Opset and IR version of an exported model: as asked for, and such that a target loads it."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxopt import pipeline
from onnxopt.errors import ModelError
from onnxopt.graph import all_nodes, opset
from onnxopt.recipe import Recipe
from onnxopt.targets import Target
from onnxopt.transform import Context

OLDEST = 17
"""The opset below which models are raised: the passes and quantizers expect it at least."""

_OLDEST_IR = 8
_IR_OF_FREE_WEIGHTS = 4


def settle(model: ir.Model, wanted: int | None, target: Target) -> tuple[ir.Model, tuple[str, ...]]:
    """Bring a model to an opset and IR version that the target's runtime loads.

    Args:
        model: Edited in place or replaced.
        wanted: The opset asked for; by default the model's own, but at least ``OLDEST`` and at
            most what the target loads.
        target: The device.

    Returns:
        The model and what was changed, a sentence each.

    Raises:
        ModelError: A node has no equivalent in the opset.
    """
    notes: list[str] = []
    has, had_ir = opset(model), model.ir_version
    goal = wanted or min(max(has, OLDEST), target.max_opset)
    if goal > target.max_opset:
        raise ModelError(
            f"opset {goal} was asked for", f"at most {target.max_opset} for {target.name}"
        )
    if model.ir_version < _IR_OF_FREE_WEIGHTS:
        model = _run(model, "freeze-default-inputs", target)
        notes.append("weights are no longer listed as inputs")
    if has and has < goal:
        model = _run(model, f"raise-opset{{to={goal}}}", target)
        notes.append(f"opset {has} → {goal}")
    elif has > goal:
        _lower(model, has, goal)
        notes.append(f"opset {has} → {goal}: no node means anything else there")
    model.ir_version = min(max(model.ir_version, _OLDEST_IR), target.max_ir)
    if model.ir_version != had_ir:
        notes.append(f"IR version {had_ir} → {model.ir_version}")
    return model, tuple(notes)


def _run(model: ir.Model, recipe: str, target: Target) -> ir.Model:
    result = pipeline.run(model, Recipe.parse(recipe), Context(target=target))
    refused = [note for step in result.results for note in step.notes if note.kind == "refused"]
    if refused:
        raise ModelError(f"{recipe}: {refused[0].node}: {refused[0].reason}")
    return result.model


def _lower(model: ir.Model, has: int, goal: int) -> None:
    """Declare an older opset where every operator is defined alike in both."""
    for node in all_nodes(model):
        if node.domain == "" and _since(node.op_type, has) != _since(node.op_type, goal):
            raise ModelError(
                f"{node.op_type} of opset {has} is not defined alike in {goal}",
                f"a model of opset {goal} or older",
                f"export it again from its framework with --opset {goal}",
            )
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    for graph in graphs:
        if graph.opset_imports.get("", 0) > goal:
            graph.opset_imports[""] = goal


def _since(op_type: str, version: int) -> int | None:
    try:
        return int(onnx.defs.get_schema(op_type, version, "").since_version)
    except onnx.defs.SchemaError:
        return None
