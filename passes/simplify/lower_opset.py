"""lower-opset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import onnx
import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import attribute
from onnxopt.transform import Context, Note, Pass

_SPOKEN_DIFFERENTLY = frozenset({"Cast", "CastLike", "DequantizeLinear", "QuantizeLinear"})
"""Ops whose later definitions only speak of further types, beside attributes for those."""

_ROUNDED_UP = frozenset({"AveragePool", "MaxPool"})
"""Ops whose later definitions say what ``ceil_mode`` leaves out at the border."""


@dataclass(frozen=True)
class LowerOpset(Pass):
    """f, as opset n spells it → f, as opset ``to`` spells it, where both define the same.

    Later opsets often only add types to an op, but its number goes up, and a runtime that has a
    kernel for the older number has none for the newer: ONNX Runtime's CUDA provider leaves MaxPool,
    Elu, InstanceNormalization and more of opset 22 to the CPU, with copies there and back. All or
    nothing: where one node has no equal, a refusal names it and the model is left alone. The IR
    version stays.

    Attributes:
        to: The highest opset of the default domain to leave.
    """

    exactness: ClassVar[Exactness] = Exactness.BITWISE
    to: int = 21

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Check every node, then change the versions."""
        roots = [model.graph, *(function.graph for function in model.functions.values())]
        high = [graph for graph in roots if graph.opset_imports.get("", 0) > self.to]
        obstacles = [note for graph in high for note in self._obstacles(graph)]
        if obstacles:
            yield from obstacles
            return
        for graph in high:
            version = graph.opset_imports[""]
            yield Note.applied(graph.name or "graph", f"opset {version} lowered to {self.to}")
            graph.opset_imports[""] = self.to

    def _obstacles(self, graph: ir.Graph) -> Iterator[Note]:
        version = graph.opset_imports[""]
        for body in (graph, *graph.subgraphs()):
            for node in body:
                reason = "" if node.domain else _obstacle(node, version, self.to)
                if reason:
                    yield Note.refused(
                        node, f"{node.op_type} cannot go to opset {self.to}: {reason}"
                    )


def _obstacle(node: ir.Node, version: int, to: int) -> str:
    """Why an older definition of a node's op will not do; empty where it will."""
    newer, older = _schema(node.op_type, version), _schema(node.op_type, to)
    if newer is None or older is None:
        return "there is no such op"
    if newer.since_version == older.since_version:
        return ""
    unknown = [name for name in node.attributes if name not in older.attributes]
    if unknown:
        return f"attribute {unknown[0]} was not there yet"
    if node.op_type in _ROUNDED_UP:
        return "sizes are rounded up" if attribute(node, "ceil_mode", 0) else _dtypes(node, older)
    if node.op_type not in _SPOKEN_DIFFERENTLY and not _define_the_same(newer, older):
        return "it means something else there"
    return _dtypes(node, older)


def _dtypes(node: ir.Node, schema: onnx.defs.OpSchema) -> str:
    """Why a definition does not take or make what a node does; empty where it does."""
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for at, value in enumerate(values):
            if value is None:
                continue
            if value.type is None:
                return f"the type of {value.name} is unknown"
            formal = formals[min(at, len(formals) - 1)]
            if _written(value.type) not in formal.types:
                return f"{value.name} is {_written(value.type)}"
    return ""


def _written(kind: ir.TypeProtocol) -> str:
    """A type as operator schemas write it."""
    if isinstance(kind, ir.TensorType):
        return f"tensor({str(kind.dtype).lower()})"
    if isinstance(kind, ir.SequenceType):
        return f"seq({_written(kind.elem_type)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({_written(kind.elem_type)})"
    return str(kind)


def _define_the_same(one: onnx.defs.OpSchema, other: onnx.defs.OpSchema) -> bool:
    """Whether two definitions of an op differ in nothing but the types they take."""
    return _meaning(one) == _meaning(other)


def _meaning(schema: onnx.defs.OpSchema) -> tuple[object, ...]:
    attributes = {
        name: (one.type, one.required, one.default_value.SerializeToString())
        for name, one in schema.attributes.items()
    }
    formals = [
        [(formal.name, formal.option) for formal in side]
        for side in (schema.inputs, schema.outputs)
    ]
    counts = schema.min_input, schema.max_input, schema.min_output, schema.max_output
    return attributes, formals, counts, "".join((schema.doc or "").split())


@cache
def _schema(op_type: str, version: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return None
