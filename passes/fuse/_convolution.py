"""Conv and ConvTranspose with constant weights, and what an affine map does to those weights.

With output channel ``m`` in group ``g``: ``y[m] = Σ_c W[m,c] * x[c] + b[m]`` over the input
channels ``c`` of the group. Hence for maps along the channels

- after it: ``s·y + t`` is the convolution with ``s[m]·W[m,c]`` and ``s[m]·b[m] + t[m]``;
- before it: reading ``s·x + t`` is the convolution with ``W[m,c]·s[c]`` and
  ``b[m] + Σ_c (Σ_k W[m,c,k])·t[c]``, the latter only where every tap ``k`` meets every output,
  that is for a Conv without padding.

Everything is computed in double precision and rounded once.
"""

from __future__ import annotations

import functools
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
    rewrite_constant,
    use_count,
)
from onnxopt_passes.fuse._affine import FLOATS, OVERRIDABLE, Affine, Vector
from onnxopt_passes.fuse._shape import Layout

_LOST = 2.0**-9
"""What rounding to float16 may take of a channel's largest weight: two of its eleven bits."""


@dataclass(frozen=True)
class Convolution:
    """A Conv or ConvTranspose whose weights are constant.

    Attributes:
        node: The node.
        weight: Its weights: ``[M, C/group, …]``, for a ConvTranspose ``[C, M/group, …]``.
        group: Number of groups.
    """

    node: ir.Node
    weight: ir.TensorProtocol
    group: int

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weights."""
        return tuple(int(str(size)) for size in self.weight.shape)

    @property
    def transposed(self) -> bool:
        """Whether it is a ConvTranspose."""
        return self.node.op_type == "ConvTranspose"

    @property
    def output(self) -> ir.Value:
        """What it computes."""
        return self.node.outputs[0]

    @property
    def input_layout(self) -> Layout:
        """Rank and channels of what it reads."""
        channels = self.shape[0] if self.transposed else self.shape[1] * self.group
        return Layout(len(self.shape), channels)

    @property
    def output_layout(self) -> Layout:
        """Rank and channels of what it computes."""
        channels = self.shape[1] * self.group if self.transposed else self.shape[0]
        return Layout(len(self.shape), channels)

    @property
    def meets_border(self) -> bool:
        """Whether some output sees fewer taps than others: padding, or a ConvTranspose."""
        if self.transposed:
            return True
        pads = attribute(self.node, "pads", ())
        if isinstance(pads, list | tuple) and any(pads):
            return True
        same = str(attribute(self.node, "auto_pad", "NOTSET")).startswith("SAME")
        return same and any(size != 1 for size in self.shape[2:])

    def then(self, affine: Affine) -> Folded | str:
        """The weights that make ``affine`` of the output, or a reason why there are none."""
        bias = self._bias()
        if isinstance(bias, str):
            return bias
        scale = _per_channel(affine.scale, self.output_layout)
        shift = _per_channel(affine.shift, self.output_layout)
        axis = 2 if self.transposed else 1
        with np.errstate(all="ignore"):
            scaled = (self._grouped() * self._spread(scale, axis)).reshape(self.shape)
            moved = shift if bias is None else bias * scale + shift
        return self._rounded(scaled, bias, moved)

    def after(self, affine: Affine) -> Folded | str:
        """The weights that read ``x`` instead of ``affine`` of ``x``, or why there are none."""
        bias = self._bias()
        scale = _per_channel(affine.scale, self.input_layout)
        shift = _per_channel(affine.shift, self.input_layout)
        with np.errstate(all="ignore"):
            grouped = self._grouped()
            scaled = (grouped * self._spread(scale, 1 if self.transposed else 2)).reshape(
                self.shape
            )
            if not shift.any():
                return self._rounded(scaled, None, None)
            if self.meets_border:
                what = "a ConvTranspose" if self.transposed else "the zero padding"
                return f"a shift cannot pass {what} of {label(self.node)}"
            if isinstance(bias, str):
                return bias
            taps = grouped.reshape(*grouped.shape[:3], -1).sum(axis=-1)
            moved = np.einsum("gmc,gc->gm", taps, shift.reshape(self.group, -1)).reshape(-1)
        return self._rounded(scaled, bias, moved if bias is None else bias + moved)

    def _bias(self) -> Vector | str | None:
        value = self.node.inputs[2] if len(self.node.inputs) > 2 else None
        if value is None:
            return None
        array = constant(value)
        if array is None:
            why = OVERRIDABLE if value.is_initializer() else "is not constant"
            return f"the bias {value.name} of {label(self.node)} {why}"
        return array.astype(np.float64)

    def _grouped(self) -> Vector:
        """The weights as ``[group, first/group, second, …]``, in double precision."""
        weight = self.weight.numpy().astype(np.float64)
        return weight.reshape(self.group, self.shape[0] // self.group, *self.shape[1:])

    def _spread(self, vector: Vector, axis: int) -> Vector:
        """A vector over channels, shaped to multiply ``_grouped`` weights along an axis."""
        shape = [self.group, 1, 1] + [1] * (len(self.shape) - 2)
        shape[axis] = -1
        return vector.reshape(shape)

    def _rounded(self, weight: Vector, old: Vector | None, bias: Vector | None) -> Folded | str:
        """Both rounded to the type of the weights; the bias is left out where it need not be."""
        dtype = self.weight.numpy().dtype
        if old is None and bias is not None and not bias.any():
            bias = None
        with np.errstate(all="ignore"):
            new = weight.astype(dtype)
            offset = None if bias is None else bias.astype(dtype)
        reason = self._loss(weight, new)
        if reason is None and bias is not None and offset is not None:
            reason = self._loss(bias, offset)
        return f"{reason} in {label(self.node)}" if reason else Folded(self, new, offset)

    def _loss(self, exact: Vector, near: npt.NDArray[np.generic]) -> str | None:
        """Why numbers do not fit a type: overflow, or an output channel that all but vanishes."""
        dtype = near.dtype
        if not np.isfinite(near if dtype.kind == "f" else near.astype(np.float64)).all():
            return f"the result is not finite in {dtype}"
        if dtype != np.float16 or exact.ndim == 1:
            return None
        first, second, *taps = self.shape
        grouped = (self.group, first // self.group, second, *taps)
        rows = (axis for axis in range(len(grouped)) if axis != 0 and axis != 1 + self.transposed)
        axes = tuple(rows)
        peak = np.abs(exact.reshape(grouped)).max(axis=axes)
        error = np.abs((near.astype(np.float64) - exact).reshape(grouped)).max(axis=axes)
        return "the result underflows float16" if (error > _LOST * peak).any() else None


@dataclass(frozen=True)
class Folded:
    """New weights of a convolution, rounded to its type; ``bias`` is None where it stays."""

    convolution: Convolution
    weight: npt.NDArray[np.generic]
    bias: npt.NDArray[np.generic] | None

    def write(self, editor: Editor) -> None:
        """Put them into the graph; weights that others read too are kept for those."""
        node = self.convolution.node
        _put(editor, node, 1, self.weight, "weight")
        if self.bias is not None:
            node.resize_inputs(3)
            _put(editor, node, 2, self.bias, "bias")


def read_convolution(node: ir.Node | None) -> Convolution | str | None:
    """Read a node as a convolution with constant weights.

    Returns a reason where it is a convolution but its weights cannot be changed, None where it is
    another node.
    """
    if node is None or not is_op(node, "Conv", "ConvTranspose"):
        return None
    weight = node.inputs[1]
    if any(attr.is_ref() for attr in node.attributes.values()):
        return f"attributes of {label(node)} are parameters of the function"
    if weight is None or not is_constant(weight):
        overridable = weight is not None and weight.is_initializer()
        why = OVERRIDABLE if overridable else "is not constant"
        return f"the weight of {label(node)} {why}"
    tensor = ir.convenience.get_const_tensor(weight)
    group = int(str(attribute(node, "group", 1)))
    if tensor is None or tensor.dtype not in FLOATS or len(tensor.shape) < 3:
        return f"the weight of {label(node)} is malformed"
    convolution = Convolution(node, tensor, group)
    if 0 in convolution.shape or group < 1 or convolution.shape[0] % group:
        return f"the weight of {label(node)} is malformed"
    return convolution


def _per_channel(vector: Vector, layout: Layout) -> Vector:
    return np.broadcast_to(vector, (layout.channels or 1,))


def _put(
    editor: Editor, node: ir.Node, index: int, array: npt.NDArray[np.generic], suffix: str
) -> None:
    old = node.inputs[index]
    if old is not None and use_count(old) == 1 and not old.is_graph_output():
        rewrite_constant(old, array)
        return
    new = editor.constant(node, f"{label(node)}/{suffix}", array)
    node.replace_input_with(index, new)
