"""Reads the trace that ONNX Runtime's profiler writes: which kernel took how long in which run."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxopt.errors import LimitError, ModelError

_KERNEL = "_kernel_time"
_RUN = "model_run"
_MS = 1e-3  # the trace counts whole microseconds


@dataclass(frozen=True)
class Kernel:
    """One node of the graph as ONNX Runtime optimised it.

    Attributes:
        name: ONNX Runtime's name of the node; ``Op_index`` where the node has none.
        op: Its operator.
        index: ONNX Runtime's number of the node.
    """

    name: str
    op: str
    index: int


@dataclass
class Activity:
    """What a kernel did in the runs of a trace.

    Attributes:
        provider: ONNX Runtime's name of the provider that ran it.
        inputs: Types of its inputs, in the first call seen.
        outputs: Types of its outputs.
        calls: Number of calls in all runs.
        ms: Time in each run, less that of the kernels it called (``Loop``, ``If``, ``Scan``).
    """

    provider: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: int = 0
    ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """The runs of one profiled session.

    Attributes:
        run_ms: Wall time of each run, the profiler's own work included.
        kernels: What each kernel did.
        events: Number of kernel calls in the file.
    """

    run_ms: tuple[float, ...]
    kernels: dict[Kernel, Activity]
    events: int


@dataclass
class _Call:
    start: int
    end: int
    own: int
    event: dict[str, Any]


def read_trace(path: Path, runs: int, skip: int = 0) -> Trace:
    """Read a trace file.

    Args:
        path: What ``Session.end_profiling`` gave.
        runs: Number of runs that the session made.
        skip: How many of the first runs to leave out.

    Raises:
        ModelError: the trace is no JSON.
        LimitError: the trace ends early: ONNX Runtime keeps a million events.
    """
    try:
        events = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except json.JSONDecodeError as error:
        raise ModelError(f"ONNX Runtime's profile does not parse ({error})") from error
    spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == _RUN)
    if len(spans) != runs:
        found = f"the profile holds {len(spans)} of {runs} runs"
        raise LimitError(found, "at most a million kernel calls", "profile fewer runs")
    spans = spans[skip:]
    calls = _calls(e for e in events if e.get("cat") == "Node" and e["name"].endswith(_KERNEL))
    return Trace(
        run_ms=tuple((end - start) * _MS for start, end in spans),
        kernels=_by_kernel(calls, spans),
        events=len(calls),
    )


def _calls(events: Iterable[dict[str, Any]]) -> list[_Call]:
    """Kernel calls in time order, each with its own time: calls inside it are taken off."""
    calls = [_Call(e["ts"], e["ts"] + e["dur"], e["dur"], e) for e in events]
    calls.sort(key=lambda call: (call.start, -call.end))
    around: list[_Call] = []
    for call in calls:
        while around and around[-1].end <= call.start:
            around.pop()
        if around:
            around[-1].own -= call.end - call.start
        around.append(call)
    return calls


def _by_kernel(calls: Sequence[_Call], spans: Sequence[tuple[int, int]]) -> dict[Kernel, Activity]:
    starts = [start for start, _ in spans]
    kernels: dict[Kernel, Activity] = {}
    for call in calls:
        run = bisect_right(starts, call.start) - 1
        if run < 0 or call.start > spans[run][1]:
            continue
        arguments = call.event["args"]
        name = call.event["name"].removesuffix(_KERNEL)
        kernel = Kernel(name, arguments["op_name"], int(arguments["node_index"]))
        activity = kernels.get(kernel)
        if activity is None:
            activity = kernels[kernel] = _fresh(arguments, len(spans))
        activity.calls += 1
        activity.ms[run] += max(call.own, 0) * _MS
    return kernels


def _fresh(arguments: dict[str, Any], runs: int) -> Activity:
    return Activity(
        provider=arguments.get("provider", ""),
        inputs=_types(arguments.get("input_type_shape", ())),
        outputs=_types(arguments.get("output_type_shape", ())),
        ms=[0.0] * runs,
    )


def _types(listed: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(kind for one in listed for kind in one)
