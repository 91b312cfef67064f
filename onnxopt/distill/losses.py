"""How far a student is from its teacher, as a torch number that can be differentiated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxopt.distill.hints import Hint
from onnxopt.distill.objectives import Objective

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
_TINY = 1e-12


def soft_targets(student: Tensor, teacher: Tensor, axis: int, temperature: float) -> Tensor:
    """``T² KL(softmax(t / T) ‖ softmax(s / T))``, mean over all positions.

    Hinton et al. (2015), "Distilling the knowledge in a neural network".
    """
    from torch.nn import functional

    wanted = functional.log_softmax(teacher / temperature, axis)
    found = functional.log_softmax(student / temperature, axis)
    divergence = (wanted.exp() * (wanted - found)).sum(axis)
    return divergence.mean() * temperature**2


def gate_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T²`` times the divergence of independent yes-or-no answers, mean over all of them."""
    from torch.nn import functional

    wanted = (teacher / temperature).sigmoid()
    found = student / temperature
    cross = functional.binary_cross_entropy_with_logits(found, wanted)
    own = functional.binary_cross_entropy_with_logits(teacher / temperature, wanted)
    return (cross - own) * temperature**2


def relative_square(student: Tensor, teacher: Tensor, power: float) -> Tensor:
    """``mean((s - t)²) / power``, ``power`` the mean square of the teacher's tensor."""
    return (student - teacher).square().mean() / max(power, _TINY)


def angle(student: Tensor, teacher: Tensor) -> Tensor:
    """``1 - cos(s, t)`` along the last axis, mean over all positions."""
    from torch.nn import functional

    return 1 - functional.cosine_similarity(student, teacher, -1).mean()


@dataclass(frozen=True)
class Losses:
    """All that is to become small.

    Attributes:
        objectives: Of the outputs.
        hints: Inner tensors.
        powers: Mean square of each tensor of the teacher.
        temperature: Of soft targets.
        labels: Weight of the labels' cross entropy.
    """

    objectives: Sequence[Objective]
    hints: Sequence[Hint] = ()
    powers: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    labels: float = 0.0

    @property
    def wanted(self) -> list[str]:
        """The student's tensors that are needed."""
        names = [*(o.student for o in self.objectives), *(h.name for h in self.hints)]
        return list(dict.fromkeys(names))

    def outputs(self, found: Tensors, told: Tensors, temperature: float | None = None) -> Tensor:
        """The outputs' loss, mean over outputs."""
        soft = self.temperature if temperature is None else temperature
        parts = [
            self._output(one, found[one.student].float(), told[one.teacher], soft)
            for one in self.objectives
        ]
        return sum(parts[1:], parts[0]) / len(parts)

    def inner(self, found: Tensors, told: Tensors) -> Tensor:
        """The hints' loss, mean over hints."""
        parts = [
            relative_square(found[h.name].float(), told[h.name], self.powers.get(h.name, 1.0))
            for h in self.hints
        ]
        return sum(parts[1:], parts[0]) / len(parts)

    def differing(self, found: Tensors, told: Tensors) -> tuple[int, int]:
        """How many answers of outputs that choose among classes differ, and of how many."""
        differ = count = 0
        for one in self.objectives:
            if one.kind in ("classes", "scores"):
                theirs = told[one.teacher].argmax(one.axis)
                differ += int((found[one.student].argmax(one.axis) != theirs).sum())
                count += theirs.numel()
        return differ, count

    def hard(self, found: Tensors, labels: Sequence[Any] | None) -> Tensor | None:
        """Cross entropy with the labels; None where they are no classes of the first output."""
        import torch
        from torch.nn import functional

        first = next((o for o in self.objectives if o.kind in ("classes", "scores")), None)
        numbers = None if labels is None else np.asarray(labels).reshape(-1)
        if first is None or numbers is None or numbers.dtype.kind not in "iu":
            return None
        scores = found[first.student].float()
        if scores.dim() != 2 or len(scores) != len(numbers):
            return None
        return functional.cross_entropy(scores, torch.from_numpy(numbers.astype(np.int64)))

    def _output(self, one: Objective, found: Tensor, told: Tensor, soft: float) -> Tensor:
        power = self.powers.get(one.teacher, 1.0)
        match one.kind:
            case "classes":
                return soft_targets(found, told, one.axis, soft)
            case "scores":
                divergence = soft_targets(found, told, one.axis, soft)
                return divergence + relative_square(found, told, power)
            case "gates":
                return gate_targets(found, told, soft)
            case "embedding":
                return angle(found, told) + relative_square(found, told, power)
            case _:
                return relative_square(found, told, power)
