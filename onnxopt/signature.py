"""A model's signature: what a caller must feed and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxopt.fixed import fixed_inputs
from onnxopt.spans import Span, span_of


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output.

    Attributes:
        name: The tensor's name in the graph.
        dtype: numpy's name of the element type (``float32``, ``bfloat16``, ``string``); empty
            where the file does not say or the value is no dense tensor.
        shape: One entry per axis: a size, the name of a symbolic dimension, or None for unknown;
            None as a whole where the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name}: {self.dtype or '?'}[rank unknown]"
        dims = ",".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name}: {self.dtype or '?'}[{dims}]"

    @property
    def is_static(self) -> bool:
        """True where every size is declared."""
        return self.shape is not None and all(isinstance(dim, int) for dim in self.shape)


@dataclass(frozen=True)
class Signature:
    """What a caller must feed and what comes back, in order.

    Attributes:
        inputs: Those that must be fed; initializers are not among them.
        outputs: All of them.
        spans: For inputs of 8-bit integers the values that the model's nodes take, where they say
            so; no part of what makes two signatures the same.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False)

    def input(self, name: str) -> TensorSpec | None:
        """The input called ``name``, or None."""
        return next((spec for spec in self.inputs if spec.name == name), None)


def signature_of(model: ir.Model) -> Signature:
    """Read the signature of a model.

    Graph inputs that are also initializers do not count, and neither do those with a value built
    in that callers may still feed.
    """
    graph, fixed = model.graph, fixed_inputs(model)
    inputs = [v for v in graph.inputs if v.name not in graph.initializers and v.name not in fixed]
    return Signature(
        inputs=tuple(tensor_spec(value) for value in inputs),
        outputs=tuple(tensor_spec(value) for value in graph.outputs),
        spans={v.name: span for v in inputs if v.name and (span := span_of(v)) is not None},
    )


def tensor_spec(value: ir.Value) -> TensorSpec:
    """Describe one value as far as the model declares it."""
    dense = isinstance(value.type, ir.TensorType)
    dtype = value.dtype if dense else None
    known = dtype is not None and dtype != ir.DataType.UNDEFINED
    return TensorSpec(
        name=value.name or "",
        dtype=_dtype_name(dtype) if known and dtype is not None else "",
        shape=None if value.shape is None else tuple(_dim(dim) for dim in value.shape),
    )


def _dtype_name(dtype: ir.DataType) -> str:
    return "string" if dtype == ir.DataType.STRING else str(dtype.numpy())


def _dim(dim: int | ir.SymbolicDim) -> int | str | None:
    """A size; negative ones, which some exporters write for "any", are unknown."""
    if isinstance(dim, int):
        return dim if dim >= 0 else None
    return dim.value
