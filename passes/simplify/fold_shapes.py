"""Computes ahead of time what depends on sizes only, as far as the sizes are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._contents import elements
from onnxopt_passes.simplify._facts import Facts, facts_of
from onnxopt_passes.simplify._fold_known import fold_known, reads_sizes
from onnxopt_passes.simplify._materialize import Materializer
from onnxopt_passes.simplify._reshape_spelling import spell
from onnxopt_passes.simplify._result_shapes import reshaped


@dataclass(frozen=True)
class FoldShapes(Pass):
    """Integers made of sizes → a constant; Reshape(x, computed) → Reshape(x, [0, 12, -1]).

    Sizes are polynomials of the model's symbolic ones, so (N·12·64)/(N·12) is 64 and the test
    whether N is -1 is false. A computed shape becomes constant where each size is known, copied
    from the same axis of the input, or the only one left to be inferred; not where sizes of zero
    would turn that into an error. Sizes of one name are one size, as ONNX has it.
    """

    exactness = Exactness.BITWISE
    looks_for = frozenset({"Shape", "Size"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Fold in every graph and function."""
        if not reads_sizes(model):
            return
        yield from fold_known(model, Materializer(model))
        facts, editor = facts_of(model), Editor(model)
        for graph in list(edit.all_graphs(model)):
            for node in graph:
                if edit.is_op(node, "Reshape"):
                    yield from _fold_target(node, facts, editor)


def _fold_target(node: ir.Node, facts: Facts, editor: Editor) -> Iterator[Note]:
    """Give a Reshape a constant target in place of a computed one."""
    target = node.inputs[1] if len(node.inputs) > 1 else None
    if target is None or edit.is_constant(target):
        return
    wanted, source = elements(facts.content(target)), facts.shape(node.inputs[0])
    if wanted is None:
        return
    allow_zero = bool(edit.attribute(node, "allowzero", 0))
    sizes = reshaped(source, wanted, allow_zero=allow_zero)
    spelled = spell(sizes, source)
    if spelled is None:
        yield Note.refused(node, "more than one size of its shape is unknown, or one may be zero")
        return
    name = f"{node.outputs[0].name}/shape"
    constant = editor.constant(node, name, np.asarray(spelled, dtype=np.int64))
    node.replace_input_with(1, constant)
    node.attributes.pop("allowzero", None)
    producer = target.producer()
    if producer is not None:
        editor.sweep(producer)
    yield Note.applied(node, f"reshapes to {spelled}")
