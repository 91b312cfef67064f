"""Lets readers of a node read what it passes on."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxopt.graph import Editor
from onnxopt.transform import Note


def pass_on(node: ir.Node, source: ir.Value, editor: Editor) -> Iterator[Note]:
    """Bypass a node whose first output is ``source``, and remove it."""
    result = node.outputs[0]
    if not editor.bypass(result, source):
        yield Note.refused(node, "has to stay: it makes a value of its own a graph output")
        return
    source.type = source.type if source.type is not None else result.type
    source.shape = source.shape if source.shape is not None else result.shape
    yield Note.applied(node, f"this {node.op_type} passes on {source.name}")
    editor.sweep(node)
