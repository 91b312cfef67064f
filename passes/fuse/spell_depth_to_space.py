"""spell-depth-to-space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.fuse._shape import Layouts

_FIRST_OPSET = 10
"""Before it, Slice has no inputs for its bounds."""

_RANK = 4


@dataclass(frozen=True)
class SpellDepthToSpace(Pass):
    """``DepthToSpace(x)`` of phases ``[N, f·f·C, H, W]`` as two Transposes of larger blocks.

    First the ``f`` phases of a row are interleaved, which transposes matrices ``[f, C·H·W]`` (or
    ``[f, H·W]`` in the mode CRD), then the rows, which moves blocks of ``f·W`` numbers. ONNX
    Runtime's CPU provider has fast kernels for both; its DepthToSpace moves number by number.
    Only for blocks no larger than ``largest``, which both move equally fast.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"DepthToSpace"})

    largest: int = 4

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Spell each DepthToSpace that moves phases."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in nodes_with_opset(model):
            if not is_op(node, "DepthToSpace") or node.inputs[0] is None:
                continue
            size = attribute(node, "blocksize", 1)
            if not isinstance(size, int) or not 2 <= size <= self.largest:
                continue
            if version < _FIRST_OPSET:
                yield Note.refused(node, f"opset {version} is too old; raise-opset first")
                continue
            channels = _channels(layouts, node.inputs[0], node.outputs[0], size)
            if channels is None:
                yield Note.refused(node, "the number of channels is unknown")
                continue
            by_column = attribute(node, "mode", "DCR") == "CRD"
            yield _spell(editor, node, _Order.of(size, channels, by_column), node.inputs[0])


@dataclass(frozen=True)
class _Order:
    """How the phases lie: ``[0, *lead, f, depth·H·W]``, then ``[0, *rows, depth·H, f·W]``."""

    size: int
    channels: int
    depth: int
    lead: tuple[int, ...]
    rows: tuple[int, ...]
    turn: tuple[int, ...]

    @classmethod
    def of(cls, size: int, channels: int, by_column: bool) -> Self:
        if by_column:
            turn = (0, 1, 3, 2, 4)
            return cls(size, channels, 1, (channels * size,), (channels, size), turn)
        return cls(size, channels, channels, (size,), (size,), (0, 2, 1, 3))


def _spell(editor: Editor, node: ir.Node, order: _Order, source: ir.Value) -> Note:
    pairs, rows, image = _shapes(editor, node, order, source)
    value = _add(editor, node, "Reshape", [source, pairs], "split")
    value = _add(editor, node, "Transpose", [value], "row", perm=(0, 1, 3, 2))
    value = _add(editor, node, "Reshape", [value, rows], "rows")
    value = _add(editor, node, "Transpose", [value], "column", perm=order.turn)
    value = _add(editor, node, "Reshape", [value, image], "image")
    editor.replace(node.outputs[0], value)
    editor.sweep(node)
    return Note.applied(value, "became two Transposes")


def _shapes(
    editor: Editor, node: ir.Node, order: _Order, source: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The shapes of the phases of a row apart, of the rows apart, and of the result."""
    base, size, depth = label(node), order.size, order.depth

    def numbers(name: str, *values: int) -> ir.Value:
        return editor.constant(node, f"{base}/{name}", np.array(values, np.int64))

    image = _size(source)
    if image is not None:
        height, width = image
        return (
            numbers("pairs_shape", 0, *order.lead, size, depth * height * width),
            numbers("rows_shape", 0, *order.rows, depth * height, size * width),
            numbers("image_shape", 0, order.channels, size * height, size * width),
        )
    shape = _add(editor, node, "Shape", [source], "shape")
    image_size = _add(editor, node, "Gather", [shape, numbers("image_axes", 2, 3)], "size")
    blocks = _add(editor, node, "Mul", [image_size, numbers("blocks", depth, size)], "blocks")
    large = _add(editor, node, "Mul", [image_size, numbers("factors", size, size)], "large")
    stacked = _add(editor, node, "Mul", [image_size, numbers("stack", depth, 1)], "stacked")
    total = _add(editor, node, "ReduceProd", [stacked], "total")
    fronts = (
        ("pairs", (0, *order.lead, size), total),
        ("rows", (0, *order.rows), blocks),
        ("image", (0, order.channels), large),
    )
    pairs, rows, result = (
        _add(editor, node, "Concat", [numbers(f"{name}_front", *front), rest], f"{name}_shape")
        for name, front, rest in fronts
    )
    return pairs, rows, result


def _size(value: ir.Value) -> tuple[int, int] | None:
    """Height and width of an image where known and not zero."""
    shape = value.shape
    if shape is None or len(shape) != _RANK:
        return None
    height, width = shape[2], shape[3]
    known = isinstance(height, int) and isinstance(width, int)
    return (int(str(height)), int(str(width))) if known and height and width else None


def _channels(layouts: Layouts, source: ir.Value, output: ir.Value, size: int) -> int | None:
    depth = layouts[source].channels
    return layouts[output].channels if depth is None else depth // (size * size)


def _add(
    editor: Editor,
    node: ir.Node,
    op_type: str,
    inputs: list[ir.Value],
    suffix: str,
    **attributes: tuple[int, ...],
) -> ir.Value:
    """One of the nodes that take the place of ``node``, before it."""
    name = f"{label(node)}/{suffix}"
    settings = {"axis": 0} if op_type == "Concat" else attributes
    value = editor.insert_before(node, op_type, inputs, name, settings, origin=[node])
    shapes = op_type in ("Concat", "Gather", "Mul", "ReduceProd", "Shape")
    value.type = ir.TensorType(ir.DataType.INT64) if shapes else node.outputs[0].type
    return value
