"""What changed in an op at an opset version, and how a node follows.

One function for each change; all other steps between opset 6 and 26 only widen types or add
optional inputs, outputs and attributes whose defaults mean what the older op did (compared schema
by schema; ``tests/passes/simplify/test_opset_steps.py`` repeats the comparison).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._arrays import Array
from onnxopt_passes.simplify._reductions import REDUCTIONS

AUDITED_OPSET = 26
"""The newest opset whose changes are known here."""


class CannotFollow(Exception):
    """This node has no equivalent in the new opset; the message says why."""


@dataclass
class Draft:
    """A node on its way to a newer opset.

    Attributes:
        node: As it stands in the model, untouched.
        op_type: Its op by now.
        inputs: Its inputs by now; an array is a constant that has to be made.
        attributes: Its attributes by now.
        dtype: Element type of its first input, where known.
        rank: Number of axes of its first input, where known.
        flatten_at: Where its input is cut into rows and columns before, and its output put back
            into shape after; None for as it is.
    """

    node: ir.Node
    op_type: str
    inputs: list[ir.Value | Array | None]
    attributes: dict[str, ir.Attr]
    dtype: ir.DataType | None
    rank: int | None
    flatten_at: int | None = None

    @property
    def changed(self) -> bool:
        """Whether it differs from the node."""
        node = self.node
        pairs = zip(self.inputs, node.inputs, strict=False)
        return (
            self.op_type != node.op_type
            or len(self.inputs) != len(node.inputs)
            or any(mine is not own for mine, own in pairs)
            or self.attributes.keys() != node.attributes.keys()
            or any(attr is not node.attributes[name] for name, attr in self.attributes.items())
            or self.flatten_at is not None
        )

    def take(self, name: str) -> Any:
        """Remove an attribute and return its value, or None where it is absent."""
        attr = self.attributes.pop(name, None)
        if attr is None:
            return None
        if attr.is_ref():
            raise CannotFollow(f"attribute {name} comes from the caller of the function")
        return attr.value

    def give(self, position: int, value: Array) -> None:
        """Set an input to a constant; inputs before it that are missing become empty."""
        self.inputs += [None] * (position + 1 - len(self.inputs))
        self.inputs[position] = value

    def move(self, attribute: str, position: int, dtype: Any = np.int64) -> None:
        """Turn an attribute, where present, into an input."""
        value = self.take(attribute)
        if value is not None:
            self.give(position, np.asarray(value, dtype=dtype))

    def float_type(self) -> Any:
        """Numpy's type of the first input."""
        if self.dtype is None:
            raise CannotFollow("the type of its input is not known")
        return self.dtype.numpy()

    def must_not_have(self, name: str, *, unless: object) -> None:
        """Drop an attribute that may only have one value."""
        value = self.take(name)
        if value is not None and value != unless:
            raise CannotFollow(f"{name}={value} has no equivalent")


def _drop_broadcast(draft: Draft) -> None:
    broadcast, axis = draft.take("broadcast"), draft.take("axis")
    if broadcast and axis is not None:
        raise CannotFollow("broadcast along an inner axis has no equivalent")


def _gemm_7(draft: Draft) -> None:
    draft.take("broadcast")


def _batch_normalization_7(draft: Draft) -> None:
    if not draft.take("is_test"):
        raise CannotFollow("it is in training mode")


def _batch_normalization_9(draft: Draft) -> None:
    draft.must_not_have("spatial", unless=1)


def _batch_normalization_14(draft: Draft) -> None:
    if sum(bool(out.name) for out in draft.node.outputs) > 1:
        raise CannotFollow("it is in training mode")


def _dropout_7(draft: Draft) -> None:
    if not draft.take("is_test"):
        raise CannotFollow("it is in training mode")


def _dropout_10(draft: Draft) -> None:
    if len(draft.node.outputs) > 1 and draft.node.outputs[1].name:
        raise CannotFollow("the type of its mask has changed")


def _dropout_12(draft: Draft) -> None:
    draft.move("ratio", 1, np.float32)


def _recurrent_7(draft: Draft) -> None:
    draft.must_not_have("output_sequence", unless=1)


def _upsample_7(draft: Draft) -> None:
    height, width = draft.take("height_scale"), draft.take("width_scale")
    draft.attributes["scales"] = ir.AttrFloat32s("scales", [1.0, 1.0, height, width])


def _upsample_9(draft: Draft) -> None:
    draft.move("scales", 1, np.float32)


def _upsample_10(draft: Draft) -> None:
    draft.op_type = "Resize"


def _resize_11(draft: Draft) -> None:
    """Resize-10 and Upsample map corners to corners; ONNX Runtime rounds down, but up to shrink."""
    mode = draft.attributes.get("mode")
    if mode is None or mode.value == "nearest":
        scales = draft.inputs[1]
        known = edit.constant(scales) if isinstance(scales, ir.Value) else scales
        if known is None or bool((np.asarray(known) < 1).any()):
            raise CannotFollow("how it rounds when it shrinks has no equivalent")
        draft.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")
    draft.inputs.insert(1, np.zeros(0, np.float32))
    draft.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "asymmetric"
    )


def _resize_13(draft: Draft) -> None:
    mode = draft.attributes.get("coordinate_transformation_mode")
    if mode is not None and mode.value == "tf_half_pixel_for_nn":
        raise CannotFollow("tf_half_pixel_for_nn has no equivalent")


def _top_k_10(draft: Draft) -> None:
    draft.give(1, np.asarray([draft.take("k")], np.int64))


def _slice_10(draft: Draft) -> None:
    draft.move("starts", 1)
    draft.move("ends", 2)
    draft.move("axes", 3)


def _clip_11(draft: Draft) -> None:
    for position, name in ((1, "min"), (2, "max")):
        if name in draft.attributes:
            draft.move(name, position, draft.float_type())


def _pad_11(draft: Draft) -> None:
    draft.move("pads", 1)
    if draft.attributes.get("value") is not None:
        draft.move("value", 2, draft.float_type())


def _scatter_11(draft: Draft) -> None:
    draft.op_type = "ScatterElements"


def _axes_become_input(draft: Draft) -> None:
    draft.move("axes", 1)


def _split_13(draft: Draft) -> None:
    draft.move("split", 1)


def _split_18(draft: Draft) -> None:
    if len(draft.inputs) < 2 or draft.inputs[1] is None:
        draft.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(draft.node.outputs))


def _softmax_13(draft: Draft) -> None:
    """Before, all axes from the given one on were one; now it is the axis itself."""
    axis = draft.take("axis")
    axis = 1 if axis is None else axis
    if axis not in (-1, None if draft.rank is None else draft.rank - 1):
        draft.flatten_at = axis
    draft.attributes["axis"] = ir.AttrInt64("axis", -1)


def _roi_align_16(draft: Draft) -> None:
    draft.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "output_half_pixel"
    )


def _dft_20(draft: Draft) -> None:
    axis = draft.take("axis")
    draft.give(2, np.asarray(1 if axis is None else axis, np.int64))


def _grid_sample_20(draft: Draft) -> None:
    mode = draft.attributes.get("mode")
    renamed = {"bilinear": "linear", "bicubic": "cubic"}
    if mode is not None and mode.value in renamed:
        draft.attributes["mode"] = ir.AttrString("mode", renamed[mode.value])


def _group_normalization_21(draft: Draft) -> None:
    raise CannotFollow("scale and bias are given by group, later by channel")


def _scan_9(draft: Draft) -> None:
    raise CannotFollow("it runs over a batch of sequences")


_BROADCASTING = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")
_REDUCTIONS = tuple(op for op in REDUCTIONS if op != "ReduceSum")  # whose axes moved at 13

STEPS: Mapping[tuple[str, int], Callable[[Draft], None]] = {
    **{(op, 7): _drop_broadcast for op in _BROADCASTING},
    **{(op, 7): _recurrent_7 for op in ("GRU", "LSTM", "RNN")},
    **{(op, 13): _softmax_13 for op in ("Hardmax", "LogSoftmax", "Softmax")},
    **{(op, 13): _axes_become_input for op in ("ReduceSum", "Squeeze", "Unsqueeze")},
    **{(op, 18): _axes_become_input for op in _REDUCTIONS},
    ("BatchNormalization", 7): _batch_normalization_7,
    ("BatchNormalization", 9): _batch_normalization_9,
    ("BatchNormalization", 14): _batch_normalization_14,
    ("Clip", 11): _clip_11,
    ("DFT", 20): _dft_20,
    ("Dropout", 7): _dropout_7,
    ("Dropout", 10): _dropout_10,
    ("Dropout", 12): _dropout_12,
    ("Gemm", 7): _gemm_7,
    ("GridSample", 20): _grid_sample_20,
    ("GroupNormalization", 21): _group_normalization_21,
    ("Pad", 11): _pad_11,
    ("Resize", 11): _resize_11,
    ("Resize", 13): _resize_13,
    ("RoiAlign", 16): _roi_align_16,
    ("Scan", 9): _scan_9,
    ("Scatter", 11): _scatter_11,
    ("Slice", 10): _slice_10,
    ("Split", 13): _split_13,
    ("Split", 18): _split_18,
    ("TopK", 10): _top_k_10,
    ("Upsample", 7): _upsample_7,
    ("Upsample", 9): _upsample_9,
    ("Upsample", 10): _upsample_10,
}
"""What to do with a node of an op when its opset rises to a version."""
