"""Lets reductions drop or keep their axes by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._attributes import axes_of
from onnxopt_passes.simplify._expression import Number
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._reductions import (
    REDUCTIONS,
    SEARCHES,
    keeps_axes,
    reduced_axes,
    written_axes,
)

_SQUEEZE_TAKES_AXES_SINCE = 13
_IMAGE_RANK = 4
_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class MergeSqueezedReductions(Pass):
    """Squeeze(Reduce<keepdims=1>(x, a), a) → Reduce<keepdims=0>(x, a), and the other way round.

    The other way round: an Unsqueeze puts the axes back. So do Reshape and Flatten, where the shape
    they make is known to be that one. ArgMax and ArgMin too. Where nothing else reads what is in
    between.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset(_RESHAPES)

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge in every graph and function."""
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if not edit.is_op(node, *_RESHAPES) or node.inputs[0] is None:
                continue
            inner = node.inputs[0].producer()
            if inner is None or not edit.is_op(inner, *SEARCHES, *REDUCTIONS):
                continue
            keeps = keeps_axes(inner)
            if keeps is None or edit.only_consumer(node.inputs[0]) is not node:
                continue
            if _same_axes(inner, node, version, keeps, facts) or _makes(
                inner, node, version, facts
            ):
                inner.attributes["keepdims"] = ir.AttrInt64("keepdims", int(not keeps))
                inner.outputs[0].shape = None
                edit.record_origin(inner, [inner, node])
                editor.replace(node.outputs[0], inner.outputs[0])
                editor.sweep(node)
                yield Note.applied(inner, f"does without {edit.label(node)}")


def _same_axes(inner: ir.Node, outer: ir.Node, version: int, keeps: bool, facts: Facts) -> bool:
    """Whether a Squeeze names the axes that were kept, or an Unsqueeze those that were dropped."""
    if outer.op_type != ("Squeeze" if keeps else "Unsqueeze"):
        return False
    axes = axes_of(outer, version, since=_SQUEEZE_TAKES_AXES_SINCE)
    reduced = written_axes(inner, version)
    if not axes or not reduced:
        return False
    if set(axes) == set(reduced):
        return True  # both count them from the same end of the same rank
    shape = facts.shape(inner.inputs[0])
    if shape is None:
        return False
    return {axis % len(shape) for axis in axes} == {axis % len(shape) for axis in reduced}


def _makes(inner: ir.Node, outer: ir.Node, version: int, facts: Facts) -> bool:
    """Whether a change of shape makes what the reduction would, if it kept or dropped its axes."""
    source, wanted = facts.shape(inner.inputs[0]), facts.shape(outer.outputs[0])
    if source is None or wanted is None:
        return False
    reduced = reduced_axes(inner, version, len(source))
    if not reduced or _is_image_mean(inner, len(source), reduced):
        return False
    return wanted == _shape(source, reduced, keeps=not keeps_axes(inner))


def _is_image_mean(inner: ir.Node, rank: int, reduced: frozenset[int]) -> bool:
    """Whether this is GlobalAveragePool, which keeps its axes, in other words."""
    return inner.op_type == "ReduceMean" and rank == _IMAGE_RANK and reduced == {2, 3}


def _shape(
    source: tuple[Number, ...], reduced: frozenset[int], *, keeps: bool
) -> tuple[Number, ...]:
    sizes = ((size, axis in reduced) for axis, size in enumerate(source))
    return tuple(1 if gone else size for size, gone in sizes if keeps or not gone)
