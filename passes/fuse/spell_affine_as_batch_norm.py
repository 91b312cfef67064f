"""spell-affine-as-batch-norm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import ACTIVATIONS, Step, read_batch_norm, read_elementwise
from onnxopt_passes.fuse._fold import compose, names
from onnxopt_passes.fuse._formulas import Formulas
from onnxopt_passes.fuse._shape import Layout, Layouts, element_type

_FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""

_RANK = 4
_ACTIVATIONS_DEEP = 2
_BLOCKED = ("AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")


@dataclass(frozen=True)
class SpellAffineAsBatchNorm(Pass):
    """``s·x + t = BN(x; scale=s, bias=t, mean=0, variance=1, ε=0)``.

    For images ``[N,C,H,W]`` of which some convolution or pooling reads the result, directly or
    after an activation: ONNX Runtime's CPU provider keeps a BatchNormalization in its blocked
    layout (as a depthwise 1×1 Conv), while a Mul or Add with a constant makes it reorder the
    tensor twice. Chains of scalar and per-channel Add, Sub, Mul, Div, Neg and BatchNormalization
    count, and steps before a BatchNormalization go into it. What fuse-conv-affine and
    fuse-conv-bn can fold is better folded: run those first. What ends a GELU or layer normalization
    spelled out stays: the runtime fuses these whole.
    """

    looks_for = frozenset({"BatchNormalization", *_BLOCKED})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Replace each chain at its last node."""
        editor, layouts, formulas = Editor(model), Layouts(model), Formulas(model)
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or not _is_last(node):
                continue
            layout = layouts[node.outputs[0]]
            steps = _chain(layouts, formulas, node, layout)
            spelled = all(is_op(step.node, "BatchNormalization") for step in steps)
            if not spelled and element_type(step.node for step in steps) == ir.DataType.FLOAT:
                yield _replace(editor, steps, layout.channels)


def _is_last(node: ir.Node) -> bool:
    """Whether a chain may end here: a convolution or pooling reads it, directly or after
    activations, or it is a BatchNormalization already.
    """
    if is_op(node, "BatchNormalization"):
        return True
    if not is_op(node, "Add", "Sub", "Mul", "Div", "Neg"):
        return False
    readers = [node]
    for _ in range(_ACTIVATIONS_DEEP):
        uses = [use for reader in readers for use in reader.outputs[0].uses()]
        if any(index == 0 and is_op(reader, *_BLOCKED) for reader, index in uses):
            return True
        readers = [reader for reader, index in uses if index == 0 and is_op(reader, *ACTIVATIONS)]
    return False


def _chain(layouts: Layouts, formulas: Formulas, node: ir.Node, layout: Layout) -> list[Step]:
    """The steps that end in ``node``, first one first; empty where there is nothing to spell."""
    steps: list[Step] = []
    producer: ir.Node | None = node
    while producer is not None and layout.rank == _RANK:
        step = (
            read_batch_norm(producer, layout.channels)
            if is_op(producer, "BatchNormalization")
            else read_elementwise(producer, layout)
        )
        if not isinstance(step, Step) or step.widens(layouts[step.source], layout):
            break
        if producer in formulas:
            break
        steps.insert(0, step)
        alone = only_consumer(step.source) is not None
        producer = step.source.producer() if alone else None
    return steps


def _replace(editor: Editor, steps: list[Step], channels: int | None) -> Note:
    last, affine = steps[-1].node, compose(steps)
    if channels is None:
        return Note.refused(last, "the number of channels is unknown")
    if not affine.is_finite:
        return Note.refused(last, "the factors are not finite")
    done, base = names(steps), label(last)
    vectors = {
        "scale": np.broadcast_to(affine.scale, channels),
        "bias": np.broadcast_to(affine.shift, channels),
        "mean": np.zeros(channels),
        "variance": np.ones(channels),
    }
    parameters = [
        editor.constant(last, f"{base}/{name}", vector.astype(np.float32))
        for name, vector in vectors.items()
    ]
    new = editor.insert_before(
        last,
        "BatchNormalization",
        [steps[0].source, *parameters],
        f"{base}/batch_norm",
        {"epsilon": 0.0},
        origin=[step.node for step in steps],
    )
    editor.replace(last.outputs[0], new)
    editor.sweep(last)
    return Note.applied(new, f"{done} became BatchNormalization")
