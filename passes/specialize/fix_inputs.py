"""Builds input values into a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.errors import UsageError
from onnxopt.fixed import MAX_ELEMENTS, fixed_inputs, record_fixed
from onnxopt.graph import Editor
from onnxopt.transform import Context, Exactness, Note, Pass

FixedValue = bool | int | float | str | list[Any]


@dataclass(frozen=True)
class FixInputs(Pass):
    """f(x, s) → g(x) with g(x) = f(x, s0): the input s has one value for good.

    A number stands for a whole tensor of it where the input declares its sizes. What follows from
    the value is for ``fold-constants`` to find. The model remembers the value in its metadata, so
    that both forms can be fed from the same samples.

    Attributes:
        values: Input name → value: a number, a text, or nested lists of them.
        keep_inputs: Whether callers still feed the input, which nothing reads any more.
    """

    exactness = Exactness.BITWISE
    values: Mapping[str, FixedValue] = field(default_factory=dict, hash=False)
    keep_inputs: bool = False

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Fix the inputs in place, one note each.

        Raises:
            UsageError: There is no such input, or the value does not fit it.
        """
        graph = model.graph
        inputs = {value.name: value for value in graph.inputs}
        built_in = fixed_inputs(model)
        todo = {name: value for name, value in self.values.items() if name not in built_in}
        for name in todo:
            if name not in inputs:
                listed = ", ".join(str(known) for known in inputs)
                raise UsageError(f"fix-inputs: there is no input {name!r}", f"one of {listed}")
        editor = Editor(model)
        for name, text in todo.items():
            value = inputs[name]
            array = _array_for(value, text)
            if value.is_graph_output():
                yield Note.refused(value, "not fixed: it is an output as well")
                continue
            record_fixed(model, name, array)
            self._fix(graph, editor, value, array)
            yield Note.applied(value, f"is {_brief(array)} now")

    def _fix(
        self, graph: ir.Graph, editor: Editor, value: ir.Value, array: npt.NDArray[Any]
    ) -> None:
        if value.name in graph.initializers:  # its default
            graph.initializers.pop(value.name or "")
            value.const_value = None
        if value.uses() and len(graph):
            value.replace_all_uses_with(editor.constant(graph[0], f"{value.name}/fixed", array))
        if not self.keep_inputs:
            graph.inputs.remove(value)


def _array_for(value: ir.Value, given: FixedValue) -> npt.NDArray[Any]:
    """The value as the input's type and shape ask for it.

    Raises:
        UsageError: It does not fit.
    """
    wanted = f"a value for {value.name}: {value.dtype}{list(value.shape or ())}"
    if not isinstance(value.type, ir.TensorType) or value.dtype is None:
        raise UsageError(f"fix-inputs: input {value.name} is no tensor", "a dense tensor")
    is_text = value.dtype == ir.DataType.STRING
    try:
        array = np.asarray(given, dtype=object if is_text else None)
        converted = array if is_text else array.astype(value.dtype.numpy())
    except (ValueError, TypeError) as error:
        raise UsageError(f"fix-inputs: {given!r} ({error})", wanted) from error
    lost = not is_text and (
        array.dtype.kind in "OUS" or not np.array_equal(converted.astype(array.dtype), array)
    )
    if lost and not (array.dtype.kind == "f" and converted.dtype.kind not in "iub"):
        raise UsageError(f"fix-inputs: {given!r} is no {value.dtype}", wanted)
    converted = _spread(converted, value)
    if not _fits(converted.shape, value.shape):
        raise UsageError(f"fix-inputs: a value of shape {list(converted.shape)}", wanted)
    if converted.size > MAX_ELEMENTS:
        raise UsageError(f"fix-inputs: {converted.size} numbers", f"at most {MAX_ELEMENTS}")
    return converted


def _spread(array: npt.NDArray[Any], value: ir.Value) -> npt.NDArray[Any]:
    """A single number as the tensor full of it that the input declares."""
    sizes = [] if value.shape is None else list(value.shape)
    if array.ndim or not all(isinstance(dim, int) and dim >= 0 for dim in sizes):
        return array
    return np.full([int(str(dim)) for dim in sizes], array)


def _fits(shape: tuple[int, ...], declared: ir.Shape | None) -> bool:
    if declared is None:
        return True
    return len(shape) == len(declared) and all(
        not isinstance(dim, int) or dim in (size, -1)
        for size, dim in zip(shape, declared, strict=True)
    )


def _brief(array: npt.NDArray[Any]) -> str:
    if array.size == 1:
        return str(array.reshape(-1)[0])
    return f"a constant of shape {list(array.shape)}"
