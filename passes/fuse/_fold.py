"""Where affine steps beside convolutions may go into their weights."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxopt.graph import Editor, label, only_consumer, record_origin, use_count
from onnxopt_passes.fuse._affine import Affine, Step
from onnxopt_passes.fuse._convolution import Convolution, Folded, read_convolution


def compose(steps: Sequence[Step]) -> Affine:
    """The steps, in the order in which they run, as one map."""
    total = Affine.of()
    for step in steps:
        total = total.then(step.affine)
    return total


def names(steps: Sequence[Step]) -> str:
    """The steps as a note spells them."""
    return ", ".join(f"{step.node.op_type} {label(step.node)}" for step in steps)


def fold_after(editor: Editor, conv: Convolution, steps: Sequence[Step]) -> str | None:
    """Put a chain of steps that alone reads ``conv`` into its weights; a reason where not."""
    folded = conv.then(compose(steps))
    if isinstance(folded, str):
        return folded
    last = steps[-1].node
    if not use_count(last.outputs[0]) and not last.outputs[0].is_graph_output():
        return f"nothing reads {last.outputs[0].name}"
    record_origin(conv.node, [conv.node, *(step.node for step in steps)])
    editor.replace(last.outputs[0], conv.output)
    editor.sweep(last)
    folded.write(editor)
    return None


def fold_before(editor: Editor, steps: Sequence[Step], convs: Sequence[Convolution]) -> str | None:
    """Put a chain of steps that only ``convs`` read into their weights; a reason where not."""
    plans: list[Folded] = []
    for conv in convs:
        folded = conv.after(compose(steps))
        if isinstance(folded, str):
            return folded
        plans.append(folded)
    last = steps[-1].node
    editor.bypass(last.outputs[0], steps[0].source)
    for conv, plan in zip(convs, plans, strict=True):
        record_origin(conv.node, [*(step.node for step in steps), conv.node])
        plan.write(editor)
    editor.sweep(last)
    return None


def reading_convolutions(value: ir.Value) -> list[Convolution] | str | None:
    """The convolutions that are all of a value's readers.

    Returns a reason where it has other readers besides, or their weights are not constant; None
    where no convolution takes it as its data.
    """
    uses = tuple(value.uses())
    read = [read_convolution(node) if index == 0 else None for node, index in uses]
    if not any(read):
        return None
    reasons = [item for item in read if isinstance(item, str)]
    if reasons:
        return reasons[0]
    convs = [item for item in read if isinstance(item, Convolution)]
    if len(convs) < len(uses):
        others = sum(item is None for item in read)
        return f"it is also read by {others} other than a convolution"
    return "it is a graph output" if value.is_graph_output() else convs


def sole_reader(value: ir.Value) -> ir.Node | str:
    """The one node that reads a value, or why there is none."""
    node = only_consumer(value)
    if node is not None:
        return node
    if value.is_graph_output():
        return f"{value.name} is a graph output"
    readers = use_count(value)
    return f"{value.name} is read {readers} times" if readers > 1 else f"{value.name} has no reader"
