"""The torch module that runs a compiled model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch

from onnxopt.distill.bridge.program import Plan, Program, execute
from onnxopt.distill.bridge.tensors import torch_type
from onnxopt.distill.bridge.weights import Weights
from onnxopt.distill.bridge.writing import write_back
from onnxopt.errors import DataError, ModelError


class Bridge(torch.nn.Module):  # type: ignore[misc]
    """An ONNX model as a differentiable module; made by ``to_torch``.

    Attributes:
        inputs: Names of what has to be fed: the graph inputs that are not initializers.
        outputs: Names of the graph outputs.
        weights: The float constants of the model by name (in ONNX's shape), and the integer
            constants that only DequantizeLinear reads, as the real numbers they stand for.
        scales: Names of the weights that are scales of codes; they want a far smaller learning
            rate than the rest, about 1e-3 of their own size.
    """

    def __init__(
        self,
        model: ir.Model,
        program: Program,
        parts: Sequence[Program],
        slots: Mapping[str, int],
        weights: Weights,
    ) -> None:
        super().__init__()
        self.inputs = tuple(v.name or "" for v in model.graph.inputs if not v.is_initializer())
        self.outputs = tuple(value.name or "" for value in model.graph.outputs)
        self.weights: dict[str, torch.nn.Parameter] = weights.parameters
        self.scales = weights.scales
        self._coded = weights.coded
        self._program = program
        self._parts = tuple(parts)
        self._slots = slots
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._kinds = {
            value.name or "": None if value.dtype is None else torch_type(value.dtype)
            for value in model.graph.outputs
        }
        for index, (name, parameter) in enumerate(self.weights.items()):
            self.register_parameter(f"{index}:{name.replace('.', '·')}", parameter)

    def forward(
        self, feeds: Mapping[str, Any], wanted: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Run the model.

        Args:
            feeds: A tensor for every input.
            wanted: Names of tensors to return, intermediate ones included; None for the outputs.
                Only what they need is computed.

        Returns:
            Tensors by name. What a QuantizeLinear emits inside the graph is a float tensor of
            codes, so that gradients pass.

        Raises:
            DataError: An input is missing or unknown.
            ModelError: A wanted tensor is unknown, or a node fails.
            LimitError: Memory ran out.
        """
        names = self.outputs if wanted is None else tuple(wanted)
        plan = self._plan(names)
        frame = self._program.template.copy()
        self._feed(feeds, frame)
        execute(plan, frame)
        return {name: self._typed(name, frame[self._slots[name]]) for name in names}

    def write_back(self, model: ir.Model) -> list[str]:
        """Put trained values into the constants of their names; all else stays as it is.

        Args:
            model: Edited in place.

        Returns:
            Names of the constants that changed.

        Raises:
            ModelError: A name or shape does not fit, a value is not finite, or a scale is not
                positive; nothing is written then.
        """
        return write_back(model, self.weights, self._coded)

    def _feed(self, feeds: Mapping[str, Any], frame: list[Any]) -> None:
        missing = [name for name in self.inputs if name not in feeds]
        unknown = [name for name in feeds if name not in self.inputs]
        if missing or unknown:
            raise DataError(
                f"the data lacks {missing}" if missing else f"the data holds unknown {unknown}",
                wanted=f"the inputs {list(self.inputs)}",
            )
        for name in self.inputs:
            frame[self._slots[name]] = _tensor(feeds[name])

    def _plan(self, names: tuple[str, ...]) -> Plan:
        plan = self._plans.get(names)
        if plan is None:
            unknown = [name for name in names if name not in self._slots]
            if unknown:
                raise ModelError(f"the graph has no tensor {unknown}")
            plan = self._program.plan(self._slots[name] for name in names)
            self._plans[names] = plan
        return plan

    def _typed(self, name: str, value: Any) -> Any:
        kind = self._kinds.get(name)
        if kind is None or not isinstance(value, torch.Tensor) or kind.is_floating_point:
            return value
        return value if value.dtype == kind else value.to(kind)

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Bridge:
        result: Bridge = super()._apply(fn, recurse)
        for program in self._parts:
            program.convert(fn)
        return result


def _tensor(value: Any) -> Any:
    if value is None or isinstance(value, torch.Tensor):
        return value
    if isinstance(value, list):
        return [_tensor(item) for item in value]
    return torch.as_tensor(value)
