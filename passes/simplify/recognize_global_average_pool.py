"""Writes means over the whole image as GlobalAveragePool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._attributes import axes_of, ints_of
from onnxopt_passes.simplify._facts import facts_of

_MEAN_TAKES_AXES_SINCE = 18
_IMAGE_RANK = 4
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@dataclass(frozen=True)
class RecognizeGlobalAveragePool(Pass):
    """ReduceMean(x, [2, 3]) → GlobalAveragePool(x), for x of rank 4 and axes that are kept.

    So is an AveragePool without padding whose window is the whole image. ONNX Runtime keeps
    GlobalAveragePool in the blocked layout of the Convs around it; for ReduceMean it leaves it. It
    adds up one number after the other, though: over 160 x 160 it errs ten times as much as
    ReduceMean, and a detector's gates made 0.0017 of that in its output. Means over larger images,
    or of unknown size, therefore stay.

    Attributes:
        largest: The most pixels of an image; 0 sets no limit.
    """

    exactness = Exactness.ROUNDING
    looks_for = frozenset({"AveragePool", "ReduceMean"})

    largest: int = 4096

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Rewrite in place, in every graph and function."""
        facts = facts_of(model)
        for node, version in edit.nodes_with_opset(model):
            if not edit.is_op(node, "ReduceMean", "AveragePool"):
                continue
            shape, dtype = facts.shape(node.inputs[0]), facts.dtype(node.inputs[0])
            if shape is None or len(shape) != _IMAGE_RANK or dtype not in _FLOATS:
                continue
            if edit.is_op(node, "ReduceMean"):
                fits = _is_over_image(node, version)
            else:
                fits = _is_whole_window(node, shape)
            if not fits:
                continue
            is_mean = edit.is_op(node, "ReduceMean")
            if is_mean and self.largest and not _is_within(shape[2:], self.largest):
                reason = f"a mean over an image that is not known to have {self.largest} pixels"
                yield Note.refused(node, f"{reason} at most: GlobalAveragePool is less exact")
                continue
            before, node.op_type = node.op_type, "GlobalAveragePool"
            node.resize_inputs(1)
            node.attributes.clear()
            yield Note.applied(node, f"this {before} is over the whole image")


def _is_within(sizes: tuple[object, ...], largest: int) -> bool:
    height, width = sizes
    return isinstance(height, int) and isinstance(width, int) and height * width <= largest


def _is_over_image(node: ir.Node, version: int) -> bool:
    axes = axes_of(node, version, since=_MEAN_TAKES_AXES_SINCE)
    if axes is None or edit.attribute(node, "keepdims", 1) != 1:
        return False
    return sorted(axis % _IMAGE_RANK for axis in axes) == [2, 3]


def _is_whole_window(node: ir.Node, shape: tuple[object, ...]) -> bool:
    kernel, pads = ints_of(node, "kernel_shape"), ints_of(node, "pads")
    plain = edit.attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    dilations = ints_of(node, "dilations") or [1]
    return plain and not any(pads or ()) and set(dilations) == {1} and kernel == list(shape[2:])
