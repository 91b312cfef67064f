"""What a session is asked for and what is really in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from onnxopt.errors import UsageError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Layout = Literal["nchw", "nhwc"]
OptLevel = Literal["all", "extended", "basic", "off"]
_CUDA = frozenset({"cuda", "CUDAExecutionProvider"})


@dataclass(frozen=True)
class SessionConfig:
    """How to run a model.

    Attributes:
        provider: Short name (``cpu``, ``cuda``, ``openvino`` …) or ONNX Runtime's own
            (``CPUExecutionProvider``).
        threads: Threads inside one operator; ONNX Runtime's thread between operators is one.
        precision: The arithmetic the provider may use for fp32 models.
        layout: How the provider lays out what Conv and its like read and make: as the model
            says, or channels last.
        optimization: ONNX Runtime's graph optimisation level.
        spinning: Whether idle threads of the pool spin for more work (faster alone, harmful to
            whatever else computes on the machine).
        planned_memory: Whether a run takes one block for tensors of the first run's sizes; where
            most of them are outputs, taking each as it comes is faster and smaller.
        io_binding: Whether inputs are put into the device's memory once and outputs stay there
            between runs, so that a timed run copies nothing.
        cuda_graph: Whether the CUDA provider records the kernels of the first run and replays them
            as one graph; for fixed sizes, with ``io_binding``.
        optimized_model_path: Where ONNX Runtime shall write the graph as it optimised it.
        profile_prefix: Start of the path of ONNX Runtime's profile; None for no profile.

    Raises:
        UsageError: a value is out of range.
    """

    provider: str = "cpu"
    threads: int = 1
    precision: Precision = "fp32"
    layout: Layout = "nchw"
    optimization: OptLevel = "all"
    spinning: bool = True
    planned_memory: bool = True
    io_binding: bool = False
    cuda_graph: bool = False
    optimized_model_path: Path | None = None
    profile_prefix: Path | None = None

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise UsageError(f"threads={self.threads}", "a number from 1")
        if self.cuda_graph and (self.provider not in _CUDA or not self.io_binding):
            found = f"cuda_graph on {self.provider}, io_binding={self.io_binding}"
            raise UsageError(
                found, "provider cuda with io_binding: a graph replays fixed addresses"
            )
        _check_choice("precision", self.precision, get_args(Precision))
        _check_choice("layout", self.layout, get_args(Layout))
        _check_choice("optimization", self.optimization, get_args(OptLevel))


@dataclass(frozen=True)
class SessionInfo:
    """What is in force in an open session.

    Attributes:
        provider: Short name of the provider.
        device: Kind of device it computes on: ``cpu``, ``gpu``, ``npu``; empty where unknown.
        execution_providers: ONNX Runtime's providers of the session, in order of preference.
        threads: Threads inside one operator.
        precision: The arithmetic in force.
        optimization: ONNX Runtime's graph optimisation level.
        runtime_version: ONNX Runtime's version.
        load_ms: Time ONNX Runtime took to load the model.
        placement: Nodes that each of ONNX Runtime's providers took; empty for the CPU alone.
        notes: What was asked for but cannot be held or checked, one sentence each.
    """

    provider: str
    device: str
    execution_providers: tuple[str, ...]
    threads: int
    precision: Precision
    optimization: OptLevel
    runtime_version: str
    load_ms: float
    placement: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _check_choice(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{field}={value!r}", f"one of {', '.join(allowed)}")
