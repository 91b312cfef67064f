"""What both passes do: find the nodes that must stay float32, choose, convert, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.calibrate import EXTREMA, TensorStatistics
from onnxopt.graph import constant, constant_tensor, is_constant, opset
from onnxopt.transform import Context, Need, Note
from onnxopt_passes.precision._choice import choose_nodes
from onnxopt_passes.precision._conversion import Converter
from onnxopt_passes.precision._half import Half
from onnxopt_passes.precision._slots import Slots, half_slots, output_dtype
from onnxopt_passes.quantize._selection import Names

_INTEGERS = frozenset(
    {ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT32, ir.DataType.UINT64}
)
Figures = Mapping[str, TensorStatistics]


@dataclass(frozen=True)
class Wishes:
    """What the user asked for; see the passes."""

    keep_io: bool
    keep_ops: tuple[str, ...]
    keep: tuple[str, ...]
    margin: float


class Conversion:
    """One model on its way to 16 bits."""

    def __init__(self, model: ir.Model, half: Half, wishes: Wishes) -> None:
        self._model = model
        self._half = half
        self._wishes = wishes
        self._dtypes: dict[ir.Value, ir.DataType | None] = {}
        self._slots: dict[ir.Node, Slots] = {}

    def run(self, context: Context) -> Iterator[Note]:
        """Convert, with a note on each node that stays and why."""
        self._find_dtypes()
        yield from self._candidates()
        if context.has(Need.DATA):
            values = [value for value in self._activations() if self._touches(value)]
            names = [value.name or "" for value in values]
            figures = context.statistics(self._model, names, EXTREMA)
            yield from self._risky(values, figures.tensors)
        elif self._slots:
            yield Note.refused(self._name, "overflow is not looked for: there is no data")
        outer = frozenset() if self._wishes.keep_io else self._interface()
        chosen = choose_nodes(self._slots, self._activations(), outer)
        if not chosen:
            return
        slots = {node: self._slots[node] for node in self._model.graph if node in chosen}
        converter = Converter(self._model, self._half, slots)
        converter.convert(outer)
        yield self._summary(len(slots), converter.casts)

    @property
    def _name(self) -> str:
        return self._model.graph.name or "model"

    def _summary(self, nodes: int, casts: int) -> Note:
        word = self._half.dtype.name.lower()
        reason = f"{nodes} nodes in {word}, {casts} Casts between them and float32"
        return Note("applied", self._name, reason, {"nodes": nodes, "casts": casts})

    def _find_dtypes(self) -> None:
        version = opset(self._model)
        for value in self._model.graph.inputs:
            self._dtypes[value] = value.dtype
        for node in self._model.graph:
            for at, out in enumerate(node.outputs):
                found = out.dtype or output_dtype(node, at, version, self._dtype_of)
                self._dtypes[out] = found

    def _dtype_of(self, value: ir.Value) -> ir.DataType | None:
        if value in self._dtypes:
            return self._dtypes[value]
        tensor = constant_tensor(value)
        return value.dtype if tensor is None else tensor.dtype

    def _candidates(self) -> Iterator[Note]:
        """Find what could change; notes on products that cannot, and on names without a node."""
        kept, version = Names(self._wishes.keep), opset(self._model)
        for node in self._model.graph:
            slots = half_slots(node, version, self._half, self._dtype_of)
            if isinstance(slots, str) or not any(self._is_float32(v) for v in node.outputs):
                continue
            reason = self._obstacle(node, slots, kept)
            if reason is None:
                self._slots[node] = slots
            elif reason:
                yield Note.refused(node, reason)
        for pattern in kept.unused(self._model.graph):
            yield Note.refused(pattern, "no node has a name like this")

    def _obstacle(self, node: ir.Node, slots: Slots, kept: Names) -> str | None:
        """Why a node that could change stays float32; an empty text where that is plain."""
        if node.op_type == "Constant" or all(is_constant(v) for v in node.inputs if v is not None):
            return ""
        if node.op_type in self._wishes.keep_ops:
            return f"{node.op_type} stays float32 as its op asks"
        if node in kept:
            return "left in float32 as asked"
        if node.op_type == "Cast":
            source = node.inputs[0]
            known = None if source is None else self._dtype_of(source)
            return "whole numbers may be too large" if known in _INTEGERS else None
        for at in slots.inputs:
            array = constant(node.inputs[at])
            reason = None if array is None else self._half.constant_obstacle(array)
            if reason is not None and node.inputs[at] is not None:
                return f"its constant {node.inputs[at].name} {reason}"  # type: ignore[union-attr]
        return None

    def _is_float32(self, value: ir.Value) -> bool:
        return self._dtype_of(value) == ir.DataType.FLOAT

    def _activations(self) -> list[ir.Value]:
        """All float32 values of the main graph that are no constants."""
        found = [v for v in self._model.graph.inputs if not v.is_initializer()]
        found += [v for node in self._model.graph for v in node.outputs if not is_constant(v)]
        return [value for value in found if value.name and self._is_float32(value)]

    def _touches(self, value: ir.Value) -> bool:
        """Whether a value would be made or read in 16 bits."""
        return value.producer() in self._slots or any(
            use.node in self._slots for use in value.uses()
        )

    def _risky(self, values: list[ir.Value], figures: Figures) -> Iterator[Note]:
        """Take out the nodes around tensors that the data drives out of the type's range."""
        for value in values:
            found = figures.get(value.name or "")
            reason = None if found is None else self._range_obstacle(found)
            if reason is None:
                continue
            around = [value.producer(), *(use.node for use in value.uses())]
            for node in dict.fromkeys(around):
                if node is not None and self._slots.pop(node, None) is not None:
                    yield Note.refused(node, f"{value.name} {reason}")

    def _range_obstacle(self, found: TensorStatistics) -> str | None:
        if found.minimum > found.maximum:
            return None
        peak, limit = max(-found.minimum, found.maximum), self._half.greatest * self._wishes.margin
        if peak > limit:
            return f"reaches {peak:.3g}, above {limit:.5g}"
        if 0 < peak < self._half.least:
            return f"stays below {peak:.2g}, where precision fades"
        return None

    def _interface(self) -> frozenset[ir.Value]:
        """The float32 inputs and outputs of the model."""
        graph = self._model.graph
        values = [v for v in (*graph.inputs, *graph.outputs) if not v.is_initializer()]
        return frozenset(value for value in values if self._is_float32(value))
