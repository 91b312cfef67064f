"""recognize-attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes._opset import too_old
from onnxopt_passes.fuse._attention import Attention, read_attention
from onnxopt_passes.fuse._heads import Heads, joined_heads, split_heads
from onnxopt_passes.fuse._ramp import RUNNABLE
from onnxopt_passes.fuse._shape import Layouts, element_type

_FIRST_OPSET = 23
_SWAP_LAST = (0, 1, 3, 2)


@dataclass(frozen=True)
class RecognizeAttention(Pass):
    """``Softmax(c·Q·Kᵀ + M)·V = Attention(Q, K, V, M; scale=c)``.

    For Q, K and V of four axes [batch, heads, positions, size]. Where all three come from [batch,
    positions, heads·size] by Reshape and Transpose and the result goes back there, the operator
    does that too. ``c`` may stand before or behind the product. A mask with one row for all
    queries is expanded first. Nothing else may read what lies in between.
    """

    looks_for = frozenset({"Softmax"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Softmax."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in list(nodes_with_opset(model)):
            found = read_attention(node, layouts, version) if node.graph is not None else None
            if found is None:
                continue
            reason = _obstacle(found, version)
            if reason is not None:
                yield Note.refused(found.last, reason)
                continue
            yield _replace(editor, found)


def _obstacle(found: Attention, version: int) -> str | None:
    """Why an attention cannot become the operator; None where it can."""
    read, dtype = found.leak(), element_type([found.scores.product])
    if read is not None:
        return f"{read.name} is read elsewhere too"
    if found.scores.factor <= 0:
        return "its scale is not positive"
    if _keys(found) is None:
        return "its keys are not transposed for the product"
    if not _same_heads(found):
        return "queries, keys and values may differ in heads"
    if found.mask is not None and _rows(found) is None:
        return "whether the mask has a row for each query is unknown"
    if dtype not in RUNNABLE:
        return f"no runtime computes Attention in {dtype}"
    return too_old("Attention", _FIRST_OPSET, version)


def _keys(found: Attention) -> tuple[ir.Node, tuple[int, ...]] | None:
    """The Transpose of the keys, and the order of axes that undoes its swap."""
    node = found.scores.keys.producer()
    if node is None or not is_op(node, "Transpose"):
        return None
    perm = attribute(node, "perm", ())
    order = tuple(perm) if isinstance(perm, tuple | list) else ()
    if len(order) != len(_SWAP_LAST) or only_consumer(found.scores.keys) is None:
        return None
    return node, tuple(int(order[axis]) for axis in _SWAP_LAST)


def _same_heads(found: Attention) -> bool:
    """Whether queries, keys and values are declared to have the same number of heads, and batch
    sizes that are not known to differ.
    """
    shapes = [found.scores.queries.shape, found.scores.keys.shape, found.values.shape]
    known = [shape for shape in shapes if shape is not None and len(shape) == len(_SWAP_LAST)]
    heads = {shape[1] for shape in known}
    batches = {shape[0] for shape in known if isinstance(shape[0], int)}
    static = all(isinstance(count, int) for count in heads)
    return len(known) == len(shapes) and len(heads) == 1 and static and len(batches) <= 1


def _rows(found: Attention) -> Literal["one", "each"] | None:
    """Whether the mask has one row for all queries or one for each."""
    mask = None if found.mask is None else found.mask.shape
    queries = found.scores.queries.shape
    if mask is None or queries is None or len(mask) not in (2, 4):
        return None
    rows = mask[-2]
    if rows == 1 and queries[-2] != 1:
        return "one"
    unnamed = isinstance(rows, ir.SymbolicDim) and rows.value is None
    return "each" if rows == queries[-2] and not unnamed else None


def _mask(
    editor: Editor, found: Attention, anchor: ir.Node, queries: ir.Value, axis: int
) -> list[ir.Value]:
    """The mask as the operator takes it, with the positions of ``queries`` along an axis."""
    if found.mask is None or _rows(found) == "each":
        return [] if found.mask is None else [found.mask]
    base, rank = label(anchor), len(found.mask.shape or ())
    attributes = {"start": axis, "end": axis + 1}
    count = editor.insert_before(anchor, "Shape", [queries], f"{base}/positions", attributes)
    before = editor.constant(anchor, f"{base}/leading", np.ones(rank - 2, np.int64))
    after = editor.constant(anchor, f"{base}/one", np.ones(1, np.int64))
    parts = [before, count, after]
    sizes = editor.insert_before(anchor, "Concat", parts, f"{base}/mask_sizes", {"axis": 0})
    return [editor.insert_before(anchor, "Expand", [found.mask, sizes], f"{base}/mask")]


def _replace(editor: Editor, found: Attention) -> Note:
    scale = found.scores.factor
    keys = _keys(found)
    node, order = keys if keys is not None else (found.last, _SWAP_LAST)
    origin = sorted(found.nodes, key=label)
    heads = _joined(found, node, order)
    if heads is not None:
        return _replace_joined(editor, found, heads, origin)
    last, base = found.last, label(found.last)
    source = node.inputs[0]
    if order != tuple(range(len(order))):
        attributes = {"perm": order}
        source = editor.insert_before(last, "Transpose", [source], f"{base}/keys", attributes)
    queries = found.scores.queries
    inputs = [queries, source, found.values, *_mask(editor, found, last, queries, 2)]
    new = editor.insert_before(
        last, "Attention", inputs, f"{base}/attention", _scale(found, scale), origin=origin
    )
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(found.nodes)} nodes became Attention")


def _joined(found: Attention, node: ir.Node, order: tuple[int, ...]) -> list[Heads] | None:
    """How queries, keys, values and result are split into heads, where all are alike."""
    if node.inputs[0] is None:
        return None
    keys = split_heads(node.inputs[0], order)
    split = [split_heads(found.scores.queries), keys, split_heads(found.values)]
    joined = joined_heads(found.last)
    parts = [part for part in (*split, joined) if part is not None]
    counts = {part.count for part in parts if part is not joined}
    return parts if len(parts) == len(("q", "k", "v", "y")) and len(counts) == 1 else None


def _replace_joined(
    editor: Editor, found: Attention, parts: list[Heads], origin: list[ir.Node]
) -> Note:
    *split, joined = parts
    last, base = joined.node, label(joined.node)
    inputs = [part.value for part in split]
    inputs += _mask(editor, found, last, inputs[0], 1)
    count = split[0].count
    attributes = {**_scale(found, found.scores.factor), "q_num_heads": count, "kv_num_heads": count}
    new = editor.insert_before(
        last, "Attention", inputs, f"{base}/attention", attributes, origin=[*origin, last]
    )
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(found.nodes)} nodes and the heads became Attention")


def _scale(found: Attention, scale: float) -> dict[str, float | int]:
    """The scale, left out where it is the operator's own 1/√size."""
    shape = found.scores.queries.shape
    size = None if shape is None else shape[-1]
    usual = isinstance(size, int) and size > 0 and math.isclose(scale, size**-0.5, rel_tol=1e-6)
    return {} if usual else {"scale": scale}
