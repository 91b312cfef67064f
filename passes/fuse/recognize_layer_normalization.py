"""recognize-layer-normalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, label
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes._opset import too_old
from onnxopt_passes.fuse._normalization import OTHER_KIND, Normalization, rewrite_normalizations
from onnxopt_passes.fuse._parameter import parameter

_FIRST_OPSET = 17


@dataclass(frozen=True)
class RecognizeLayerNormalization(Pass):
    """``(x - mean)/√(variance + ε)·s + b = LayerNormalization(x, s, b; ε)``.

    Over any last axes. The variance may be the mean of the squared distances or the mean of
    squares less the squared mean, also clamped to at least zero; the root may be Sqrt or Pow,
    the factor may be multiplied into it first, the means may be sums times 1/n that drop their
    axes and get them back by Reshape. Constants around it go into ``s`` and ``b``.
    Nothing else may read what lies in between.
    """

    looks_for = frozenset({"Pow", "Sqrt"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each root."""
        yield from rewrite_normalizations(model, _obstacle, _replace)


def _obstacle(found: Normalization, version: int) -> str | None:
    """Why this cannot become LayerNormalization; an empty reason where it is another kind."""
    if not found.centered:
        return ""
    if not found.is_trailing:
        return f"it normalizes axes {list(found.axes)}, which are not the last"
    wide = {*found.gain.wide, *found.bias.wide}
    by_channel = found.rank == len(found.axes) + 2 and wide <= {found.axes[0] - 1}
    if by_channel and (wide or len(found.axes) > 1):
        return OTHER_KIND
    if wide - set(found.axes):
        return ""
    if found.sizes() is None:
        return "the sizes of the normalized axes are unknown"
    return too_old("LayerNormalization", _FIRST_OPSET, version)


def _replace(editor: Editor, found: Normalization) -> Note:
    last, base = found.last, label(found.last)
    sizes = found.sizes() or ()
    inputs = [found.source, parameter(editor, found, found.gain, "scale", sizes)]
    if found.bias.array.any():
        inputs.append(parameter(editor, found, found.bias, "bias", sizes))
    attributes = {"axis": found.axes[0], "epsilon": found.epsilon}
    name = f"{base}/layer_norm"
    origin = sorted(found.nodes, key=label)
    new = editor.insert_before(last, "LayerNormalization", inputs, name, attributes, origin=origin)
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(found.nodes)} nodes became LayerNormalization")
