"""pool-before-conv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import onnx_ir as ir

from onnxopt.graph import (
    Editor,
    attribute,
    constant,
    is_op,
    label,
    nodes_with_opset,
    only_consumer,
)
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._affine import Step, read_batch_norm, read_elementwise
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._shape import Layouts
from onnxopt_passes.fuse._upsample import read_upsample
from onnxopt_passes.fuse._window import read_window

_FIRST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes."""


@dataclass(frozen=True)
class PoolBeforeConv(Pass):
    """``mean(W·v + b) = W·mean(v) + b``: a global mean before linear steps, not after.

    ``mean`` is a GlobalAveragePool, or a ReduceMean over all spatial axes that keeps them. The
    linear step is a 1×1 Conv of any grouping, or a per-channel affine map (BatchNormalization,
    Mul, Add … with constants); a repetition of positions (nearest upsampling by whole factors)
    drops out. A Conv that others read too stays for them, and the mean moves only where it then
    reads fewer channels.
    """

    looks_for = frozenset({"GlobalAveragePool", "ReduceMean"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Move each mean up step by step as far as it goes."""
        editor, layouts = Editor(model), Layouts(model)
        for node, version in nodes_with_opset(model):
            if version < _FIRST_OPSET or node.graph is None or not _is_global_mean(node, layouts):
                continue
            pool, found = node, _step(layouts, node, version)
            while found is not None:
                name = label(found.node)
                pool, result = _swap(editor, pool, found)
                yield Note.applied(result, f"the mean moved before {name}")
                found = _step(layouts, pool, version)


@dataclass(frozen=True)
class _Found:
    """A step before a mean, which drops out where it only repeats positions."""

    node: ir.Node
    source: ir.Value
    drops: bool = False


def _is_global_mean(node: ir.Node, layouts: Layouts) -> bool:
    if is_op(node, "GlobalAveragePool"):
        return True
    if not is_op(node, "ReduceMean") or not attribute(node, "keepdims", 1):
        return False
    source = node.inputs[0]
    rank = None if source is None else layouts[source].rank
    axes = cast("Sequence[int]", attribute(node, "axes", ()))
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        given = constant(node.inputs[1])
        axes = () if given is None else given.reshape(-1).tolist()
    if rank is None or rank < 3:
        return False
    return sorted(axis % rank for axis in axes) == list(range(2, rank))


def _step(layouts: Layouts, pool: ir.Node, version: int) -> _Found | None:
    value = pool.inputs[0]
    node = None if value is None else value.producer()
    if value is None or node is None or not node.inputs or node.inputs[0] is None:
        return None
    if node.graph is not pool.graph:
        return None
    upsample = read_upsample(node, version)
    if upsample is not None:
        return _Found(node, upsample.source, drops=True)
    alone = only_consumer(value) is pool
    if is_op(node, "Conv"):
        return _conv(node, pool, alone)
    step = _affine(layouts, node) if alone else None
    if step is None or step.widens(layouts[step.source], layouts[value]):
        return None
    if layouts[step.source].rank != layouts[value].rank:
        return None
    return _Found(node, step.source)


def _conv(node: ir.Node, pool: ir.Node, alone: bool) -> _Found | None:
    conv = read_convolution(node)
    window = read_window(conv) if isinstance(conv, Convolution) else None
    source = node.inputs[0]
    if not isinstance(conv, Convolution) or window is None or source is None:
        return None
    outputs, inputs = conv.output_layout.channels or 0, conv.input_layout.channels or 0
    if not window.is_pointwise or not (alone or inputs < outputs):
        return None
    return _Found(node, source)


def _affine(layouts: Layouts, node: ir.Node) -> Step | None:
    layout = layouts[node.outputs[0]]
    if layout.rank is None:
        return None
    if is_op(node, "BatchNormalization"):
        step = read_batch_norm(node, layout.channels)
    else:
        step = read_elementwise(node, layout)
    return step if isinstance(step, Step) else None


def _swap(editor: Editor, pool: ir.Node, found: _Found) -> tuple[ir.Node, ir.Value]:
    """Put the mean before the step; returns the mean's new node and the step's new output."""
    node, base = found.node, label(pool)
    inputs = [found.source, *pool.inputs[1:]]
    kept = dict(pool.attributes.items())
    name = base if found.drops else f"{base}/before"
    mean = editor.insert_before(pool, pool.op_type, inputs, name, kept, origin=[pool])
    mean.type = pool.outputs[0].type
    result = mean
    if not found.drops:
        operands = [mean if value is found.source else value for value in node.inputs]
        kept, name = dict(node.attributes.items()), f"{label(node)}/pooled"
        result = editor.insert_before(pool, node.op_type, operands, name, kept, origin=[node])
    editor.replace(pool.outputs[0], result)
    editor.sweep(pool)
    producer = mean.producer()
    return producer or pool, result
