"""spell-softmax-without-subnormals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, all_nodes, constant, is_op, label
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._shape import ORDER_ONLY

_SUBNORMAL = (-104.0, -87.3)
"""Between them the exponential is a subnormal number of single precision."""
_SPREAD = 20.0
"""By how much scores may move what a mask adds to them."""
_TINY = 1e-30
_PRODUCTS = ("Einsum", "Gemm", "MatMul")
_STEPS = 8


@dataclass(frozen=True)
class SpellSoftmaxWithoutSubnormals(Pass):
    """``Softmax(x + mask)·v = (Softmax(x + mask) + 1e-30)·v`` for masks of about -100.

    As shifted windows of attention have them: the probability of what they mask is near 1e-44,
    a subnormal number, with which x86 processors multiply a hundred times slower (a product of
    attention in Swin takes 17 times as long as without a mask, 4.9 ms instead of .3). Masks of
    -10000 or -inf give exact zeros. What is added is lost in every probability above 1e-23.
    """

    looks_for = frozenset({"Softmax"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Lift the probabilities of each Softmax over such a mask, before products."""
        editor = Editor(model)
        for node in list(all_nodes(model)):
            if not is_op(node, "Softmax") or node.graph is None or not _masks(node.inputs[0]):
                continue
            readers = _product_readers(node)
            if readers:
                yield _lift(editor, node, readers)


def _masks(value: ir.Value | None) -> bool:
    """Whether constants near the subnormal range are added to a tensor, or stand in for it.

    They are of single precision, and with them the tensor.
    """
    for _ in range(_STEPS):
        node = None if value is None else value.producer()
        if node is None:
            return False
        if is_op(node, *ORDER_ONLY):
            value = node.inputs[0]
        elif is_op(node, "Add", "Where"):
            if any(_is_near_subnormal(operand) for operand in node.inputs[-2:]):
                return True
            value = next((one for one in node.inputs[-2:] if constant(one) is None), None)
        else:
            return False
    return False


def _is_near_subnormal(value: ir.Value | None) -> bool:
    array = constant(value)
    if array is None or array.dtype != np.float32:
        return False
    low, high = _SUBNORMAL
    numbers = np.asarray(array, np.float32)
    return bool(np.any((numbers > low - _SPREAD) & (numbers < high + _SPREAD)))


def _product_readers(node: ir.Node) -> list[ir.Node]:
    readers = dict.fromkeys(use.node for use in node.outputs[0].uses())
    return [one for one in readers if one.graph is node.graph and _leads_to_product(one)]


def _leads_to_product(node: ir.Node) -> bool:
    for _ in range(_STEPS):
        if is_op(node, *_PRODUCTS):
            return True
        uses = list(node.outputs[0].uses())
        if not is_op(node, *ORDER_ONLY) or len(uses) != 1:
            return False
        node = uses[0].node
    return False


def _lift(editor: Editor, node: ir.Node, readers: list[ir.Node]) -> Note:
    source, name = node.outputs[0], f"{label(node)}/lifted"
    tiny = editor.constant(node, f"{name}/tiny", np.array(_TINY, np.float32))
    graph = node.graph
    assert graph is not None
    anchor = next(one for one in graph if one in readers)
    lifted = editor.insert_before(anchor, "Add", [source, tiny], name, origin=[node])
    lifted.type, lifted.shape = source.type, source.shape
    for reader in readers:
        for place, value in enumerate(reader.inputs):
            if value is source:
                reader.replace_input_with(place, lifted)
    return Note.applied(lifted, "masked probabilities are no subnormal numbers any more")
