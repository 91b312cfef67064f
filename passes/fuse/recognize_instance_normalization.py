"""recognize-instance-normalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, label
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._algebra import float_type
from onnxopt_passes.fuse._normalization import Normalization, rewrite_normalizations
from onnxopt_passes.fuse._parameter import channels
from onnxopt_passes.fuse._ramp import RUNNABLE


@dataclass(frozen=True)
class RecognizeInstanceNormalization(Pass):
    """``(x - mean)/√(variance + ε)·s + b = InstanceNormalization(x, s, b; ε)``.

    Where mean and variance go over all axes after the channels, and ``s`` and ``b`` vary along the
    channels only. Written in any arithmetic that comes to this; constants around it go into ``s``
    and ``b``. Nothing else may read what lies in between. One last axis without ``s`` and ``b`` is
    left for recognize-layer-normalization.
    """

    looks_for = frozenset({"Pow", "Sqrt"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each root."""
        yield from rewrite_normalizations(model, _obstacle, _replace)


def _obstacle(found: Normalization, version: int) -> str | None:
    """Why this cannot become InstanceNormalization; an empty reason where it is another kind."""
    wide = {*found.gain.wide, *found.bias.wide}
    channel_axis = found.axes[0] - 1
    if not (found.centered and found.is_trailing and wide <= {channel_axis}):
        return ""
    if not wide and len(found.axes) == 1:
        return ""
    if found.rank != len(found.axes) + 2:
        return "" if found.rank is not None else "the rank is unknown"
    dtype = float_type(found.nodes)
    if dtype not in RUNNABLE:
        return f"no runtime computes InstanceNormalization in {dtype}"
    return None if _channels(found) else "the number of channels is unknown"


def _channels(found: Normalization) -> int | None:
    """The size of axis 1, which constants that vary along it have too; None where it is unknown,
    for it may be 1 and become longer by them.
    """
    sizes = [affine.array.size for affine in (found.gain, found.bias) if affine.wide]
    declared = None if found.source.shape is None else found.source.shape[1]
    if not isinstance(declared, int) or any(size != declared for size in sizes):
        return None
    return declared


def _replace(editor: Editor, found: Normalization) -> Note:
    last, size = found.last, _channels(found) or 0
    scale = channels(editor, found, found.gain, "scale", size)
    bias = channels(editor, found, found.bias, "bias", size)
    name = f"{label(last)}/instance_norm"
    new = editor.insert_before(
        last,
        "InstanceNormalization",
        [found.source, scale, bias],
        name,
        {"epsilon": found.epsilon},
        origin=sorted(found.nodes, key=label),
    )
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(found.nodes)} nodes became InstanceNormalization")
