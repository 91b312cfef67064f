"""How one array per input is cut into samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxopt.data.check import check_dtype, check_shape
from onnxopt.data.npy import Arrays, Member
from onnxopt.errors import DataError
from onnxopt.signature import TensorSpec


@dataclass(frozen=True)
class Slicing:
    """Sample ``i`` of an input is entries ``i*step`` to ``(i+1)*step`` along ``axis``.

    Attributes:
        spec: The input.
        member: The array.
        axis: Where the array is cut; None for one that every sample repeats.
        step: Entries a sample, the model's declared size or 1.
        drop_axis: The array has one axis more than the input: entries are whole inputs.
        add_axis: The array has one axis fewer: it is put in here and repeated ``step`` times.
        count: Samples it holds; 1 for a repeated array.
        left_over: Entries at the end that fill no sample.
    """

    spec: TensorSpec
    member: Member
    axis: int | None
    step: int = 1
    drop_axis: bool = False
    add_axis: int | None = None
    count: int = 1
    left_over: int = 0

    def read(self, archive: Arrays, index: int) -> npt.NDArray[np.generic]:
        """The input of sample ``index``; a single entry serves every sample."""
        if self.axis is None:
            whole = archive.read(self.member.name)
            if self.add_axis is None:
                return whole
            return np.repeat(np.expand_dims(whole, self.add_axis), self.step, self.add_axis)
        at = 0 if self.count == 1 else index
        start = at * self.step
        part = archive.read_slice(self.member.name, self.axis, start, start + self.step)
        return part[(slice(None),) * self.axis + (0,)] if self.drop_axis else part


def plan_slicing(spec: TensorSpec, member: Member, axis: int, where: str) -> Slicing:
    """Decide how an array is cut, checking type, rank and fixed sizes.

    Raises:
        DataError: It does not fit the input.
    """
    check_dtype(member.dtype, spec, where)
    rank = len(member.shape)
    declared = spec.shape
    if rank == 0 and not declared:
        return Slicing(spec, member, None)
    if declared is None:
        _check_axis(axis, rank, spec, where)
        return Slicing(spec, member, axis, count=member.shape[axis])
    if rank == len(declared) + 1:
        _check_axis(axis, rank, spec, where)
        check_shape(_without(member.shape, axis), spec, f"{where}, one entry")
        return Slicing(spec, member, axis, drop_axis=True, count=member.shape[axis])
    _check_axis(axis, len(declared), spec, where)
    size = declared[axis]
    step = size if isinstance(size, int) else 1
    if rank == len(declared) - 1:
        check_shape((*member.shape[:axis], step, *member.shape[axis:]), spec, where)
        return Slicing(spec, member, None, step, add_axis=axis)
    probe = (*member.shape[:axis], step, *member.shape[axis + 1 :])
    check_shape(probe if rank == len(declared) else member.shape, spec, where)
    return _cut(spec, member, axis, step, where)


def _cut(spec: TensorSpec, member: Member, axis: int, step: int, where: str) -> Slicing:
    held = member.shape[axis]
    if step == 0 or 0 < held <= step:
        check_shape(member.shape, spec, where)
        return Slicing(spec, member, None, step)
    return Slicing(spec, member, axis, step, count=held // step, left_over=held % step)


def common_count(slicings: Mapping[str, Slicing], where: str) -> int:
    """The number of samples; arrays with one entry fit any number.

    Raises:
        DataError: The arrays hold different numbers; the message lists them.
    """
    counts = {name: s.count for name, s in slicings.items() if s.axis is not None}
    longest = max(counts.values(), default=1)
    if {count for count in counts.values() if count != 1} - {longest}:
        lengths = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise DataError(f"{where}: inputs of unequal length ({lengths})", "one length, or 1")
    return longest


def _check_axis(axis: int, rank: int, spec: TensorSpec, where: str) -> None:
    if not 0 <= axis < rank:
        raise DataError(f"{where}: {spec.name} has no axis {axis}", f"an axis below {rank}")


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
