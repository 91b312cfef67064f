"""Inner tensors that a student is to match: the same ones of both, spread over the depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing.kept import Kept, take
from onnxopt.comparing.kept import between as kept_between
from onnxopt.comparing.scaling import ChannelScale
from onnxopt.comparing.scaling import between as scales_between
from onnxopt.distill.cuts import Cut, cuts
from onnxopt.errors import UsageError

MOST = 4


@dataclass(frozen=True, eq=False)
class Hint:
    """One tensor of both models.

    Attributes:
        name: Of the tensor, in both.
        kept: Which channels are left, axis by axis; empty for all.
        scale: What the student's is the teacher's divided by; None for 1.
    """

    name: str
    kept: tuple[Kept, ...] = ()
    scale: ChannelScale | None = None

    def target(self, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What the student's tensor should be, where the teacher's is this."""
        value = take(value, self.kept)
        if self.scale is not None:
            value = (value / self.scale.shaped(value.ndim)).astype(value.dtype)
        return value


def choose(
    teacher: ir.Model, student: ir.Model, asked: str | Sequence[str], most: int = MOST
) -> tuple[Hint, ...]:
    """The hints for a pair of models; none where they share no tensor.

    Args:
        teacher: The original.
        student: What was made of it.
        asked: ``auto``, ``none``, or names.
        most: How many ``auto`` may find.

    Raises:
        UsageError: A named tensor is not in both.
    """
    if asked == "none":
        return ()
    ours, theirs = _names(teacher), _names(student)
    if asked == "auto":
        shared = [cut for cut in cuts(teacher) if cut.name in theirs and 0 < cut.depth < 1]
        ends = {value.name for value in teacher.graph.outputs}
        names = _spread([cut for cut in shared if cut.name not in ends], most)
    else:
        names = list(asked)
        for name in names:
            if name not in ours or name not in theirs:
                raise UsageError(f"hints: no tensor {name!r}", "names that both models have")
    kept, scales = kept_between(teacher, student), scales_between(teacher, student)
    return tuple(Hint(name, kept.get(name, ()), scales.get(name)) for name in names)


def _spread(found: Sequence[Cut], most: int) -> list[str]:
    """The candidates nearest to equal steps of depth, each once."""
    names: dict[str, None] = {}
    for at in range(1, most + 1):
        wanted = at / most - 0.5 / most
        free = [cut for cut in found if cut.name not in names]
        nearest = min(free, key=lambda cut: abs(cut.depth - wanted), default=None)
        if nearest is not None:
            names[nearest.name] = None
    order = {cut.name: at for at, cut in enumerate(found)}
    return sorted(names, key=order.__getitem__)


def _names(model: ir.Model) -> set[str]:
    return {out.name for node in model.graph for out in node.outputs if out.name}
