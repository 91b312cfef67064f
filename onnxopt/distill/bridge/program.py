"""A graph as a list of steps over a frame of values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from onnxopt.errors import LimitError, ModelError, OnnxoptError

NOTHING = 0
"""The slot of absent inputs."""


@dataclass(frozen=True)
class Step:
    """One node: reads slots, calls its function, writes slots.

    Attributes:
        function: Takes the values of ``reads``, gives one value or a tuple of them.
        reads: Slots, those of captured values last.
        writes: Slots of the outputs.
        label: Names the node in messages.
    """

    function: Callable[..., Any]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    label: str


@dataclass(frozen=True)
class Plan:
    """The steps that some slots need, each with the slots nobody reads after it."""

    steps: tuple[tuple[Step, tuple[int, ...]], ...]


class Program:
    """A compiled graph.

    Attributes:
        template: One entry a slot: weights and constants; None for what is computed.
        steps: In an order that can be run.
        inputs: Slots of the formal inputs, then of captured values.
        outputs: Slots of the outputs.
    """

    def __init__(
        self,
        template: list[Any],
        steps: Sequence[Step],
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> None:
        self.template = template
        self.steps = tuple(steps)
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._plan = self.plan(self.outputs)

    def plan(self, wanted: Iterable[int]) -> Plan:
        """The least work that fills these slots."""
        kept = set(wanted)
        needed, last = set(kept), []
        for step in reversed(self.steps):
            if not needed.intersection(step.writes):
                continue
            unread = {slot for slot in (*step.reads, *step.writes) if slot not in needed}
            last.append((step, tuple(sorted(filter(self._is_free, unread)))))
            needed.update(step.reads)
        return Plan(tuple(reversed(last)))

    def _is_free(self, slot: int) -> bool:
        return self.template[slot] is None

    def call(self, arguments: Sequence[Any]) -> list[Any]:
        """The outputs for values of all inputs."""
        frame = self.template.copy()
        for slot, value in zip(self.inputs, arguments, strict=False):
            frame[slot] = value
        execute(self._plan, frame)
        return [frame[slot] for slot in self.outputs]

    def convert(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Apply a function to all constants that are not weights: another device or type."""
        for slot, value in enumerate(self.template):
            if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
                self.template[slot] = function(value)


def execute(plan: Plan, frame: list[Any]) -> None:
    """Run the steps of a plan over a frame that holds inputs and constants.

    Raises:
        ModelError: A node failed; the message names it and the shapes it was given.
        LimitError: Memory ran out.
    """
    current = None
    try:
        for step, dead in plan.steps:
            current = step
            result = step.function(*[frame[slot] for slot in step.reads])
            if type(result) is tuple:
                for slot, value in zip(step.writes, result, strict=False):
                    frame[slot] = value
            else:
                frame[step.writes[0]] = result
            for slot in dead:
                frame[slot] = None
    except OnnxoptError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        if current is None:
            raise
        raise _failure(current, frame, error) from error


def _failure(step: Step, frame: list[Any], error: Exception) -> OnnxoptError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "allocate memory" in reason or "out of memory" in reason:
        return LimitError(
            f"memory ran out in {step.label}: {reason}", todo="use a smaller batch or input"
        )
    shapes = ", ".join(_shape(frame[slot]) for slot in step.reads)
    return ModelError(f"{step.label} failed on inputs {shapes}: {reason}")


def _shape(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return "none" if value is None else type(value).__name__
