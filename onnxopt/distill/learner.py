"""A student with its optimizer: one update, one evaluation, its state and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from onnxopt.distill.batch import Micro
from onnxopt.distill.losses import Losses
from onnxopt.distill.masks import is_vector
from onnxopt.distill.plan import Plan
from onnxopt.distill.scales import Scales

if TYPE_CHECKING:
    from torch import Tensor, nn

Forward = Callable[[Mapping[str, Any], Sequence[str]], Mapping[str, Any]]
"""Tensors by name out of inputs, and which ones."""

_A_LITTLE = 0.05
_CLIP = 1.0
_SCALE_RATE = 1.0  # of the rate and the scale itself
_LEAST_SCALE = 0.25  # of what a scale was at the beginning


class OutOfMemory(Exception):
    """Torch found no memory for a batch."""


class Learner:
    """What is trained.

    Args:
        forward: Inputs and names of tensors to these tensors.
        weights: What may change, by name.
        losses: What is to become small.
        masks: By weight, 0 where it stays 0.
        scales: Scales of quantized tensors that are learned, and those that follow them.
        plan: Rates and weights of losses.

    Attributes:
        balance: What the hints' loss is multiplied by, besides its weight.
    """

    def __init__(
        self,
        forward: Forward,
        weights: Mapping[str, nn.Parameter],
        losses: Losses,
        masks: Mapping[str, Tensor],
        scales: Scales,
        plan: Plan,
    ) -> None:
        self._forward = forward
        self.weights = dict(sorted(weights.items()))  # sums over them have one order
        for weight in self.weights.values():
            weight.data = weight.data.clone()  # aligned as torch does it, for equal sums
        self._losses = losses
        self._masks = masks
        self._plan = plan
        self._followers = scales.followers
        learned = [weight for name, weight in self.weights.items() if name in scales.learned]
        self._least = [(scale, _LEAST_SCALE * scale.detach().clone()) for scale in learned]
        self._optimizer = self._new_optimizer(frozenset(scales.learned))
        self.balance = 1.0

    def update(self, parts: Sequence[Micro], rate: float, hint_weight: float) -> float:
        """Change the weights by one step; returns the loss before it.

        The gradient is the mean over all samples of all parts. Nothing changes where the loss is
        no finite number.

        Raises:
            OutOfMemory: A part was too large.
        """
        self._optimizer.zero_grad(set_to_none=True)
        count, total = sum(part.samples for part in parts), 0.0
        with _memory():
            for part in parts:
                loss = self._loss(part, hint_weight) * (part.samples / count)
                loss.backward()
                total += float(loss.detach())
        if math.isfinite(total):
            self._move(rate)
        return total

    def error(self, parts: Sequence[Micro]) -> float:
        """The outputs' loss at temperature 1, mean over samples.

        Where outputs choose among classes, times the share of answers that differ and a little: a
        student that answers nothing may have a smaller loss than one that is right too loudly.

        Raises:
            OutOfMemory: A part was too large.
        """
        import torch

        total, count, differ, answers = 0.0, 0, 0, 0
        names = [one.student for one in self._losses.objectives]
        with _memory(), torch.no_grad():
            for part in parts:
                found = self._forward(part.feeds, names)
                total += float(self._losses.outputs(found, part.targets, 1.0)) * part.samples
                count += part.samples
                wrong, asked = self._losses.differing(found, part.targets)
                differ, answers = differ + wrong, answers + asked
        loss = total / max(count, 1)
        return loss * (_A_LITTLE + differ / answers) if answers else loss

    def weigh(self, parts: Sequence[Micro]) -> None:
        """Balance the hints so that they count as much as the outputs do now."""
        import torch

        if not self._losses.hints:
            return
        outputs = inner = 0.0
        with _memory(), torch.no_grad():
            for part in parts:
                found = self._forward(part.feeds, self._losses.wanted)
                outputs += float(self._losses.outputs(found, part.targets)) * part.samples
                inner += float(self._losses.inner(found, part.targets)) * part.samples
        if inner > 0 and math.isfinite(outputs / inner):
            self.balance = outputs / inner

    def state(self) -> dict[str, Any]:
        """A copy of the weights, as plain tensors."""
        return {name: weight.detach().clone() for name, weight in self.weights.items()}

    def optimizer_state(self) -> dict[str, Any]:
        """A copy of the optimizer's state."""
        import copy

        return copy.deepcopy(self._optimizer.state_dict())

    def load(self, weights: Mapping[str, Tensor], optimizer: Mapping[str, Any] | None) -> None:
        """Go back to a state; without an optimizer's, it starts anew."""
        import torch

        with torch.no_grad():
            for name, value in weights.items():
                self.weights[name].copy_(value)
        if optimizer is None:
            self._optimizer.state.clear()
        else:
            self._optimizer.load_state_dict(dict(optimizer))

    def _loss(self, part: Micro, hint_weight: float) -> Tensor:
        hinting = hint_weight > 0 and bool(self._losses.hints)
        names = self._losses.wanted if hinting else [o.student for o in self._losses.objectives]
        found = self._forward(part.feeds, names)
        loss = self._losses.outputs(found, part.targets)
        if hinting:
            loss = loss + hint_weight * self.balance * self._losses.inner(found, part.targets)
        hard = self._losses.hard(found, part.labels) if self._losses.labels else None
        return loss if hard is None else loss + self._losses.labels * hard

    def _move(self, rate: float) -> None:
        import torch

        for name, mask in self._masks.items():
            gradient = self.weights[name].grad
            if gradient is not None:
                gradient.mul_(mask)
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), _CLIP)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._optimizer.step()
        with torch.no_grad():
            for scale, least in self._least:
                scale.clamp_(min=least)
            for follower in self._followers:
                follower.update(self.weights)

    def _new_optimizer(self, scales: frozenset[str]) -> Any:
        """AdamW; biases, norms and scales do not decay."""
        import torch

        fixed = {*scales, *(follower.bias for follower in self._followers)}
        moving = {name: weight for name, weight in self.weights.items() if name not in fixed}
        rows: list[tuple[list[Any], float, float]] = [
            ([w for w in moving.values() if not is_vector(w)], self._plan.decay, 1.0),
            ([w for w in moving.values() if is_vector(w)], 0.0, 1.0),
        ]
        for name in sorted(scales & self.weights.keys()):  # a scale moves by shares of itself
            scale = self.weights[name]
            rows.append(([scale], 0.0, _SCALE_RATE * float(scale.detach().abs().mean())))
        groups = [
            {"params": weights, "weight_decay": decay, "share": share}
            for weights, decay, share in rows
            if weights
        ]
        return torch.optim.AdamW(groups, lr=self._plan.rate)


@contextmanager
def _memory() -> Iterator[None]:
    """Tell memory running out apart from other trouble."""
    from onnxopt.errors import LimitError

    try:
        yield
    except (MemoryError, LimitError) as error:
        raise OutOfMemory from error
    except RuntimeError as error:
        text = str(error)
        if "allocate memory" in text or "out of memory" in text:
            raise OutOfMemory from error
        raise
