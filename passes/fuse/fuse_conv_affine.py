"""fuse-conv-affine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, label, nodes_with_opset, only_consumer
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import Step, read_elementwise
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._fold import (
    fold_after,
    fold_before,
    names,
    reading_convolutions,
    sole_reader,
)
from onnxopt_passes.fuse._formulas import Formulas
from onnxopt_passes.fuse._shape import Layout, Layouts

_FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""


@dataclass(frozen=True)
class FuseConvAffine(Pass):
    """``s·Conv(x, W, b) + t = Conv(x, s·W, s·b + t)``, and before one
    ``Conv(s·x + t, W, b) = Conv(x, W·s, b + ΣW·t)``.

    Chains of Add, Sub, Mul, Div and Neg with constants that are scalar or vary along the channels
    only go into the weights of a Conv or ConvTranspose of any rank and grouping. After a
    convolution the chain must be its only reader. Before convolutions, these must be the chain's
    only readers, and a ``t`` other than zero cannot pass zero padding or a ConvTranspose. What ends
    a normalization or GELU that is still spelled out stays: runtimes only know these whole. Weights
    that others read too are copied.
    """

    looks_for = frozenset({"Conv", "ConvTranspose"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Fold the chains after each convolution, then those left before one."""
        editor, layouts, formulas = Editor(model), Layouts(model), Formulas(model)
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or node.graph is None:
                continue
            conv = read_convolution(node)
            if conv is not None:
                yield from _fold_after(editor, conv)
            else:
                yield from _fold_before(editor, layouts, formulas, node)


def _fold_after(editor: Editor, conv: Convolution | str) -> Iterator[Note]:
    if isinstance(conv, str):
        return
    steps, reason = _chain_after(conv)
    if steps:
        done = names(steps)
        failure = fold_after(editor, conv, steps)
        if failure is None:
            yield Note.applied(conv.node, f"folded {done} into the weights")
        else:
            yield Note.refused(conv.node, failure)
    if reason is not None:
        yield Note.refused(conv.node, reason)


def _chain_after(conv: Convolution) -> tuple[list[Step], str | None]:
    """The steps that alone read a convolution one after the other, and why there are no more."""
    steps: list[Step] = []
    value, layout = conv.output, conv.output_layout
    while True:
        reader = sole_reader(value)
        if isinstance(reader, str):
            others = [read_elementwise(node, layout) for node in value.consumers()]
            return steps, reader if any(isinstance(other, Step) for other in others) else None
        step = read_elementwise(reader, layout)
        if not isinstance(step, Step):
            return steps, step
        steps.append(step)
        value = reader.outputs[0]


def _fold_before(
    editor: Editor, layouts: Layouts, formulas: Formulas, node: ir.Node
) -> Iterator[Note]:
    convs = reading_convolutions(node.outputs[0]) if node.outputs else None
    if convs is None:
        return
    if isinstance(convs, str):
        step = read_elementwise(node, layouts[node.outputs[0]])
        if isinstance(step, Step):
            yield Note.refused(node, convs)
        return
    if node in formulas:
        yield Note.refused(node, "it ends a normalization or GELU, which runtimes know only whole")
        return
    steps, reason = _chain_before(layouts, node, convs[0].input_layout)
    for start in range(len(steps)):
        done = names(steps[start:])
        reason = fold_before(editor, steps[start:], convs)
        if reason is None:
            readers = ", ".join(label(conv.node) for conv in convs)
            yield Note.applied(node, f"folded {done} into the weights of {readers}")
            return
    if reason is not None:
        yield Note.refused(node, reason)


def _chain_before(layouts: Layouts, node: ir.Node, layout: Layout) -> tuple[list[Step], str | None]:
    """The steps that end in ``node`` and pass a tensor of this layout on, first one first."""
    steps: list[Step] = []
    producer: ir.Node | None = node
    while producer is not None:
        step = read_elementwise(producer, layout)
        if not isinstance(step, Step):
            return steps, step
        reason = step.widens(layouts[step.source], layout)
        if reason is not None:
            return steps, reason
        steps.insert(0, step)
        alone = only_consumer(step.source) is not None
        producer = step.source.producer() if alone else None
    return steps, None
