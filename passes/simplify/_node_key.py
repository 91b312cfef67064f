"""Tells whether two nodes compute the same, however their attributes are spelled."""

from __future__ import annotations

import functools
import struct
from collections.abc import Hashable, Iterable, Iterator, Mapping

import onnx
import onnx_ir as ir

from onnxopt_passes.simplify._attributes import PLAIN, axes_of
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._reductions import REDUCTIONS, written_axes
from onnxopt_passes.simplify._tensor_key import digest, shallow_key

Axes = tuple[int, ...]

_ONE_AXIS = frozenset(
    {
        "ArgMax",
        "ArgMin",
        "Concat",
        "Flatten",
        "Gather",
        "GatherElements",
        "Hardmax",
        "LayerNormalization",
        "LogSoftmax",
        "ScatterElements",
        "Softmax",
        "Split",
        "TopK",
    }
)
_SQUEEZES = frozenset({"Squeeze", "Unsqueeze"})
_SQUEEZE_TAKES_AXES_SINCE = 13
_REDUCTION_SET = frozenset(REDUCTIONS)


class NodeKeys:
    """Keys of the nodes of one model.

    Attributes that say what holds without them do not count. Axes count apart from the rest,
    because one axis has two spellings.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._defaults: dict[tuple[str, int], Mapping[str, Hashable]] = {}

    @functools.cached_property
    def _facts(self) -> Facts:
        """Found when two spellings first meet: few models have any."""
        return facts_of(self._model)

    def of(self, node: ir.Node, version: int) -> tuple[Hashable, Axes]:
        """Everything but the axes, and the axes as written."""
        axes, hidden = self._axes(node, version)
        inputs = tuple(node.inputs)
        if "axes" in hidden and "axes" not in node.attributes:
            inputs = (*inputs[:1], *inputs[2:])
        key = (
            node.op_identifier(),
            inputs,
            tuple(self._attributes(node, version, hidden)) if node.attributes else (),
            tuple(bool(out.name) for out in node.outputs),
            bool(axes),
        )
        return key, axes

    def spellings(self, node: ir.Node, axes: Axes) -> Iterator[Axes]:
        """The axes counted from the first, and from the end; nothing where the rank is unknown."""
        shape = self._facts.shape(node.inputs[0]) if node.inputs else None
        if shape is None:
            return
        rank = len(shape) + (len(axes) if node.op_type == "Unsqueeze" else 0)
        if all(-rank <= axis < rank for axis in axes):
            counted = sorted(axis % rank if rank else axis for axis in axes)
            yield tuple(counted)
            yield tuple(axis - rank for axis in counted)

    def _attributes(self, node: ir.Node, version: int, hidden: str) -> Iterator[Hashable]:
        defaults = self._defaults_of(node, version)
        for name, attr in sorted(node.attributes.items()):
            if name == hidden:
                continue
            key = _attribute_key(attr)
            if defaults.get(name) != key:
                yield name, key

    def _axes(self, node: ir.Node, version: int) -> tuple[Axes, str]:
        """The axes, and the attribute or input that holds them; empty where they do not count."""
        op_type = node.op_type
        if node.domain:
            return (), ""
        if op_type in _ONE_AXIS:
            attr = node.attributes.get("axis")
            if attr is not None and attr.is_ref():
                return (), ""
            axis = attr.as_int() if attr is not None else self._default_axis(node, version)
            return ((), "") if axis is None else ((axis,), "axis")
        if op_type in _SQUEEZES:
            found = axes_of(node, version, since=_SQUEEZE_TAKES_AXES_SINCE)
        elif op_type in _REDUCTION_SET:
            found = written_axes(node, version)
        else:
            return (), ""
        return (tuple(sorted(found)), "axes") if found else ((), "")

    def _default_axis(self, node: ir.Node, version: int) -> int | None:
        match self._defaults_of(node, version).get("axis"):
            case (_, int(axis)):
                return axis
        return None

    def _defaults_of(self, node: ir.Node, version: int) -> Mapping[str, Hashable]:
        if node.domain:
            return {}
        place = (node.op_type, version)
        if place not in self._defaults:
            self._defaults[place] = dict(_read_defaults(*place))
        return self._defaults[place]


def _read_defaults(op_type: str, version: int) -> Iterator[tuple[str, Hashable]]:
    try:
        schema = onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return
    for name, formal in schema.attributes.items():
        if formal.default_value.type:
            yield name, _attribute_key(ir.serde.deserialize_attribute(formal.default_value))


def _attribute_key(attr: ir.Attr) -> Hashable:
    """What makes two attributes equal; numbers by their bits, since -0.0 == 0.0."""
    value = attr.value
    if attr.is_ref():
        return ("ref", attr.ref_attr_name)
    if attr.type == ir.AttributeType.TENSOR:
        return (shallow_key(value), digest(value))
    if attr.type in PLAIN:
        return (attr.type, *_bits(value if isinstance(value, list | tuple) else [value]))
    return id(attr)


def _bits(items: Iterable[object]) -> Iterator[object]:
    return (struct.pack("<d", x) if isinstance(x, float) else x for x in items)
