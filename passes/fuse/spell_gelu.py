"""spell-gelu."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer, scalar
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._algebra import FIRST_OPSET, float_type
from onnxopt_passes.fuse._gate import GELU, Activation, Gates

_OPERATOR_SINCE = 20
"""From here on recognize-gelu makes one node of it."""


@dataclass(frozen=True)
class SpellGelu(Pass):
    """``x·(½·(1 + erf(x/√2))) = ½·(x·(1 + erf(x/√2)))``.

    Below opset 20, which has no Gelu, ONNX Runtime fuses the right-hand order of nodes, with the
    bias before it, into one; most others, as torch exports them, it leaves as five passes over
    the tensor. Any arithmetic that comes to the formula counts, as for recognize-gelu; what comes
    to a multiple of it stays.
    """

    looks_for = frozenset({"Erf"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each error function."""
        finder, editor = Gates(model, {"Erf": GELU["Erf"]}), Editor(model)
        for node, version in list(nodes_with_opset(model)):
            if not FIRST_OPSET <= version < _OPERATOR_SINCE or node.graph is None:
                continue
            found = finder.at(node)
            if isinstance(found, Note):
                yield found
            elif found is not None and found.factor == 1.0 and not _is_known(node, found):
                yield _respell(editor, found)


def _is_known(erf: ir.Node, found: Activation) -> bool:
    """Whether the runtime knows the order of nodes: ``(x·(1 + erf(x/√2)))·½`` or ``(x·½)·(…)``."""
    divide = erf.inputs[0].producer() if erf.inputs[0] is not None else None
    one = only_consumer(erf.outputs[0])
    product = None if one is None else only_consumer(one.outputs[0])
    if divide is None or one is None or product is None:
        return False
    if not (is_op(divide, "Div") and is_op(one, "Add") and is_op(product, "Mul")):
        return False
    other = product.inputs[1 if product.inputs[0] is one.outputs[0] else 0]
    if other is found.source:
        last = only_consumer(product.outputs[0])
        return last is found.last and is_op(last, "Mul")
    return product is found.last and other is not None and _is_half(other.producer(), found.source)


def _is_half(node: ir.Node | None, source: ir.Value) -> bool:
    if node is None or not is_op(node, "Mul") or source not in node.inputs:
        return False
    return any(scalar(value) == 0.5 for value in node.inputs)


def _respell(editor: Editor, found: Activation) -> Note:
    last, base, source = found.last, label(found.last), found.source
    dtype = (float_type(found.nodes) or ir.DataType.FLOAT).numpy()
    order = [node for node in found.nodes if node is not last]
    origin = [*sorted(order, key=label), last]

    def number(value: float, name: str) -> ir.Value:
        return editor.constant(last, f"{base}/{name}", np.array(value, dtype))

    def add(op_type: str, inputs: list[ir.Value], name: str) -> ir.Value:
        made = editor.insert_before(last, op_type, inputs, f"{base}/{name}", origin=origin)
        made.type, made.shape = last.outputs[0].type, last.outputs[0].shape
        return made

    value = add("Div", [source, number(math.sqrt(2), "root")], "argument")
    value = add("Add", [add("Erf", [value], "erf"), number(1.0, "one")], "gate")
    value = add("Mul", [source, value], "double")
    value = add("Mul", [value, number(0.5, "half")], "gelu")
    editor.replace(last.outputs[0], value)
    editor.sweep(last)
    return Note.applied(value, f"{len(found.nodes)} nodes are in the order that is fused")
