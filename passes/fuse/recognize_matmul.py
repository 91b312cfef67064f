"""recognize-matmul."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass


@dataclass(frozen=True)
class RecognizeMatmul(Pass):
    """``Einsum("…mk,…kn->…mn"; a, b) = MatMul(a, b)``, with transpositions where the letters stand
    in another order.

    Two operands, every letter once in each. With a constant operand, groups of letters for the
    rows, the columns and the sum: ``"btd,dnh->btnh"`` is one MatMul by ``[d, n·h]`` and a Reshape.
    Else one letter each for row, column and sum, the others being the batch. ONNX Runtime's Einsum
    transposes at run time and takes no fused forms.
    """

    looks_for = frozenset({"Einsum"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace each Einsum of two operands that is a product of matrices."""
        editor = Editor(model)
        for node, _ in nodes_with_opset(model):
            if is_op(node, "Einsum") and node.graph is not None:
                yield _replace(editor, node)


@dataclass(frozen=True)
class _Product:
    """An equation read as a product: ``a[batch, rows, inner]`` by ``b[batch, inner, columns]``."""

    left: str
    right: str
    output: str

    @property
    def batch(self) -> str:
        """Letters that stand everywhere, as in the output."""
        return "".join(c for c in self.output if c in self.left and c in self.right)

    @property
    def rows(self) -> str:
        """Letters of the left operand and the output only."""
        return "".join(c for c in self.output if c in self.left and c not in self.right)

    @property
    def columns(self) -> str:
        """Letters of the right operand and the output only."""
        return "".join(c for c in self.output if c in self.right and c not in self.left)

    @property
    def inner(self) -> str:
        """Letters that are summed over, as in the right operand."""
        return "".join(c for c in self.right if c in self.left and c not in self.output)

    @property
    def swapped(self) -> _Product:
        """The operands exchanged."""
        return _Product(self.right, self.left, self.output)


def _replace(editor: Editor, node: ir.Node) -> Note:
    product = _read(node)
    if isinstance(product, str):
        return Note.refused(node, product)
    left, right = node.inputs
    if left is None or right is None:
        return Note.refused(node, "an operand is missing")
    if constant(left) is not None and constant(right) is None:
        product, left, right = product.swapped, right, left
    if not _agree(product, left, right):
        return Note.refused(node, "an axis summed over may have one element and be repeated")
    weight = constant(right)
    new: ir.Value | str = (
        _by_constant(editor, node, product, left, weight)
        if weight is not None and not product.batch
        else _between(editor, node, product, left, right)
    )
    if isinstance(new, str):
        return Note.refused(node, new)
    editor.replace(node.outputs[0], new)
    editor.sweep(node)
    return Note.applied(new, "Einsum became MatMul")


def _read(node: ir.Node) -> _Product | str:
    attr = node.attributes.get("equation")
    if attr is None or attr.is_ref():
        return "its equation is a parameter of the function"
    equation = str(attribute(node, "equation", "")).replace(" ", "")
    operands, arrow, output = equation.partition("->")
    terms = operands.split(",")
    if len(terms) != 2 or not arrow or "." in equation:
        return f"{equation!r} is no product of two tensors with letters for all axes"
    left, right = terms
    if any(len(set(term)) < len(term) for term in (left, right, output)):
        return f"{equation!r} takes a diagonal"
    product = _Product(left, right, output)
    lonely = set(left) ^ set(right)
    if not lonely <= set(output):
        return f"{equation!r} sums over an axis of one operand"
    return product if product.inner else f"{equation!r} sums over nothing"


def _agree(product: _Product, left: ir.Value, right: ir.Value) -> bool:
    """Whether the operands are known to have the same sizes where they are summed over."""
    if left.shape is None or right.shape is None:
        return False
    if (len(left.shape), len(right.shape)) != (len(product.left), len(product.right)):
        return False
    pairs = [
        (left.shape[product.left.index(letter)], right.shape[product.right.index(letter)])
        for letter in product.inner
    ]
    return all(a == b and a != ir.SymbolicDim(None) for a, b in pairs)


def _by_constant(
    editor: Editor,
    node: ir.Node,
    product: _Product,
    left: ir.Value,
    weight: npt.NDArray[np.generic],
) -> ir.Value | str:
    """Rows of any number of letters by a constant, flattened to a matrix."""
    rows, inner, columns = product.rows, product.inner, product.columns
    if not rows:
        return "the variable operand has no axis that stays"
    base = label(node)
    order = [product.right.index(letter) for letter in inner + columns]
    sizes = dict(zip(product.right, weight.shape, strict=True))
    height = int(np.prod([sizes[letter] for letter in inner]))
    matrix = np.ascontiguousarray(weight.transpose(order)).reshape(height, -1)
    value = _ordered(editor, node, left, product.left, rows + inner)
    if len(inner) > 1:
        flat = np.array([*(0 for _ in rows), height], np.int64)
        value = _reshaped(editor, node, value, flat, f"{base}/rows")
    value = editor.insert_before(
        node,
        "MatMul",
        [value, editor.constant(node, f"{base}/weight", matrix)],
        f"{base}/matmul",
        origin=[node],
    )
    if len(columns) != 1:
        wide = np.array([*(0 for _ in rows), *(sizes[c] for c in columns)], np.int64)
        value = _reshaped(editor, node, value, wide, f"{base}/columns")
    return _ordered(editor, node, value, rows + columns, product.output)


def _between(
    editor: Editor, node: ir.Node, product: _Product, left: ir.Value, right: ir.Value
) -> ir.Value | str:
    """A batch of plain products of matrices."""
    rows, inner, columns, batch = product.rows, product.inner, product.columns, product.batch
    if not len(rows) == len(inner) == len(columns) == 1:
        return "it has no single letter each for the row, the column and the sum"
    one = _ordered(editor, node, left, product.left, batch + rows + inner)
    two = _ordered(editor, node, right, product.right, batch + inner + columns)
    name = f"{label(node)}/matmul"
    value = editor.insert_before(node, "MatMul", [one, two], name, origin=[node])
    return _ordered(editor, node, value, batch + rows + columns, product.output)


def _ordered(editor: Editor, node: ir.Node, value: ir.Value, letters: str, wanted: str) -> ir.Value:
    """The value with its axes in the wanted order."""
    if letters == wanted:
        return value
    perm = [letters.index(letter) for letter in wanted]
    name = f"{label(node)}/{value.name}/transposed"
    return editor.insert_before(node, "Transpose", [value], name, {"perm": perm}, origin=[node])


def _reshaped(
    editor: Editor, node: ir.Node, value: ir.Value, shape: npt.NDArray[np.int64], name: str
) -> ir.Value:
    sizes = editor.constant(node, f"{name}/shape", shape)
    return editor.insert_before(node, "Reshape", [value, sizes], name, origin=[node])
