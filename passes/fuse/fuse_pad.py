"""fuse-pad."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, is_op, label, nodes_with_opset, record_origin
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import OVERRIDABLE

_POOLS_WITH_PADS = 7
"""AveragePool counts padding on request since this opset."""
_PADS_AS_INPUT = 11


@dataclass(frozen=True)
class FusePad(Pass):
    """``Conv(Pad(x; 0, p), W; q) = Conv(x, W; p + q)``, likewise ``AveragePool`` that counts its
    padding, and ``MaxPool(Pad(x; -∞, p); q) = MaxPool(x; p + q)``.

    Holds for constant padding of the spatial axes by amounts that are not negative, where nodes of
    this kind with explicit padding are the only readers. An AveragePool has to count its own
    padding, or have none.
    """

    looks_for = frozenset({"Pad"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Fold every Pad whose readers can all take it."""
        editor = Editor(model)
        for node, version in nodes_with_opset(model):
            if is_op(node, "Pad") and node.graph is not None:
                readers = _readers(node)
                if readers is not None:
                    yield _fold(editor, node, version, readers)


@dataclass(frozen=True)
class _Padding:
    """Amounts before and after, for each spatial axis, and the value."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float


def _readers(node: ir.Node) -> list[ir.Node] | None:
    """The nodes that take the padded tensor as data; None where none of them could take it."""
    uses = list(node.outputs[0].uses())
    kinds = [is_op(reader, "Conv", "MaxPool", "AveragePool") and i == 0 for reader, i in uses]
    return [reader for reader, _ in uses] if any(kinds) else None


def _fold(editor: Editor, node: ir.Node, version: int, readers: Sequence[ir.Node]) -> Note:
    padding = _read(node, version)
    if isinstance(padding, str):
        return Note.refused(node, padding)
    if node.outputs[0].is_graph_output():
        return Note.refused(node, "the padded tensor is a graph output")
    for reader in readers:
        reason = _obstacle(reader, padding, version)
        if reason is not None:
            return Note.refused(node, reason)
    source = node.inputs[0]
    if source is None:
        return Note.refused(node, "it reads nothing")
    for reader in readers:
        _widen(reader, padding)
        record_origin(reader, [node, reader])
    editor.bypass(node.outputs[0], source)
    editor.sweep(node)
    names = ", ".join(label(reader) for reader in readers)
    return Note.applied(node, f"folded into the padding of {names}")


def _read(node: ir.Node, version: int) -> _Padding | str:
    """The padding of a Pad that only touches spatial axes, or why it cannot be folded."""
    if any(attr.is_ref() for attr in node.attributes.values()):
        return "its attributes are parameters of the function"
    if attribute(node, "mode", "constant") != "constant":
        return f"it pads by {attribute(node, 'mode', 'constant')}, not by a constant"
    if version < _PADS_AS_INPUT:
        raw = attribute(node, "pads", ())
        pads = [int(str(size)) for size in raw] if isinstance(raw, list | tuple) else []
        value: float | None = float(str(attribute(node, "value", 0.0)))
    else:
        given = node.inputs[1] if len(node.inputs) > 1 else None
        array = constant(given)
        if array is None:
            return (
                OVERRIDABLE
                if given is not None and given.is_initializer()
                else ("its amounts are not constant")
            )
        pads = [int(size) for size in array.reshape(-1)]
        value = _value(node)
    if value is None:
        return "its value is not constant"
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        return "it names its axes"
    rank = len(pads) // 2
    if rank < 3 or any(size < 0 for size in pads):
        return "it crops, or pads fewer than three axes"
    if any(pads[axis] or pads[rank + axis] for axis in (0, 1)):
        return "it pads the batch or the channels"
    return _Padding(tuple(pads[2:rank]), tuple(pads[rank + 2 :]), value)


def _value(node: ir.Node) -> float | None:
    given = node.inputs[2] if len(node.inputs) > 2 else None
    if given is None:
        return 0.0
    array = constant(given)
    return None if array is None else float(np.asarray(array, np.float64).reshape(-1)[0])


def _obstacle(reader: ir.Node, padding: _Padding, version: int) -> str | None:
    """Why a reader cannot take the padding over; None where it can."""
    name = label(reader)
    if not is_op(reader, "Conv", "MaxPool", "AveragePool"):
        return f"it is also read by the {reader.op_type} {name}"
    if any(attr.is_ref() for attr in reader.attributes.values()):
        return f"attributes of {name} are parameters of the function"
    if str(attribute(reader, "auto_pad", "NOTSET")) not in {"NOTSET", "VALID"}:
        return f"{name} pads by itself (auto_pad)"
    if is_op(reader, "MaxPool"):
        return _max_pool_obstacle(reader, padding)
    if padding.value != 0:
        return f"{name} pads by 0, not by {padding.value:g}"
    return (
        _average_pool_obstacle(reader, padding, version) if is_op(reader, "AveragePool") else None
    )


def _max_pool_obstacle(reader: ir.Node, padding: _Padding) -> str | None:
    if len(reader.outputs) > 1 and reader.outputs[1].uses():
        return f"{label(reader)} also gives indices, which count the padding"
    if attribute(reader, "ceil_mode", 0) or padding.value != -math.inf:
        return f"{label(reader)} pads by minus infinity, not by {padding.value:g}"
    return _too_wide(reader, padding)


def _average_pool_obstacle(reader: ir.Node, padding: _Padding, version: int) -> str | None:
    if version < _POOLS_WITH_PADS or attribute(reader, "ceil_mode", 0):
        return f"{label(reader)} cannot count padding (opset {version}, or ceil_mode)"
    if not attribute(reader, "count_include_pad", 0) and any(_pads(reader)):
        return f"{label(reader)} does not count its own padding"
    return _too_wide(reader, padding)


def _too_wide(reader: ir.Node, padding: _Padding) -> str | None:
    """Pooling takes less padding than its window is wide."""
    kernel = attribute(reader, "kernel_shape", ())
    sizes = [int(str(size)) for size in kernel] if isinstance(kernel, list | tuple) else []
    own = _pads(reader) or [0] * (2 * len(sizes))
    wide = zip(own, (*padding.before, *padding.after), (*sizes, *sizes), strict=False)
    if any(one + more >= size for one, more, size in wide):
        return f"the padding is wider than the window of {label(reader)}"
    return None


def _pads(node: ir.Node) -> list[int]:
    pads = attribute(node, "pads", ())
    return [int(str(size)) for size in pads] if isinstance(pads, list | tuple) else []


def _widen(reader: ir.Node, padding: _Padding) -> None:
    added = [*padding.before, *padding.after]
    own = _pads(reader) or [0] * len(added)
    total = [one + more for one, more in zip(own, added, strict=True)]
    reader.attributes.pop("auto_pad", None)
    reader.attributes["pads"] = ir.AttrInt64s("pads", total)
    if is_op(reader, "AveragePool"):
        reader.attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
