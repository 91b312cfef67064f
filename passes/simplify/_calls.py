"""Which nodes call the functions that a model defines, and what all calls have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._contents import Content, Known
from onnxopt_passes.simplify._expression import Number

Calls = list[ir.Node]


def calls_in_order(model: ir.Model) -> list[tuple[ir.Function, Calls]]:
    """Each function with the nodes that call it, anywhere; callers stand before what they call.

    Calls in bodies that nobody calls count as well.
    """
    calls: dict[ir.OperatorIdentifier, Calls] = {key: [] for key in model.functions}
    if not calls:
        return []
    callees: dict[ir.OperatorIdentifier, list[ir.OperatorIdentifier]] = {}
    for node in model.graph.all_nodes():
        if node.op_identifier() in calls:
            calls[node.op_identifier()].append(node)
    for key, function in model.functions.items():
        found = [node for node in function.all_nodes() if node.op_identifier() in calls]
        for node in found:
            calls[node.op_identifier()].append(node)
        callees[key] = [node.op_identifier() for node in found]
    order = _callees_first(callees)
    return [(model.functions[key], calls[key]) for key in reversed(order)]


def _callees_first(
    callees: dict[ir.OperatorIdentifier, list[ir.OperatorIdentifier]],
) -> list[ir.OperatorIdentifier]:
    done: dict[ir.OperatorIdentifier, None] = {}
    seen: set[ir.OperatorIdentifier] = set()

    def visit(key: ir.OperatorIdentifier) -> None:
        if key in seen:
            return
        seen.add(key)
        for callee in callees[key]:
            visit(callee)
        done[key] = None

    for key in callees:
        visit(key)
    return list(done)


def takes_options(node: ir.Node) -> bool:
    """Whether a node in a function has options that the callers give."""
    return any(attr.is_ref() for attr in node.attributes.data.values())


class Typed(Known, Protocol):
    """Where to look up what is known of the arguments."""

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """The type of a value's elements."""


@dataclass(frozen=True)
class Argument:
    """What holds for one input of a function at each of its calls."""

    dtype: ir.DataType | None
    shape: tuple[Number, ...] | None
    content: Content | None


def common_arguments(
    function: ir.Function, calls: Calls, facts: Typed, fresh: Callable[[], Number]
) -> list[Argument]:
    """What the calls of a function agree on, for each of its inputs.

    A size that differs from call to call gets a name, and two sizes get the same one where they
    are equal in each call by itself. Nothing is known where there is no call, or one leaves the
    input out.

    Args:
        function: The function.
        calls: All nodes that call it.
        facts: What is known where they stand.
        fresh: Makes up a name for a size.
    """
    names: dict[tuple[Number, ...], Number] = {}

    def shared(sizes: tuple[Number, ...]) -> Number:
        if all(size == sizes[0] for size in sizes):
            return sizes[0]
        if sizes not in names:
            names[sizes] = fresh()
        return names[sizes]

    found = []
    for place in range(len(function.inputs)):
        values = [call.inputs[place] if place < len(call.inputs) else None for call in calls]
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            found.append(Argument(None, None, None))
            continue
        dtype = _agreed([_dtype(value, facts) for value in known])
        shape = _common_shape([facts.shape(value) for value in known], shared)
        content = _common_content([facts.content(value) for value in known])
        found.append(Argument(dtype, shape, None if dtype is None else content))
    return found


def _dtype(value: ir.Value, facts: Typed) -> ir.DataType | None:
    tensor = edit.constant_tensor(value)
    return facts.dtype(value) if tensor is None else tensor.dtype


def _agreed(dtypes: Sequence[ir.DataType | None]) -> ir.DataType | None:
    first = dtypes[0]
    unknown = first == ir.DataType.UNDEFINED or any(dtype != first for dtype in dtypes)
    return None if unknown else first


def _common_shape(
    shapes: Sequence[tuple[Number, ...] | None],
    shared: Callable[[tuple[Number, ...]], Number],
) -> tuple[Number, ...] | None:
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or len({len(shape) for shape in known}) > 1:
        return None
    return tuple(shared(sizes) for sizes in zip(*known, strict=True))


def _common_content(contents: Sequence[Content | None]) -> Content | None:
    """The elements that are the same in each call; None for the others."""
    known = [content for content in contents if content is not None]
    if len(known) < len(contents) or len({content.shape for content in known}) > 1:
        return None
    common = np.empty(known[0].shape, dtype=object)
    rows = zip(*(content.reshape(-1) for content in known), strict=True)
    common.reshape(-1)[:] = [row[0] if all(x == row[0] for x in row) else None for row in rows]
    return common


def constant_of(argument: Argument) -> npt.NDArray[np.generic] | None:
    """The array that an argument always is, where all its elements are known integers."""
    content, dtype = argument.content, argument.dtype
    if content is None or dtype not in (ir.DataType.INT32, ir.DataType.INT64):
        return None
    if not all(type(x) is int for x in content.reshape(-1)):
        return None
    return content.astype(dtype.numpy())
