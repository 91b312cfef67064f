"""fold-attention-scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import (
    Editor,
    constant,
    constant_tensor,
    is_constant,
    is_op,
    label,
    nodes_with_opset,
    only_consumer,
    rewrite_constant,
)
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import FLOATS
from onnxopt_passes.fuse._algebra import FIRST_OPSET, leak
from onnxopt_passes.fuse._attention import Scores, read_scores
from onnxopt_passes.fuse._shape import ORDER_ONLY, Layouts

_LONGEST = 6


@dataclass(frozen=True)
class FoldAttentionScale(Pass):
    """``c·(x·W + b)·Kᵀ = (x·(c·W) + c·b)·Kᵀ``.

    The number by which the scores of an attention, its queries or its keys are multiplied goes
    into the weights and bias of the layer that makes the queries (or the keys): a MatMul or Gemm
    with constant weights, after it only Add of a constant, Reshape, Transpose and the like. The
    scores must go into a Softmax, directly or with a mask added. Weights that others read, too,
    and values that others read stay as they are.
    """

    looks_for = frozenset({"Softmax"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Softmax."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in list(nodes_with_opset(model)):
            if version < FIRST_OPSET or not is_op(node, "Softmax") or node.inputs[0] is None:
                continue
            found = _scaled_product(node.inputs[0])
            if found is not None:
                yield _fold(editor, layouts, *found)


def _scaled_product(argument: ir.Value) -> tuple[ir.Value, Scores] | None:
    """The value that is a number (not 1) times a product, under a mask or not."""
    producer = argument.producer()
    masked = producer.inputs if producer is not None and is_op(producer, "Add") else ()
    for value in (argument, *masked):
        scores = None if value is None else read_scores(value)
        if value is not None and scores is not None:
            return None if scores.factor == 1.0 else (value, scores)
    return None


def _fold(editor: Editor, layouts: Layouts, value: ir.Value, scores: Scores) -> Note:
    last = value.producer() or scores.product
    read = leak(scores.nodes, last)
    if read is not None:
        return Note.refused(last, f"{read.name} is read elsewhere too")
    if scores.constant_rank > (layouts[scores.queries].rank or 0):
        return Note.refused(last, "a constant may add axes")
    chains = [_projection(source) for source in (scores.queries, scores.keys)]
    usable = [chain for chain in chains if not isinstance(chain, str)]
    if not usable:
        return Note.refused(last, str(chains[0]))
    chain = usable[0]
    arrays = {item: _times(item, scores.factor) for node in chain for item in _weights(node)}
    scaled = {item: array for item, array in arrays.items() if array is not None}
    if len(scaled) < len(arrays):
        return Note.refused(last, "the weights times the scale do not fit their type")
    layer = label(chain[-1])
    for item, array in scaled.items():
        rewrite_constant(item, array)
    for node in chain:
        output = node.outputs[0]
        output.name = editor.fresh(f"{output.name}/scaled")
    new = _unscale(editor, value, scores)
    return Note.applied(new, f"the scale {scores.factor:.6g} went into {layer}")


def _projection(value: ir.Value) -> list[ir.Node] | str:
    """The nodes from a value up to the layer that makes it, or why it cannot be scaled there."""
    chain: list[ir.Node] = []
    current: ir.Value | None = value
    while current is not None and len(chain) < _LONGEST:
        node = current.producer()
        if node is None or only_consumer(current) is None:
            break
        chain.append(node)
        shared = [item for item in _weights(node) if len(item.uses()) > 1 or item.is_graph_output()]
        if shared:
            return f"{shared[0].name} is read elsewhere too"
        if is_op(node, "MatMul", "Gemm"):
            fixed = all(is_constant(item) for item in node.inputs[1:] if item is not None)
            return chain if fixed else f"{label(node)} has no constant weights"
        current = _source(node)
    return f"{value.name} does not come from one layer of its own"


def _source(node: ir.Node) -> ir.Value | None:
    """The input that a node passes on, with a constant added at most."""
    if is_op(node, *ORDER_ONLY):
        return node.inputs[0]
    variables = [v for v in node.inputs if v is not None and not is_constant(v)]
    return variables[0] if is_op(node, "Add") and len(variables) == 1 else None


def _weights(node: ir.Node) -> list[ir.Value]:
    """The constants of a node that its output is proportional to."""
    if not is_op(node, "Add", "Gemm", "MatMul"):
        return []
    return [item for item in node.inputs if item is not None and is_constant(item)]


def _times(value: ir.Value, factor: float) -> npt.NDArray[np.generic] | None:
    """A constant times a number, in its own type; None where it does not fit there."""
    tensor, array = constant_tensor(value), constant(value)
    if tensor is None or array is None or tensor.dtype not in FLOATS:
        return None
    with np.errstate(all="ignore"):
        product = (array.astype(np.float64) * factor).astype(array.dtype)
    return product if np.isfinite(product.astype(np.float64)).all() else None


def _unscale(editor: Editor, value: ir.Value, scores: Scores) -> ir.Value:
    """Put the bare product of queries and keys in place of its multiple."""
    product, last = scores.product, value.producer() or scores.product
    inputs, name = [scores.queries, scores.keys], f"{label(product)}/scores"
    new = editor.insert_before(
        product, "MatMul", inputs, name, origin=sorted(scores.nodes, key=label)
    )
    editor.replace(value, new)
    editor.sweep(last)
    return new
