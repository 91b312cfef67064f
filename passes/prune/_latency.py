"""How long a model will take once units are gone, foreseen from the target's figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.calibrate import tensor_sizes
from onnxopt.errors import DataError, UsageError
from onnxopt.graph import constant_tensor, is_constant, is_op
from onnxopt.targets import FloatKernel, Target, blocked
from onnxopt.transform import Context
from onnxopt_passes.prune._coupling import Group, Member

Sizes = Mapping[str, float]
"""Number of elements by tensor name."""
Removed = Mapping[str, int]
"""How many units are gone, by the group's name."""

_RECURRENT = ("LSTM", "GRU", "RNN")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


_Shares = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class _Axis:
    """A number of channels, and how many of them go with each unit of a group."""

    size: int
    shares: _Shares = ()

    def left(self, removed: Removed) -> int:
        return max(self.size - sum(share * removed.get(name, 0) for name, share in self.shares), 0)


@dataclass(frozen=True)
class _Job:
    """What a node computes: outputs of one axis, each from inputs along another."""

    row: FloatKernel
    elements: float
    products: float
    outputs: _Axis
    inputs: _Axis

    def nanoseconds(self, removed: Removed) -> float:
        outputs, inputs = self.outputs.left(removed), self.inputs.left(removed)
        share = outputs / self.outputs.size
        blocks = blocked(outputs, self.row.block) * blocked(inputs, self.row.block)
        whole = self.outputs.size * self.inputs.size
        return self.row.cost.of(
            elements=self.elements * share,
            macs=self.products * blocks / whole,
            weights=0.0,
        )

    @property
    def groups(self) -> set[str]:
        return {name for name, _ in (*self.outputs.shares, *self.inputs.shares)}


class Forecast:
    """The time of a model with some units gone.

    Args:
        model: The model.
        groups: Its groups.
        sizes: Of all tensors that nodes of the main graph make or read.
        target: For what ops cost.
    """

    def __init__(
        self, model: ir.Model, groups: Sequence[Group], sizes: Sizes, target: Target
    ) -> None:
        self._tensors = _tensor_shares(groups)
        self._members = _member_shares(groups)
        self._sizes = sizes
        found = ((node, self._job(node, target)) for node in model.graph)
        self._jobs = {node: job for node, job in found if job is not None}
        self._of: dict[str, list[_Job]] = {group.name: [] for group in groups}
        for job in self._jobs.values():
            for name in job.groups:
                self._of[name].append(job)

    def nanoseconds(self, removed: Removed) -> float:
        """Of one run on a sample."""
        return sum(job.nanoseconds(removed) for job in self._jobs.values())

    def nanoseconds_of(self, nodes: Iterable[ir.Node]) -> float:
        """Of some of its nodes, nothing gone."""
        return sum(self._jobs[node].nanoseconds({}) for node in nodes if node in self._jobs)

    def saved(self, removed: Removed, name: str, count: int) -> float:
        """Nanoseconds that it saves to have ``count`` units of a group gone, not as many as are."""
        after = {**removed, name: count}
        return sum(job.nanoseconds(removed) - job.nanoseconds(after) for job in self._of[name])

    def _job(self, node: ir.Node, target: Target) -> _Job | None:
        row = target.float_kernel_for(node)
        if row is None or not node.outputs or all(is_constant(v) for v in node.inputs):
            return None
        name = node.outputs[0].name or ""
        elements = self._sizes.get(name, 0.0)
        outputs = self._channels(node.outputs[0])
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        tensor = constant_tensor(weight)
        if weight is None or tensor is None or not is_op(node, *_PRODUCTS, *_RECURRENT):
            read = [v for v in node.inputs if v is not None and not is_constant(v)]
            most = max([self._sizes.get(v.name or "", 0.0) for v in read] or [0.0])
            if most > elements:
                widest = next(v for v in read if self._sizes.get(v.name or "", 0.0) == most)
                return _Job(row, most, 0.0, self._channels(widest), _Axis(1))
            return _Job(row, elements, 0.0, outputs, _Axis(1))
        shape = [int(dim) for dim in tensor.shape.numpy()]
        if is_op(node, *_RECURRENT):
            recurrent = constant_tensor(node.inputs[2])
            total = math.prod(shape) + (0 if recurrent is None else recurrent.size)
            return _Job(row, elements, elements * total / max(shape[1], 1), outputs, _Axis(1))
        axis = _input_axis(node, len(shape))
        made = _output_axis(node, len(shape))
        if node.op_type != "ConvTranspose":
            outputs = _Axis(shape[made], self._share(weight, made))
        products = elements * math.prod(shape) / max(shape[made], 1)
        if node.op_type == "ConvTranspose":
            strides = (
                math.prod(node.attributes["strides"].as_ints())
                if "strides" in (node.attributes)
                else 1
            )
            products /= strides
        return _Job(row, elements, products, outputs, _Axis(shape[axis], self._share(weight, axis)))

    def _channels(self, value: ir.Value) -> _Axis:
        axis, places, shares = self._tensors.get(value.name or "", (0, 0, ()))
        dims = list(value.shape or ())
        size = dims[axis] if axis < len(dims) else places
        return _Axis(size if isinstance(size, int) and size > 0 else max(places, 1), shares)

    def _share(self, weight: ir.Value, axis: int) -> _Shares:
        return tuple(
            (name, member.places.shape[1])
            for name, member in self._members.get(weight, ())
            if member.axis == axis
        )


def forecast_of(model: ir.Model, groups: Sequence[Group], context: Context) -> Forecast:
    """A forecast for the first sample of the data, and the context's target.

    Raises:
        UsageError: There is no target, or it does not say what ops cost.
        DataError: There is no data.
    """
    target = context.target
    if target is None or not target.float_kernels:
        found = "no target" if target is None else f"target {target.name} without float rows"
        raise UsageError(f"{found} to foresee times with", todo="name one with --target")
    return Forecast(model, groups, sizes_of(model, context), target)


def sizes_of(model: ir.Model, context: Context) -> dict[str, int]:
    """Elements of each tensor of the main graph on the first sample.

    Raises:
        DataError: There is no data.
    """
    data = context.calibration
    if data is None or not len(data):
        raise DataError("there is no calibration data", todo="give some with --data")
    names = [value.name for value in model.graph.inputs if value.name]
    names += [out.name for node in model.graph for out in node.outputs if out.name]
    return tensor_sizes(model, names, data.take([0]))


def _tensor_shares(groups: Sequence[Group]) -> dict[str, tuple[int, int, _Shares]]:
    """For each tensor its channels' axis, how many of them belong to groups, and to which."""
    found: dict[str, tuple[int, int, _Shares]] = {}
    for group in groups:
        for name, (axis, places) in group.tensors.items():
            first, count, shares = found.get(name, (axis, 0, ()))
            if first == axis:
                own = (group.name, places.shape[1])
                found[name] = axis, count + places.size, (*shares, own)
    return found


def _member_shares(groups: Sequence[Group]) -> dict[ir.Value, list[tuple[str, Member]]]:
    found: dict[ir.Value, list[tuple[str, Member]]] = {}
    for group in groups:
        for member in group.members:
            found.setdefault(member.value, []).append((group.name, member))
    return found


def _output_axis(node: ir.Node, rank: int) -> int:
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Conv":
        return 0
    transposed = "transB" in node.attributes and node.attributes["transB"].as_int()
    return 0 if transposed else rank - 1


def _input_axis(node: ir.Node, rank: int) -> int:
    if node.op_type == "ConvTranspose":
        return 0
    if node.op_type == "Conv":
        return 1
    return rank - 1 if _output_axis(node, rank) == 0 else rank - 2
