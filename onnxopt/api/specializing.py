"""Sizes and input values that the result is built for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxopt import pipeline
from onnxopt.recipe import Recipe
from onnxopt.signature import signature_of


@dataclass(frozen=True)
class Specialization:
    """What callers of the result will always feed.

    Attributes:
        dims: Size by symbolic name or ``input:axis``.
        inputs: Input name → value: a number, a text, or nested lists of them.
        keep_inputs: Whether the fixed inputs stay in the signature, for callers that cannot be
            changed; nothing reads them.
    """

    dims: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    keep_inputs: bool = False

    @property
    def recipe(self) -> Recipe:
        """The steps that build this in; none where there is nothing."""
        rows: list[dict[str, Any]] = []
        if self.dims:
            rows.append({"pass": "fix-dims", "sizes": dict(self.dims)})
        if self.inputs:
            kept = {"keep_inputs": True} if self.keep_inputs else {}
            rows.append({"pass": "fix-inputs", "values": dict(self.inputs), **kept})
        return Recipe.from_toml(rows)

    def declaring(self, model: ir.Model) -> Recipe:
        """The step after an exact recipe that writes the sizes of the outputs down."""
        names = [spec.name for spec in signature_of(model).outputs if not spec.is_static]
        rows = [{"pass": "declare-output-sizes", "outputs": names}] if self.dims and names else []
        return Recipe.from_toml(rows)

    def applied_to(self, model: ir.Model) -> ir.Model:
        """A copy of a model with all this built in; the model itself where there is nothing.

        Raises:
            UsageError: The model has no such dimension or input, or a value does not fit.
        """
        recipe = self.recipe
        return pipeline.run(model, recipe).model if recipe.steps else model
