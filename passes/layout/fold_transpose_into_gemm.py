"""fold-transpose-into-gemm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import (
    Editor,
    attribute,
    constant_tensor,
    is_op,
    label,
    nodes_with_opset,
    only_consumer,
)
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._linear import GEMM_TYPES

_FIRST_OPSET = 11
"""Before it, Gemm must have a third operand."""
_SWITCHES = ("transA", "transB")


@dataclass(frozen=True)
class FoldTransposeIntoGemm(Pass):
    """``Gemm(Aᵀ, B) = Gemm(A, B; transA)``, ``Gemm(A, B)ᵀ = Gemm(B, A; transA, transB)``.

    For products of matrices that read a Transpose alone, or that a Transpose alone reads; the
    latter only without a third operand or with a single number there. A MatMul of matrices whose
    element type is known to be a float becomes the Gemm.
    """

    looks_for = frozenset({"Transpose"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try the readers and the maker of each Transpose."""
        editor = Editor(model)
        for node, version in list(nodes_with_opset(model)):
            if version < _FIRST_OPSET or not _swaps_rows_and_columns(node):
                continue
            reader = only_consumer(node.outputs[0])
            if reader is not None and _is_product(reader, node.outputs[0]):
                yield _fold_before(editor, node, reader)
                continue
            maker = node.inputs[0].producer() if node.inputs[0] is not None else None
            if maker is not None and _is_product(maker, node.outputs[0]):
                yield _fold_after(editor, maker, node)


def _swaps_rows_and_columns(node: ir.Node) -> bool:
    """Whether it transposes a matrix: with the permutation spelled out or by default."""
    if not is_op(node, "Transpose") or node.graph is None or node.inputs[0] is None:
        return False
    perm = node.attributes.get("perm")
    if perm is not None:
        return not perm.is_ref() and list(perm.as_ints()) == [1, 0]
    shape = node.inputs[0].shape
    return shape is not None and len(shape) == 2


def _is_product(node: ir.Node, matrix: ir.Value) -> bool:
    """Whether it is a Gemm, or a MatMul of matrices of floats; ``matrix`` is one of its values."""
    if is_op(node, "Gemm"):
        return not any(attr.is_ref() for attr in node.attributes.values())
    if not is_op(node, "MatMul") or not all(_is_matrix(value) for value in node.inputs):
        return False
    related = [matrix, *node.inputs]
    makers = [value.producer() for value in related if value is not None]
    related += [maker.inputs[0] for maker in makers if is_op(maker, "Transpose") and maker]
    types = {value.dtype for value in related if value is not None} - {None}
    return bool(types) and types <= set(GEMM_TYPES)


def _is_matrix(value: ir.Value | None) -> bool:
    tensor = constant_tensor(value)
    shape = tensor.shape if tensor is not None else None if value is None else value.shape
    if shape is not None:
        return len(shape) == 2
    producer = None if value is None else value.producer()
    return producer is not None and (is_op(producer, "Gemm") or _swaps_rows_and_columns(producer))


def _fold_before(editor: Editor, transpose: ir.Node, product: ir.Node) -> Note:
    place = next(n for n, value in enumerate(product.inputs) if value is transpose.outputs[0])
    if place >= len(_SWITCHES):
        return Note.refused(transpose, f"it is what {label(product)} adds")
    operands = list(product.inputs[:2])
    operands[place] = transpose.inputs[0]
    flags = _flags(product)
    flags[place] = not flags[place]
    return _put(editor, product, [*operands, *product.inputs[2:]], flags, [transpose, product])


def _fold_after(editor: Editor, product: ir.Node, transpose: ir.Node) -> Note:
    if only_consumer(product.outputs[0]) is not transpose:
        return Note.refused(transpose, f"{product.outputs[0].name} is read elsewhere too")
    rest = product.inputs[2:]
    if any(value is not None and not _is_number(value) for value in rest):
        return Note.refused(transpose, f"{label(product)} adds more than one number")
    left, right = _flags(product)
    operands = [product.inputs[1], product.inputs[0], *rest]
    flags = [not right, not left]
    return _put(editor, product, operands, flags, [product, transpose], at=transpose)


def _put(
    editor: Editor,
    product: ir.Node,
    inputs: list[ir.Value | None],
    flags: list[bool],
    origin: list[ir.Node],
    *,
    at: ir.Node | None = None,
) -> Note:
    """Write the Gemm that stands for a product, or for the Transpose after it."""
    last = at or product
    factors = {
        name: float(str(attribute(product, name, 1.0)))
        for name in ("alpha", "beta")
        if name in product.attributes
    }
    switches = {name: 1 for name, on in zip(_SWITCHES, flags, strict=True) if on}
    name = f"{label(last)}/gemm"
    new = editor.insert_before(last, "Gemm", inputs, name, {**factors, **switches}, origin=origin)
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, "a Transpose became a switch of Gemm")


def _flags(product: ir.Node) -> list[bool]:
    return [bool(attribute(product, name, 0)) for name in _SWITCHES]


def _is_number(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.size == 1
