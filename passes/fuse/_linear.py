"""MatMul and Gemm with constant weights, and what an affine map does to those weights.

A linear layer computes ``y[n] = Σ_k x[k]·W[k,n] + b[n]`` along the last axis. Hence

- after it: ``s·y + t`` is the layer with ``W[k,n]·s[n]`` and ``s[n]·b[n] + t[n]``;
- before it: reading ``s·x + t`` is the layer with ``s[k]·W[k,n]`` and ``b[n] + Σ_k t[k]·W[k,n]``.

The bias is input 2 of a Gemm, or a constant in an Add that alone reads a MatMul. Everything is
computed in double precision and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import (
    Editor,
    attribute,
    constant,
    is_constant,
    is_op,
    label,
    only_consumer,
    rewrite_constant,
    use_count,
)
from onnxopt_passes.fuse._affine import FLOATS, OVERRIDABLE, Affine, Vector, read_elementwise
from onnxopt_passes.fuse._shape import Layout, Layouts

GEMM_TYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
"""What a MatMul of matrices must hold to become a Gemm."""

_WEIGHT_RANK = 2
_PRODUCT = "/product"


@dataclass(frozen=True)
class Linear:
    """A MatMul or Gemm by constant weights, with its bias.

    Attributes:
        node: The MatMul or Gemm.
        weight: Its weights: ``[K, N]``, for a Gemm with ``transB`` ``[N, K]``.
        adder: The Add that gives a MatMul its bias; None where there is none.
        rank: Number of axes of what it reads and computes.
    """

    node: ir.Node
    weight: ir.TensorProtocol
    adder: ir.Node | None
    rank: int

    @property
    def transposed(self) -> bool:
        """Whether the weights lie as ``[N, K]``."""
        return bool(self.node.op_type == "Gemm" and attribute(self.node, "transB", 0))

    @property
    def shape(self) -> tuple[int, int]:
        """Sizes K and N."""
        first, second = (int(str(size)) for size in self.weight.shape)
        return (second, first) if self.transposed else (first, second)

    @property
    def output(self) -> ir.Value:
        """What it computes, bias included."""
        return (self.adder or self.node).outputs[0]

    @property
    def input_layout(self) -> Layout:
        """Rank and channels of what it reads."""
        return Layout(self.rank, self.shape[0], self.rank - 1)

    @property
    def output_layout(self) -> Layout:
        """Rank and channels of what it computes."""
        return Layout(self.rank, self.shape[1], self.rank - 1)

    def then(self, affine: Affine) -> Refit | str:
        """The weights that make ``affine`` of the output, or a reason why there are none."""
        bias = self.bias()
        if isinstance(bias, str):
            return bias
        with np.errstate(all="ignore"):
            weight = self.matrix() * np.broadcast_to(affine.scale, (self.shape[1],))
            moved = bias * affine.scale + affine.shift
        return self.rounded(weight, moved)

    def after(self, affine: Affine) -> Refit | str:
        """The weights that read ``x`` instead of ``affine`` of ``x``, or why there are none."""
        bias = self.bias()
        if isinstance(bias, str):
            return bias
        matrix = self.matrix()
        with np.errstate(all="ignore"):
            weight = matrix * np.broadcast_to(affine.scale, (self.shape[0],))[:, np.newaxis]
            moved = bias + np.broadcast_to(affine.shift, (self.shape[0],)) @ matrix
        return self.rounded(weight, moved)

    def matrix(self) -> Vector:
        """The weights as ``[K, N]`` with a Gemm's factor, in double precision."""
        weight = self.weight.numpy().astype(np.float64)
        alpha = float(str(attribute(self.node, "alpha", 1.0)))
        return (weight.T if self.transposed else weight) * alpha

    def bias(self) -> Vector | str:
        """The bias as ``[N]``, zeros where there is none."""
        place = _bias_of(self.node, self.adder)
        if place is None:
            return np.zeros(self.shape[1])
        array = constant(place)
        if array is None:
            why = OVERRIDABLE if place.is_initializer() else "is not constant"
            return f"the bias {place.name} of {label(self.node)} {why}"
        if array.size not in (1, self.shape[1]):
            return f"the bias {place.name} of {label(self.node)} varies from row to row"
        beta = float(str(attribute(self.node, "beta", 1.0)))
        return np.broadcast_to(array.astype(np.float64).reshape(-1) * beta, (self.shape[1],))

    def rounded(self, weight: Vector, bias: Vector) -> Refit | str:
        """New weights ``[K, N]`` and bias in the layer's type, or why they do not fit it."""
        dtype = self.weight.numpy().dtype
        with np.errstate(all="ignore"):
            rounded, offset = weight.astype(dtype), bias.astype(dtype)
        if not (np.isfinite(rounded).all() and np.isfinite(offset).all()):
            return f"the result is not finite in {dtype} in {label(self.node)}"
        lost = np.abs(weight).max(initial=0.0) and not np.abs(rounded).max(initial=0)
        if lost:
            return f"the result underflows {dtype} in {label(self.node)}"
        has_bias = _bias_of(self.node, self.adder) is not None
        return Refit(self, rounded, offset if has_bias or bias.any() else None)


@dataclass(frozen=True)
class Refit:
    """New weights ``[K, N]`` of a linear layer and its bias ``[N]``; None for no bias."""

    linear: Linear
    weight: npt.NDArray[np.generic]
    bias: npt.NDArray[np.generic] | None

    def write(self, editor: Editor) -> ir.Value:
        """Put them into the graph; returns the output, of a new Add where a bias came to be."""
        node = self.linear.node
        stored = self.weight.T if self.linear.transposed else self.weight
        for name in ("alpha", "beta"):
            node.attributes.pop(name, None)
        _put(editor, node, 1, stored, "weight")
        if self.bias is None:
            return self.linear.output
        if node.op_type == "Gemm":
            node.resize_inputs(3)
            _put(editor, node, 2, self.bias, "bias")
            return node.outputs[0]
        if self.linear.adder is not None:
            place = 1 if self.linear.adder.inputs[0] is node.outputs[0] else 0
            _put(editor, self.linear.adder, place, self.bias, "bias")
            rename_product(editor, node)
            return self.linear.adder.outputs[0]
        raise ValueError(f"MatMul {label(node)} has no Add for its bias")


def rename_product(editor: Editor, node: ir.Node) -> None:
    """Give a layer's output without its bias a new name: it is not the tensor it was."""
    product = node.outputs[0]
    if product.name and not product.name.endswith(_PRODUCT):
        product.name = editor.fresh(f"{product.name}{_PRODUCT}")


def read_linear(node: ir.Node | None, layouts: Layouts) -> Linear | str | None:
    """Read a node as a linear layer with constant weights.

    Returns a reason where it is one but its weights cannot be changed, None for another node.
    """
    if node is None or not is_op(node, "MatMul", "Gemm") or len(node.inputs) < _WEIGHT_RANK:
        return None
    source, weight = node.inputs[:2]
    if source is None or weight is None or any(a.is_ref() for a in node.attributes.values()):
        return None
    if not is_constant(weight):
        return f"the weight of {label(node)} {OVERRIDABLE}" if weight.is_initializer() else None
    tensor = ir.convenience.get_const_tensor(weight)
    if tensor is None or tensor.dtype not in FLOATS or len(tensor.shape) != _WEIGHT_RANK:
        return None
    if 0 in tuple(tensor.shape) or (node.op_type == "Gemm" and attribute(node, "transA", 0)):
        return None
    rank = _WEIGHT_RANK if node.op_type == "Gemm" else layouts[source].rank
    if rank is None or rank < _WEIGHT_RANK:
        return f"the rank of what {label(node)} reads is unknown"
    bare = Linear(node, tensor, None, rank)
    return Linear(node, tensor, _adder(node, bare), rank)


def _adder(node: ir.Node, bare: Linear) -> ir.Node | None:
    """The Add of a vector that alone reads a MatMul."""
    if node.op_type == "Gemm":
        return None
    reader = only_consumer(node.outputs[0])
    if reader is None or reader.op_type != "Add":
        return None
    step = read_elementwise(reader, bare.output_layout)
    return None if step is None or isinstance(step, str) else reader


def _bias_of(node: ir.Node, adder: ir.Node | None) -> ir.Value | None:
    if node.op_type == "Gemm":
        return node.inputs[2] if len(node.inputs) > _WEIGHT_RANK else None
    if adder is None:
        return None
    return adder.inputs[1] if adder.inputs[0] is node.outputs[0] else adder.inputs[0]


def _put(
    editor: Editor, node: ir.Node, index: int, array: npt.NDArray[np.generic], suffix: str
) -> None:
    old = node.inputs[index]
    if old is not None and use_count(old) == 1 and not old.is_graph_output():
        rewrite_constant(old, array)
        return
    node.replace_input_with(index, editor.constant(node, f"{label(node)}/{suffix}", array))
