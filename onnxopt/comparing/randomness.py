"""Finds what depends on random numbers and therefore differs from run to run."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxopt import graph as edit

_RANDOM_OPS = frozenset(
    {
        ("", "RandomNormal"),
        ("", "RandomNormalLike"),
        ("", "RandomUniform"),
        ("", "RandomUniformLike"),
        ("", "Multinomial"),
        ("", "Bernoulli"),
        ("com.microsoft", "BiasDropout"),
        ("com.microsoft", "BitmaskBiasDropout"),
        ("com.microsoft", "BitmaskDropout"),
        ("com.microsoft", "Sampling"),
    }
)
_TRAINING_MODE = 2


def random_outputs(model: ir.Model) -> dict[str, str]:
    """The outputs downstream of a random op, each with the reason why."""
    reasons = random_values(model)
    return {v.name: reasons[v.name] for v in model.graph.outputs if v.name and v.name in reasons}


def random_values(model: ir.Model) -> dict[str, str]:
    """Every value of the main graph downstream of a random op, with the reason why.

    Nodes are taken in graph order; what stands in a subgraph or a model-local function makes all
    outputs of the node that runs it random.
    """
    if not _could_be_random(model):
        return {}
    random_functions = _random_functions(model)
    reasons: dict[str, str] = {}
    for node in model.graph:
        reason = _reason(node, random_functions) or _inherited(node, reasons)
        if reason:
            reasons.update((out.name, reason) for out in node.outputs if out.name)
    return reasons


def _could_be_random(model: ir.Model) -> bool:
    """Whether a random op is anywhere at all: most models are done with that."""
    suspects = {op_type for _, op_type in _RANDOM_OPS} | {"Dropout"}
    return any(node.op_type in suspects for node in edit.all_nodes(model))


def _random_functions(model: ir.Model) -> dict[ir.OperatorIdentifier, str]:
    """The functions that are random, by way of others too."""
    found: dict[ir.OperatorIdentifier, str] = {}
    grown = True
    while grown:
        grown = False
        for identifier, function in model.functions.items():
            if identifier in found:
                continue
            bodies = (function.graph, *function.subgraphs())
            reason = _first_reason((node for body in bodies for node in body), found)
            if reason:
                found[identifier], grown = reason, True
    return found


def _reason(node: ir.Node, functions: dict[ir.OperatorIdentifier, str]) -> str:
    """Why a node is random by itself or by what it runs; empty where it is not."""
    own = _first_reason([node], functions)
    inner = (n for graph in _subgraphs(node) for n in graph)
    return own or _first_reason(inner, functions)


def _first_reason(nodes: Iterable[ir.Node], functions: dict[ir.OperatorIdentifier, str]) -> str:
    for node in nodes:
        if (node.domain, node.op_type) in _RANDOM_OPS:
            return f"depends on the random op {node.op_type} ({edit.label(node)})"
        if edit.is_op(node, "Dropout") and _trains(node):
            return f"depends on Dropout in training mode ({edit.label(node)})"
        if node.op_identifier() in functions:
            return functions[node.op_identifier()]
    return ""


def _trains(node: ir.Node) -> bool:
    """Whether a Dropout may drop: its third input is there and not constantly false."""
    mode = node.inputs[_TRAINING_MODE] if len(node.inputs) > _TRAINING_MODE else None
    if mode is None:
        return False
    known = edit.constant(mode)
    return known is None or bool(known.any())


def _inherited(node: ir.Node, reasons: dict[str, str]) -> str:
    """The reason of the first random value that a node or its subgraphs read."""
    readers = [node, *(n for graph in _subgraphs(node) for n in graph)]
    names = [value.name for reader in readers for value in reader.inputs if value is not None]
    names += [value.name for graph in _subgraphs(node) for value in graph.outputs]
    return next((reasons[name] for name in names if name in reasons), "")


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    """All graphs inside a node, at any depth."""
    return [inner for graph in edit.subgraphs(node) for inner in (graph, *graph.subgraphs())]
