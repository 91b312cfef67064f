"""What every export gets: readable names, open dimensions, and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import onnx_ir as ir

from onnxopt.errors import ModelError
from onnxopt.exporting.source import Plan
from onnxopt.graph import all_graphs
from onnxopt.signature import TensorSpec

PREFIX = "onnxopt.export."
"""Model metadata: ``source``, ``framework``, ``exporter``, ``weights_sha256``, ``onnxopt``."""

_FOREIGN = ("pkg.torch.", "pkg.onnxscript.")


def name_values(model: ir.Model, plan: Plan) -> tuple[str, ...]:
    """Give inputs and outputs their names and the inputs their dimensions.

    Returns:
        What a person should know, a sentence each.

    Raises:
        ModelError: The exporter made more or fewer outputs than the source has.
    """
    notes = []
    graph = model.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    if len(inputs) == len(plan.inputs):
        _rename(model, inputs, [spec.name for spec in plan.inputs])
    specs = {spec.name: spec for spec in plan.inputs}
    unknown = [value.name for value in inputs if value.name not in specs]
    if unknown:
        raise ModelError(f"the exporter made an input {unknown[0]!r} of its own", "no others")
    held = {value.name for value in inputs}
    notes += [f"input {name} is not used and was left out" for name in specs if name not in held]
    for value in inputs:
        notes += _open(value, specs[value.name or ""])
    if len(graph.outputs) != len(plan.outputs):
        raise ModelError(
            f"the exporter made {len(graph.outputs)} outputs", f"{len(plan.outputs)} as the source"
        )
    _rename(model, list(graph.outputs), plan.outputs)
    return tuple(notes)


def _rename(model: ir.Model, values: Sequence[ir.Value], names: Sequence[str]) -> None:
    """Rename values; whatever else has such a name makes room."""
    wanted = dict(zip(values, names, strict=True))
    moving = {value: name for value, name in wanted.items() if value.name != name}
    if not moving:
        return
    taken = set(moving.values())
    used = _all_names(model)
    for graph in all_graphs(model):
        for value in _values(graph):
            if value.name in taken and wanted.get(value) != value.name:
                number = 2
                while f"{value.name}/{number}" in used:
                    number += 1
                used.add(f"{value.name}/{number}")
                value.name = f"{value.name}/{number}"
    for value, name in moving.items():
        value.name = name


def _all_names(model: ir.Model) -> set[str]:
    return {value.name for graph in all_graphs(model) for value in _values(graph) if value.name}


def _values(graph: ir.Graph) -> list[ir.Value]:
    made = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *made]


def _open(value: ir.Value, spec: TensorSpec) -> list[str]:
    """Let an input have the dimensions of its spec."""
    if spec.shape is None or value.shape is None:
        value.shape = None if spec.shape is None else ir.Shape(spec.shape)
        return []
    old = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
    if old == spec.shape:
        return []
    value.shape = ir.Shape(spec.shape)
    return []


def label_outputs(model: ir.Model, observed: Sequence[TensorSpec]) -> None:
    """Give outputs the dimensions that were seen to follow those of the inputs."""
    for value, spec in zip(model.graph.outputs, observed, strict=True):
        if spec.shape is None:
            continue
        if value.shape is None or len(value.shape) != len(spec.shape):
            value.shape = ir.Shape(spec.shape)
            continue
        dims = [
            seen if isinstance(seen, str) else declared
            for declared, seen in zip(value.shape, spec.shape, strict=True)
        ]
        value.shape = ir.Shape(dims)


def sign(model: ir.Model, origin: str, facts: dict[str, str]) -> None:
    """Write where a model came from into its metadata; traces of the user's paths go."""
    for props in (model.metadata_props, *_all_props(model)):
        for key in [key for key in props if key.startswith(_FOREIGN)]:
            del props[key]
    for key, fact in {"source": origin, **facts, "onnxopt": version("onnxopt")}.items():
        model.metadata_props[f"{PREFIX}{key}"] = fact
    model.graph.name = _readable(origin)


def _readable(origin: str) -> str:
    stem = origin.rpartition(":")[2] or origin
    return stem.rsplit(".", 1)[0] if "." in stem else stem


def _all_props(model: ir.Model) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for graph in all_graphs(model):
        found.append(graph.metadata_props)
        found += [value.metadata_props for value in _values(graph)]
        found += [node.metadata_props for node in graph]
    return found
