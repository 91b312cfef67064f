"""Times and runs a model in OpenVINO itself, under the same clock as ``run_onnxruntime``."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import openvino

from onnxopt.runtime import SessionConfig, SessionInfo
from onnxopt.timing.worker import Worker
from peers import arrays

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_READ = "INFERENCE_PRECISION_HINT"


class _Native(Worker):
    """OpenVINO in the place of ONNX Runtime's session."""

    def _open(self, config: SessionConfig | None = None) -> SessionInfo:
        self._calls = []
        started = time.perf_counter()
        compiled = _compile(str(self._model), config or self._config)
        self._load_ms = (time.perf_counter() - started) * 1e3
        request = compiled.create_infer_request()
        run = partial(request.infer, share_inputs=True, share_outputs=True)
        self._calls = [partial(run, sample) for sample in self._samples]
        return _info(compiled, config or self._config, self._load_ms)


_WORKER = _Native()
_OPEN: list[Any] = []


def load(**arguments: Any) -> dict[str, Any]:
    """Load for timing; see ``onnxopt.timing.worker``, as of the next two."""
    return _WORKER.answer({"task": "load", **arguments})


def warm(**arguments: Any) -> dict[str, Any]:
    """Run until the time is steady."""
    return _WORKER.answer({"task": "warm", **arguments})


def turn(**arguments: Any) -> dict[str, Any]:
    """Take a turn."""
    return _WORKER.answer({"task": "turn", **arguments})


def open_model(model: str, session: dict[str, Any]) -> None:
    """Load for outputs."""
    _OPEN[:] = [_compile(model, SessionConfig(**session)).create_infer_request()]


def outputs(feeds: str, to: str) -> None:
    """Run every sample of a file and write what came out, by position."""
    found = []
    for sample in arrays.load(feeds):
        results = _OPEN[0].infer(sample)
        found.append({str(n): results[n].copy() for n in range(len(results))})
    arrays.save(Path(to), found)


def _compile(model: str, config: SessionConfig) -> Any:
    hint = _HINTS[config.precision]
    settings = {
        _READ: hint,
        "INFERENCE_NUM_THREADS": str(config.threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": "NO",
    }
    core = openvino.Core()
    if hint.upper() not in ("F32", *core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")):
        raise RuntimeError(f"OpenVINO has no fast {hint} on this machine")
    compiled = core.compile_model(model, "CPU", settings)
    held = compiled.get_property(_READ).to_string()
    if {"bfloat16": "bf16", "float32": "f32"}.get(held, held) != hint:
        raise RuntimeError(f"asked for {hint}, OpenVINO holds {held}")
    return compiled


def _info(compiled: Any, config: SessionConfig, load_ms: float) -> SessionInfo:
    return SessionInfo(
        provider="OpenVINO itself",
        device="cpu",
        execution_providers=(),
        threads=int(compiled.get_property("INFERENCE_NUM_THREADS")),
        precision=config.precision,
        optimization="all",
        runtime_version=openvino.__version__.split("-")[0],
        load_ms=load_ms,
    )
