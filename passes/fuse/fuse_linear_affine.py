"""fuse-linear-affine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, label, nodes_with_opset, only_consumer, record_origin
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import Step, read_batch_norm, read_elementwise
from onnxopt_passes.fuse._fold import compose, names, sole_reader
from onnxopt_passes.fuse._formulas import Formulas
from onnxopt_passes.fuse._linear import Linear, Refit, read_linear, rename_product
from onnxopt_passes.fuse._row_norm import fold_behind_reshape, read_behind_reshape
from onnxopt_passes.fuse._shape import Layout, Layouts

_FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""
_ROWS = 2


@dataclass(frozen=True)
class FuseLinearAffine(Pass):
    """``s·(xW + b) + t = x(W·s) + (s·b + t)``, and before one
    ``(s·x + t)W + b = x(s·W) + (b + tW)``.

    For MatMul and Gemm by constant weights: chains of Add, Sub, Mul, Div and Neg with constants
    that are scalar or vary along the last axis only, and, between rows (rank 2) or where a Reshape
    has made rows, inference BatchNormalization. After a layer the chain must be its only reader;
    before layers, these must be the chain's only readers. A MatMul without a bias takes none that
    it would need an Add for, unless a longer chain or a BatchNormalization becomes that Add. What
    ends a normalization or GELU that is still spelled out stays: runtimes only know these whole.
    Weights that others read too are copied.
    """

    looks_for = frozenset({"Gemm", "MatMul"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Fold the chains after each layer, then those left before one."""
        editor, layouts, formulas = Editor(model), Layouts(model), Formulas(model)
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or node.graph is None:
                continue
            linear = read_linear(node, layouts)
            if isinstance(linear, Linear):
                yield from _fold_after(editor, linear)
            else:
                yield from _fold_before(editor, layouts, formulas, node)


def _fold_after(editor: Editor, linear: Linear) -> Iterator[Note]:
    steps, reason = _chain_after(linear)
    if steps:
        refit = linear.then(compose(steps))
        failure = refit if isinstance(refit, str) else _write_after(editor, linear, steps, refit)
        if failure is None:
            yield Note.applied(linear.node, f"folded {names(steps)} into the weights")
            return
        elif failure:
            yield Note.refused(linear.node, failure)
    if reason is not None:
        yield Note.refused(linear.node, reason)
    yield from _fold_behind(editor, linear)


def _fold_behind(editor: Editor, linear: Linear) -> Iterator[Note]:
    step = read_behind_reshape(linear)
    if step is None:
        return
    failure = step if isinstance(step, str) else fold_behind_reshape(editor, linear, step)
    if isinstance(step, str) or failure is not None:
        yield Note.refused(linear.node, failure or "")
    else:
        yield Note.applied(linear.node, f"folded {names([step])} of its rows into the weights")


def _chain_after(linear: Linear) -> tuple[list[Step], str | None]:
    """The steps that alone read a layer one after the other, and why there are no more."""
    steps: list[Step] = []
    value, layout = linear.output, linear.output_layout
    while True:
        reader = sole_reader(value)
        if isinstance(reader, str):
            others = [_read(node, layout) for node in value.consumers()]
            return steps, reader if any(isinstance(other, Step) for other in others) else None
        step = _read(reader, layout)
        if not isinstance(step, Step):
            return steps, step
        steps.append(step)
        value = reader.outputs[0]


def _read(node: ir.Node, layout: Layout) -> Step | str | None:
    if layout.rank == _ROWS and is_op(node, "BatchNormalization"):
        return read_batch_norm(node, layout.channels)
    return read_elementwise(node, layout)


def _write_after(editor: Editor, linear: Linear, steps: Sequence[Step], refit: Refit) -> str | None:
    """Put the steps into the weights; a reason where not, empty where nobody need be told."""
    last = steps[-1].node
    needs_add = refit.bias is not None and linear.adder is None and linear.node.op_type == "MatMul"
    worth_it = len(steps) > 1 or is_op(last, "BatchNormalization")
    if needs_add and not (worth_it and any(s.affine.scale.any() for s in steps)):
        return "" if is_op(last, "Add") else "a MatMul has no bias to put a shift into"
    record_origin(linear.node, [linear.node, *(step.node for step in steps)])
    if needs_add and refit.bias is not None:
        bias = editor.constant(last, f"{label(linear.node)}/bias", refit.bias)
        inner = linear.node.outputs[0]
        output = editor.insert_before(
            last, "Add", [inner, bias], f"{label(last)}/sum", origin=[s.node for s in steps]
        )
        Refit(linear, refit.weight, None).write(editor)
        rename_product(editor, linear.node)
    else:
        output = refit.write(editor)
    editor.replace(last.outputs[0], output)
    editor.sweep(last)
    return None


def _fold_before(
    editor: Editor, layouts: Layouts, formulas: Formulas, node: ir.Node
) -> Iterator[Note]:
    if not node.outputs or not is_op(node, "Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization"):
        return
    layers = _reading_layers(node.outputs[0], layouts)
    if not layers:
        return
    steps, reason = _chain_before(layouts, formulas, node, layers[0].input_layout)
    for start in range(len(steps)):
        reason = _write_before(editor, steps[start:], layers)
        if reason is None:
            readers = ", ".join(label(layer.node) for layer in layers)
            done = names(steps[start:])
            yield Note.applied(node, f"folded {done} into the weights of {readers}")
            return
    if reason is not None:
        yield Note.refused(node, reason)


def _reading_layers(value: ir.Value, layouts: Layouts) -> list[Linear]:
    """The layers that are all of a value's readers; none where others read it too."""
    if value.is_graph_output():
        return []
    read = [read_linear(node, layouts) if place == 0 else None for node, place in value.uses()]
    layers = [item for item in read if isinstance(item, Linear)]
    return layers if len(layers) == len(read) else []


def _chain_before(
    layouts: Layouts, formulas: Formulas, node: ir.Node, layout: Layout
) -> tuple[list[Step], str | None]:
    """The steps that end in ``node`` and pass a tensor of this layout on, first one first."""
    steps: list[Step] = []
    producer: ir.Node | None = node
    while producer is not None and read_linear(producer, layouts) is None:
        step = _read(producer, layout)
        if not isinstance(step, Step):
            return steps, step
        whole = formulas.why_whole(producer)
        if whole is not None:
            return steps, whole
        if layouts[step.source].rank != layout.rank:
            return steps, f"the rank of what {label(producer)} reads is unknown or another"
        if _may_widen(step, layout):
            return steps, "its constant may widen the other operand, whose last size is unknown"
        steps.insert(0, step)
        producer = step.source.producer() if only_consumer(step.source) is not None else None
    return steps, None


def _may_widen(step: Step, layout: Layout) -> bool:
    shape = step.source.shape
    has_vector = step.affine.scale.ndim or step.affine.shift.ndim
    return bool(has_vector) and (shape is None or shape[-1] != layout.channels)


def _write_before(editor: Editor, steps: Sequence[Step], layers: Sequence[Linear]) -> str | None:
    plans: list[Refit] = []
    for layer in layers:
        refit = layer.after(compose(steps))
        if isinstance(refit, str):
            return refit
        if refit.bias is not None and layer.node.op_type == "MatMul" and layer.adder is None:
            return f"a shift needs a bias, and {label(layer.node)} has none"
        plans.append(refit)
    last = steps[-1].node
    editor.bypass(last.outputs[0], steps[0].source)
    for plan in plans:
        record_origin(plan.linear.node, [*(step.node for step in steps), plan.linear.node])
        plan.write(editor)
    editor.sweep(last)
    return None
