"""recognize-hard-sigmoid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._ramp import RUNNABLE, Stop, Walker
from onnxopt_passes.fuse._shape import element_type

_FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""

_LAST = ("Add", "Clip", "Div", "HardSigmoid", "Max", "Min", "Mul", "Relu", "Sub")


@dataclass(frozen=True)
class RecognizeHardSigmoid(Pass):
    """``min(max(a·x + 1/2, 0), 1) = HardSigmoid(x; a, 1/2)``.

    Any chain of scalar Add, Sub, Mul, Div, Neg, Clip, Min, Max, Relu and HardSigmoid that comes to
    this line counts, whatever the order of operands, as long as nothing else reads what lies in
    between; the longest such chain is replaced.
    """

    looks_for = frozenset({"Clip", "HardSigmoid", "Max", "Min", "Relu"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace each chain at its last node."""
        editor, walker = Editor(model), Walker(model)
        for node, version in nodes_with_opset(model):
            if version >= _FIRST_OPSET and is_op(node, *_LAST):
                stop = _longest(walker.up(node.outputs[0]))
                if stop is not None:
                    yield _replace(editor, node, stop)


def _longest(stops: list[Stop]) -> Stop | None:
    """The highest place from which the value is a hard sigmoid that is not yet one node."""
    found = [s for s in stops[2:] if s.ramp.is_hard_sigmoid(element_type(s.nodes))]
    return found[-1] if found else None


def _replace(editor: Editor, last: ir.Node, stop: Stop) -> Note:
    dtype = element_type(stop.nodes)
    if dtype not in RUNNABLE:
        return Note.refused(last, f"no runtime computes HardSigmoid in {dtype}")
    attributes = {"alpha": stop.ramp.scale, "beta": 0.5}
    name = f"{label(last)}/hard_sigmoid"
    new = editor.insert_before(
        last, "HardSigmoid", [stop.value], name, attributes, origin=stop.nodes
    )
    old = last.outputs[0]
    editor.replace(old, new)
    editor.sweep(last)
    return Note.applied(new, f"{len(stop.nodes)} nodes became HardSigmoid")
