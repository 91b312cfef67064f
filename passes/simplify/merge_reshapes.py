"""Makes chains of nodes that only change a shape one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._attributes import axes_of, ints_of
from onnxopt_passes.simplify._bypass import pass_on
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._reshape_spelling import spell

_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
_AXES_ARE_INPUT_SINCE = 13
_TARGET_IS_INPUT_SINCE = 5


@dataclass(frozen=True)
class MergeReshapes(Pass):
    """Reshape(Reshape(x, s), t) → Reshape(x, t), or x where the shape is that of x again.

    So do Flatten, Squeeze and Unsqueeze, and a Transpose that moves only axes of one element, when
    it stands in such a chain. Two Squeeze stay one Squeeze, two Unsqueeze one Unsqueeze. The new
    target is constant: known sizes as they are, symbolic ones copied, at most one inferred; where
    that cannot say it, or not for empty tensors, the chain stays. The inner one stays where
    something else than a shape change reads it.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset(_RESHAPES)

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Merge along chains, first to last, in every graph and function."""
        if not any(_in_chain(node) for node in edit.all_nodes(model)):
            return
        facts, editor = facts_of(model), Editor(model)
        for node, version in edit.nodes_with_opset(model):
            if node.graph is None or version < _TARGET_IS_INPUT_SINCE or not _in_chain(node):
                continue
            yield from _merge(node, version, facts, editor)


def _in_chain(node: ir.Node) -> bool:
    """Whether a node and the one before it may only change a shape."""
    inner = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    kinds = (*_RESHAPES, "Transpose")
    if inner is None or not (edit.is_op(node, *kinds) and edit.is_op(inner, *kinds)):
        return False
    return edit.is_op(node, *_RESHAPES) or edit.is_op(inner, *_RESHAPES)


def _merge(node: ir.Node, version: int, facts: Facts, editor: Editor) -> Iterator[Note]:
    middle = node.inputs[0]
    inner = middle.producer() if middle is not None else None
    source = inner.inputs[0] if inner is not None else None
    if middle is None or inner is None or source is None:
        return
    before, after = facts.shape(source), facts.shape(node.outputs[0])
    plain = _is_reshape(inner, facts) and _is_reshape(node, facts)
    if not plain or not _serves_reshapes(middle):
        return
    if before is not None and before == after:
        yield from pass_on(node, source, editor)
        return
    if _join_axes(inner, node, version, editor):
        editor.sweep(inner)
        yield Note.applied(node, f"does what {edit.label(inner)} did before")
        return
    target = None if after is None else spell(after, before)
    if target is None:
        return
    edit.record_origin(node, [inner, node])
    _become_reshape(node, source, target, editor)
    editor.sweep(inner)
    yield Note.applied(node, f"reshapes to {target} what {edit.label(inner)} reads")


def _is_reshape(node: ir.Node, facts: Facts) -> bool:
    """Whether the elements of the result stand in memory as those of the input do."""
    if not edit.is_op(node, "Transpose"):
        return True
    shape, perm = facts.shape(node.inputs[0]), ints_of(node, "perm")
    if shape is None or perm is None or len(perm) != len(shape):
        return False
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def _serves_reshapes(value: ir.Value) -> bool:
    graph = value.producer().graph if value.producer() else None  # type: ignore[union-attr]
    readers = [use.node for use in value.uses()]
    alike = all(n.graph is graph and edit.is_op(n, *_RESHAPES, "Transpose") for n in readers)
    return alike and not value.is_graph_output()


def _join_axes(inner: ir.Node, outer: ir.Node, version: int, editor: Editor) -> bool:
    """Write two Squeeze or two Unsqueeze as one; axes have to count from the front."""
    if inner.op_type != outer.op_type or not edit.is_op(outer, "Squeeze", "Unsqueeze"):
        return False
    first, second = (axes_of(n, version, since=_AXES_ARE_INPUT_SINCE) for n in (inner, outer))
    if first is None or second is None or min([*first, *second, 0]) < 0:
        return False
    early, late = (first, second) if outer.op_type == "Squeeze" else (second, first)
    others = range(max([*early, 0]) + max([*late, 0]) + len(early) + 2)
    free = [axis for axis in others if axis not in early]
    axes = sorted([*early, *(free[axis] for axis in late)])
    outer.replace_input_with(0, inner.inputs[0])
    if version < _AXES_ARE_INPUT_SINCE:
        outer.attributes["axes"] = ir.AttrInt64s("axes", axes)
    else:
        name = f"{outer.outputs[0].name}/axes"
        outer.replace_input_with(1, editor.constant(outer, name, np.asarray(axes, dtype=np.int64)))
    edit.record_origin(outer, [inner, outer])
    return True


def _become_reshape(node: ir.Node, source: ir.Value, target: list[int], editor: Editor) -> None:
    name = f"{node.outputs[0].name}/shape"
    constant = editor.constant(node, name, np.asarray(target, dtype=np.int64))
    node.op_type = "Reshape"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(0, source)
    node.replace_input_with(1, constant)
