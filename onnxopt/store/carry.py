"""Parts of a model that onnx_ir has no place for, carried past it from load to save.

These are the training information and the map and opaque types of graph inputs and outputs, such
as the probabilities of a scikit-learn classifier. They travel in the main graph's ``meta``, which
clones share, keyed by name: names are identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir

_KEY = "onnxopt.carried"


@dataclass(frozen=True)
class Carried:
    """Serialized messages.

    Attributes:
        types: ``TypeProto`` by the name of a graph input or output.
        training_info: ``TrainingInfoProto``, in order.
    """

    types: Mapping[str, bytes] = field(default_factory=dict)
    training_info: tuple[bytes, ...] = ()


def take(proto: onnx.ModelProto) -> Carried:
    """Take out of ``proto`` what onnx_ir cannot hold."""
    graph = proto.graph
    types = {}
    for value in (*graph.input, *graph.output):
        if _is_foreign(value.type):
            types[value.name] = value.type.SerializeToString(deterministic=True)
            value.ClearField("type")
    for value in graph.value_info:
        if _is_foreign(value.type):
            value.ClearField("type")
    training = tuple(info.SerializeToString(deterministic=True) for info in proto.training_info)
    proto.ClearField("training_info")
    return Carried(types, training)


def attach(model: ir.Model, carried: Carried) -> None:
    """Remember what was taken with the model it was taken from."""
    if carried != Carried():
        model.graph.meta[_KEY] = carried


def give_back(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Put what ``model`` carries into its serialized form; a type only where there is none."""
    carried = model.graph.meta.get(_KEY)
    if not isinstance(carried, Carried):
        return
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name in carried.types and not value.HasField("type"):
            value.type.ParseFromString(carried.types[value.name])
    for info in carried.training_info:
        proto.training_info.add().ParseFromString(info)


def _is_foreign(declared: onnx.TypeProto) -> bool:
    kind = declared.WhichOneof("value")
    if kind == "sequence_type":
        return _is_foreign(declared.sequence_type.elem_type)
    if kind == "optional_type":
        return _is_foreign(declared.optional_type.elem_type)
    return kind in ("map_type", "opaque_type")
