"""Bakes sizes into a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxopt.errors import UsageError
from onnxopt.graph import all_graphs
from onnxopt.transform import Context, Exactness, Note, Pass

_UNNAMED = frozenset({"", "?", "-1"})


@dataclass(frozen=True)
class FixDims(Pass):
    """f(x[N,C,H,W]) → f(x[1,C,H,W]): the same function, declared for these sizes only.

    Only writes the sizes down, wherever the symbol stands; ``infer-shapes`` and ``fold-constants``
    draw the consequences. Callers with other sizes get an error from the runtime.

    Attributes:
        sizes: Size by symbolic name, or by ``input:axis`` for a dimension without one.
    """

    exactness = Exactness.BITWISE
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Fix the sizes in place, one note each.

        Raises:
            UsageError: The model has no such open dimension, or the size is negative.
        """
        for key, size in self.sizes.items():
            if size < 0:
                raise UsageError(f"fix-dims: size {size} of {key}", "a number from 0")
        known = _open_dimensions(model)
        for key, size in self.sizes.items():
            places = known.get(key)
            if places is None:
                if _is_done(model, key, size):
                    continue
                listed = ", ".join(known) or "none"
                raise UsageError(
                    f"fix-dims: there is no open dimension {key!r}", f"one of {listed}"
                )
            count = _replace_symbol(model, key, size) if places == "symbol" else 1
            if places != "symbol":
                _fix_axis(places, size)
            yield Note.applied(key, f"is {size} now, in {count} shapes")


def _open_dimensions(model: ir.Model) -> dict[str, str | tuple[ir.Value, int]]:
    """Key → ``symbol``, or the input and axis of a dimension without a name."""
    found: dict[str, str | tuple[ir.Value, int]] = {}
    for value in model.graph.inputs:
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, int) and dim >= 0:
                continue
            symbol = None if isinstance(dim, int) else dim.value
            if symbol is None or symbol in _UNNAMED:
                found[f"{value.name}:{axis}"] = (value, axis)
            else:
                found[symbol] = "symbol"
    return found


def _is_done(model: ir.Model, key: str, size: int) -> bool:
    """Whether ``input:axis`` has this size already; a symbol leaves no trace to look for."""
    name, colon, axis = key.rpartition(":")
    if not colon or not axis.isdecimal():
        return False
    shapes = {value.name: value.shape for value in model.graph.inputs}
    shape = shapes.get(name)
    return shape is not None and int(axis) < len(shape) and shape[int(axis)] == size


def _fix_axis(place: str | tuple[ir.Value, int], size: int) -> None:
    if isinstance(place, tuple):
        value, axis = place
        if value.shape is not None:
            dims = list(value.shape)
            dims[axis] = size
            value.shape = ir.Shape(dims)


def _replace_symbol(model: ir.Model, symbol: str, size: int) -> int:
    """Put the size wherever the symbol stands in the main graph and its subgraphs.

    Functions have symbols of their own.
    """
    count = 0
    inside = {id(graph) for f in model.functions.values() for graph in (f.graph, *f.subgraphs())}
    for graph in all_graphs(model):
        if id(graph) in inside:
            continue
        for value in _values(graph):
            if value.shape is None:
                continue
            dims = [_size_or(dim, symbol, size) for dim in value.shape]
            if dims != list(value.shape):
                value.shape = ir.Shape(dims)
                count += 1
    return count


def _size_or(dim: int | ir.SymbolicDim, symbol: str, size: int) -> int | ir.SymbolicDim:
    return size if isinstance(dim, ir.SymbolicDim) and dim.value == symbol else dim


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    seen: set[int] = set()
    for value in (*graph.inputs, *(out for node in graph for out in node.outputs)):
        if id(value) not in seen:
            seen.add(id(value))
            yield value
