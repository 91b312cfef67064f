"""Writes down types and shapes that follow from the inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._expression import Number, atom
from onnxopt_passes.simplify._facts import facts_of
from onnxopt_passes.simplify._inference import InferenceFailed, Inferred, infer
from onnxopt_passes.simplify._ml_results import annotate_ml_results

_IR_OF_OVERLOADS = 10

Dim = int | ir.SymbolicDim


@dataclass(frozen=True)
class InferShapes(Pass):
    """Annotates each value whose type or shape is known.

    That is what onnx's shape inference knows, and sizes of the inputs, by their names, where shape
    arithmetic leads back to them: ``Range`` up to a size, ``Reshape`` and ``Expand`` to computed
    sizes, and all that is made of these; and what scalers and regressors of ``ai.onnx.ml`` give.
    What the model declares is kept, unless inference knows a size where the file has a name or
    nothing; graph inputs and outputs keep their declarations whole. In a function stands what holds
    at every one of its calls. Contradictions are noted.
    """

    exactness = Exactness.BITWISE
    settles = True

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Annotate in place; one note says how many values."""
        name = model.graph.name or "graph"
        said = set(annotate_ml_results(model))
        try:
            inferred = infer(model)
        except InferenceFailed as error:
            yield Note.refused(name, f"shapes cannot be inferred: {error}")
            return
        for value, known in inferred.items():
            if value.is_graph_input():
                continue
            if _contradicts(value, known):
                yield Note.refused(
                    value, f"declared as {value.shape}, but its inputs make it {known.shape}"
                )
                continue
            if _annotate(value, known):
                said.add(value)
        said.update(_annotate_computed(model))
        for value, known in _known_in_bodies(model):
            if _contradicts(value, known):
                yield Note.refused(
                    value, f"declared as {value.shape}, but the calls make it {known.shape}"
                )
            elif _take_over(value, known):
                said.add(value)
        if said:
            yield Note.applied(name, f"type or shape of {len(said)} values written down")


def _contradicts(value: ir.Value, known: Inferred) -> bool:
    if value.shape is None or known.shape is None:
        return False
    if len(value.shape) != len(known.shape):
        return True
    pairs = zip(value.shape, known.shape, strict=True)
    return any(_is_size(a) and isinstance(b, int) and a != b for a, b in pairs)


def _annotate(value: ir.Value, known: Inferred) -> bool:
    """Take over what is new, but for an output that is declared; whether anything was."""
    return not (value.is_graph_output() and value.type is not None) and _take_over(value, known)


def _take_over(value: ir.Value, known: Inferred) -> bool:
    changed = value.type is None and known.type is not None
    if changed:
        value.type = known.type
    if known.shape is None:
        return changed
    if value.shape is None:
        value.shape = known.shape.copy()
        return True
    merged = [_merge(a, b) for a, b in zip(value.shape, known.shape, strict=True)]
    if merged == list(value.shape):
        return changed
    value.shape = ir.Shape(merged)
    return True


def _annotate_computed(model: ir.Model) -> Iterator[ir.Value]:
    """Name the sizes that are sizes of the inputs by what computes them; gives those values."""
    graphs = [model.graph, *model.graph.subgraphs()]
    open_values = [v for graph in graphs for n in graph for v in n.outputs if _is_open(v)]
    names = {
        dim.value
        for value in model.graph.inputs
        for dim in value.shape or ()
        if isinstance(dim, ir.SymbolicDim) and dim.value
    }
    if not open_values or not names:
        return
    facts = facts_of(model)
    for value in open_values:
        sizes = facts.shape(value)
        if sizes is None or (value.shape is not None and len(sizes) != len(value.shape)):
            continue
        declared = value.shape if value.shape is not None else [ir.SymbolicDim(None)] * len(sizes)
        known = [_spelled(size, names) for size in sizes]
        merged = [a if _is_said(a) else b for a, b in zip(declared, known, strict=True)]
        if value.shape is None or merged != list(declared):
            value.shape = ir.Shape(merged)
            yield value


def _known_in_bodies(model: ir.Model) -> Iterator[tuple[ir.Value, Inferred]]:
    """What holds in functions at every call; without names of sizes, which a body has its own of.

    Not where a type is unknown, which a file cannot leave out, nor in overloads of a model too old
    for them: its file would mix them up.
    """
    if not model.functions:
        return
    facts = facts_of(model)
    for function in model.functions.values():
        if function.overload and model.ir_version < _IR_OF_OVERLOADS:
            continue
        made = (v for g in (function.graph, *function.subgraphs()) for n in g for v in n.outputs)
        for value in (*function.inputs, *made):
            dtype, sizes = facts.dtype(value), facts.shape(value)
            if not value.name or dtype is None or dtype == ir.DataType.UNDEFINED:
                continue
            dims = None if sizes is None else [s if isinstance(s, int) else None for s in sizes]
            shape = None if dims is None else ir.Shape(dims)
            yield value, Inferred(ir.TensorType(dtype), shape)


def _is_open(value: ir.Value) -> bool:
    """Whether a size is missing that nobody has declared."""
    if value.is_graph_output() and value.type is not None:
        return False
    return value.shape is None or not all(_is_said(dim) for dim in value.shape)


def _is_said(dim: Dim) -> bool:
    return _is_size(dim) or (isinstance(dim, ir.SymbolicDim) and dim.value is not None)


def _spelled(size: Number, names: Collection[str]) -> Dim:
    """A size as a shape has it: a number or a name of the inputs, else unknown."""
    if isinstance(size, int):
        return size
    return ir.SymbolicDim(next((name for name in names if size == atom(name)), None))


def _merge(declared: Dim, known: Dim) -> Dim:
    """The more definite of the two: a size, then a declared name, then an inferred one."""
    if _is_size(declared):
        return declared
    named = isinstance(declared, ir.SymbolicDim) and declared.value is not None
    return declared if named and not isinstance(known, int) else known


def _is_size(dim: Dim) -> bool:
    """Whether a dimension is a number; some exporters write -1 for one they do not know."""
    return isinstance(dim, int) and dim >= 0
