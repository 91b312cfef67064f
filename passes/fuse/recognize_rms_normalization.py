"""recognize-rms-normalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, label
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes._opset import too_old
from onnxopt_passes.fuse._normalization import Normalization, rewrite_normalizations
from onnxopt_passes.fuse._parameter import parameter

_FIRST_OPSET = 23


@dataclass(frozen=True)
class RecognizeRmsNormalization(Pass):
    """``x/√(mean(x²) + ε)·s = RMSNormalization(x, s; ε)``.

    Over any last axes, in every arithmetic that comes to this; constants around it go into ``s``.
    Nothing else may read what lies in between.
    """

    looks_for = frozenset({"Pow", "Sqrt"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each root."""
        yield from rewrite_normalizations(model, _obstacle, _replace, centered=False)


def _obstacle(found: Normalization, version: int) -> str | None:
    """Why this cannot become RMSNormalization; an empty reason where it is another kind."""
    if found.centered or found.bias.array.any():
        return ""
    if not found.is_trailing:
        return f"it normalizes axes {list(found.axes)}, which are not the last"
    if set(found.gain.wide) - set(found.axes):
        return ""
    if found.sizes() is None:
        return "the sizes of the normalized axes are unknown"
    return too_old("RMSNormalization", _FIRST_OPSET, version)


def _replace(editor: Editor, found: Normalization) -> Note:
    last = found.last
    scale = parameter(editor, found, found.gain, "scale", found.sizes() or ())
    attributes = {"axis": found.axes[0], "epsilon": found.epsilon}
    name = f"{label(last)}/rms_norm"
    origin = sorted(found.nodes, key=label)
    new = editor.insert_before(
        last, "RMSNormalization", [found.source, scale], name, attributes, origin=origin
    )
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{len(found.nodes)} nodes became RMSNormalization")
