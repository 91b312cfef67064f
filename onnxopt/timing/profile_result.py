"""What a profile returns: where the time of one run goes, by node, operator and kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from onnxopt.runtime import Environment
from onnxopt.timing.kinds import KINDS, Kind, kind_of
from onnxopt.timing.naming import ModelNames
from onnxopt.timing.trace import Activity, Kernel

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph as ONNX Runtime optimised it.

    Attributes:
        name: ONNX Runtime's name of it.
        model_node: The node of the model it stands for (a fused one: one of those it was made
            of); None for what ONNX Runtime added, or where the names do not tell.
        op: Its operator.
        kind: What its time is spent on.
        provider: ONNX Runtime's name of the provider that ran it.
        calls: Calls a run; several inside a ``Loop``, a fraction where a run may leave it out.
        ms: Median over the runs of its own time, nodes that it called taken off.
        share: Of the sum of all nodes' ``ms``.
    """

    name: str
    model_node: str | None
    op: str
    kind: Kind
    provider: str
    calls: float
    ms: float
    share: float


@dataclass(frozen=True)
class GroupTime:
    """All nodes of one operator or kind.

    Attributes:
        name: The operator or kind.
        nodes: How many nodes.
        calls: Calls a run.
        ms: Median over the runs of their sum.
        share: Of the sum over all groups.
    """

    name: str
    nodes: int
    calls: float
    ms: float
    share: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a run goes.

    Every time is a median over the runs of what it stands for: nodes add up to their operator
    only nearly. The profiler counts whole microseconds and cuts off the rest.

    Attributes:
        model: The file, as it was given; ``(in memory)`` for what was none.
        provider: The provider that ran the model.
        device: Kind of device it ran on.
        threads: Threads inside one operator.
        precision: Arithmetic in force.
        optimization: ONNX Runtime's graph optimisation level.
        sessions: Times the model was loaded and profiled.
        runs: Profiled runs, all sessions together.
        run_ms: Wall time of a run without the profiler.
        profiled_ms: Wall time of a run with the profiler at work.
        kernel_ms: Time in kernels; what is left of ``run_ms`` is spent between them.
        ops: By operator, slowest first.
        kinds: By what the time is spent on; all five kinds.
        nodes: By node, slowest first.
        notes: What could not be held or checked.
        environment: The machine.
    """

    model: str
    provider: str
    device: str
    threads: int
    precision: str
    optimization: str
    sessions: int
    runs: int
    run_ms: float
    profiled_ms: float
    kernel_ms: float
    ops: tuple[GroupTime, ...]
    kinds: tuple[GroupTime, ...]
    nodes: tuple[NodeTime, ...]
    notes: tuple[str, ...]
    environment: Environment

    def kind(self, name: Kind) -> GroupTime:
        """The time spent on one kind."""
        return next(group for group in self.kinds if group.name == name)

    def to_json(self) -> str:
        """Everything as one JSON document."""
        return json.dumps(asdict(self), indent=1)


@dataclass(frozen=True, eq=False)
class Tally:
    """All kernels over all runs.

    Attributes:
        kernels: The kernels.
        activities: What each did; its ``ms`` has one entry a pass, the mean run of it.
        runs: Number of runs.
    """

    kernels: tuple[Kernel, ...]
    activities: tuple[Activity, ...]
    runs: int

    @property
    def times(self) -> Matrix:
        """Milliseconds by kernel and run."""
        return np.array([activity.ms for activity in self.activities], dtype=np.float64)

    @property
    def totals_ms(self) -> list[float]:
        """Time in kernels of each pass."""
        return [float(ms) for ms in self.times.sum(axis=0)] if self.kernels else [0.0]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each kernel's time is spent on."""
        pairs = zip(self.kernels, self.activities, strict=True)
        return tuple(kind_of(k.op, a.inputs, a.outputs) for k, a in pairs)


def node_times(tally: Tally, names: ModelNames | None) -> tuple[NodeTime, ...]:
    """Every kernel, slowest first."""
    total = float(np.median(tally.times, axis=1).sum()) if tally.kernels else 0.0
    rows = zip(tally.kernels, tally.activities, tally.kinds, strict=True)
    found = (
        NodeTime(
            name=kernel.name,
            model_node=names.find(kernel) if names else None,
            op=kernel.op,
            kind=kind,
            provider=activity.provider,
            calls=activity.calls / tally.runs,
            ms=(ms := float(np.median(activity.ms))),
            share=_share(ms, total),
        )
        for kernel, activity, kind in rows
    )
    return tuple(sorted(found, key=lambda node: (-node.ms, node.name)))


def op_times(tally: Tally) -> tuple[GroupTime, ...]:
    """Every operator, slowest first."""
    ops = [kernel.op for kernel in tally.kernels]
    groups = _groups(tally, ops, dict.fromkeys(ops))
    return tuple(sorted(groups, key=lambda group: (-group.ms, group.name)))


def kind_times(tally: Tally) -> tuple[GroupTime, ...]:
    """Every kind, in a fixed order."""
    return tuple(_groups(tally, tally.kinds, KINDS))


def _groups(tally: Tally, keys: Sequence[str], wanted: Iterable[str]) -> list[GroupTime]:
    times = tally.times
    rows_of: dict[str, list[int]] = {key: [] for key in wanted}
    for row, key in enumerate(keys):
        rows_of[key].append(row)
    ms = {
        key: float(np.median(times[rows].sum(axis=0))) if rows else 0.0
        for key, rows in rows_of.items()
    }
    total = sum(ms.values())
    return [
        GroupTime(
            name=key,
            nodes=len(rows),
            calls=sum(tally.activities[row].calls for row in rows) / tally.runs,
            ms=ms[key],
            share=_share(ms[key], total),
        )
        for key, rows in rows_of.items()
    ]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
