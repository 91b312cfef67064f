"""Opens a model in ONNX Runtime: what was asked for is in force, or it is an error."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from onnxopt.errors import BackendMissingError, ModelError
from onnxopt.runtime.binding import SILENT, onnxruntime, preload_cuda, runtime_errors
from onnxopt.runtime.bound import memory_of
from onnxopt.runtime.config import SessionConfig, SessionInfo
from onnxopt.runtime.failures import load_failure
from onnxopt.runtime.providers import (
    CPU,
    Provider,
    device_kind,
    find_provider,
    install_hint,
    why_missing,
)
from onnxopt.runtime.session import Session
from onnxopt.runtime.settings import Settings, settings_for
from onnxopt.runtime.source import Model, Source, source_of, whole

if TYPE_CHECKING:
    import onnxruntime as ort

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "off": "ORT_DISABLE_ALL",
}


@dataclass(frozen=True)
class _Route:
    """Where a model will run and what that provider is told."""

    provider: Provider
    devices: Sequence[ort.OrtEpDevice]
    settings: Settings


def open_session(model: Model, config: SessionConfig = SessionConfig()) -> Session:  # noqa: B008
    """Load a model.

    Args:
        model: A file (external data beside it works), a serialized model or one in memory.
        config: Provider, threads, precision and so on; all of it is in force in the result.

    Raises:
        UsageError: there is no such provider.
        BackendMissingError: the provider, the precision or the threads cannot be had here.
        ModelError: ONNX Runtime does not load the model.
        LimitError: there is not enough memory.
    """
    route = _route(config)
    source = source_of(model, config)
    started = time.perf_counter()
    try:
        inner = _create(source, session_options(config), route)
    except ModelError:
        if not (source.weights and isinstance(model, ir.Model)):
            raise
        source = whole(model)  # handing weights over is no reason to fail
        inner = _create(source, session_options(config), route)
    load_ms = (time.perf_counter() - started) * 1e3
    _verify(inner, source.label, route)
    bound_to = memory_of(route.provider.name) if config.io_binding else None
    return Session(inner, _info(inner, config, route, load_ms), source, bound_to)


def check_config(config: SessionConfig) -> None:
    """See that this machine has the provider, precision and threads of a config.

    Raises:
        UsageError: there is no such provider.
        BackendMissingError: something of it cannot be had here.
    """
    route = _route(config)
    if not route.devices and route.provider.name != CPU.name and not route.provider.starts():
        raise _not_started(route.provider)


def session_options(config: SessionConfig) -> ort.SessionOptions:
    """ONNX Runtime's options for a config, the provider apart."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = config.threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = config.planned_memory
    level = getattr(ort.GraphOptimizationLevel, _LEVELS[config.optimization])
    options.graph_optimization_level = level
    # with spinning on, threads still stop when the last run ends: an idle session costs nothing
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "1" if config.spinning else "0"
    )
    if config.optimization == "off":
        # a kernel that repacks constant weights adds in another order than one that cannot
        options.add_session_config_entry("session.disable_prepacking", "1")
    if config.optimized_model_path is not None:
        options.optimized_model_filepath = str(config.optimized_model_path)
    if config.profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(config.profile_prefix)
    return options


def _route(config: SessionConfig) -> _Route:
    provider = find_provider(config.provider)
    devices = provider.devices()
    return _Route(provider, devices, settings_for(provider.name, config, devices))


def _create(source: Source, options: ort.SessionOptions, route: _Route) -> ort.InferenceSession:
    provider = route.provider
    ort = onnxruntime()
    if source.weights:
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in source.weights.values()]
        options.add_external_initializers(list(source.weights), values)
    arguments: dict[str, Any] = {"enable_fallback": 0}  # or a failed provider becomes the CPU
    if provider.name != CPU.name:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if route.devices:
        options.add_provider_for_devices(list(route.devices), dict(route.settings.options))
    else:
        arguments["providers"] = _builtin_chain(provider, route.settings.options)
    try:
        return ort.InferenceSession(source.content, options, **arguments)
    except runtime_errors() as error:
        if not route.devices and provider.name != CPU.name and not provider.starts():
            raise _not_started(provider) from error
        raise load_failure(source.label, provider.name, error) from error


def _builtin_chain(
    provider: Provider, options: Mapping[str, str]
) -> list[str | tuple[str, dict[str, str]]]:
    chain: list[str | tuple[str, dict[str, str]]] = [(provider.execution_provider, dict(options))]
    if provider.name in ("cuda", "tensorrt"):
        preload_cuda()
    if provider.name == "tensorrt":
        chain.append(("CUDAExecutionProvider", {"use_tf32": "0"}))
    return chain


def _verify(inner: ort.InferenceSession, label: str, route: _Route) -> None:
    provider = route.provider
    if provider.execution_provider not in inner.get_providers():
        raise _not_started(provider)
    held = inner.get_provider_options().get(provider.execution_provider, {})
    for key, value in route.settings.options.items():
        if held.get(key) != value:
            raise BackendMissingError(f"provider {provider.name} did not take {key}={value}")
    placement = _placement(inner, provider)
    if placement and provider.execution_provider not in placement:
        total = sum(placement.values())
        raise BackendMissingError(
            f"provider {provider.name} runs none of the {total} nodes of {label}",
            todo="use another provider",
        )


def _info(
    inner: ort.InferenceSession, config: SessionConfig, route: _Route, load_ms: float
) -> SessionInfo:
    return SessionInfo(
        provider=route.provider.name,
        device=device_kind(route.provider, route.devices),
        execution_providers=tuple(inner.get_providers()),
        threads=config.threads,
        precision=config.precision,
        optimization=config.optimization,
        runtime_version=onnxruntime().get_version_string(),
        load_ms=load_ms,
        placement=_placement(inner, route.provider),
        notes=route.settings.notes,
    )


def _placement(inner: ort.InferenceSession, provider: Provider) -> dict[str, int]:
    """Number of nodes each of ONNX Runtime's providers took; not recorded for the CPU alone."""
    counts: dict[str, int] = {}
    if provider.name == CPU.name:
        return counts
    for part in inner.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


def _not_started(provider: Provider) -> BackendMissingError:
    return BackendMissingError(
        f"provider {provider.name} does not start: {why_missing(provider)}",
        todo=install_hint(provider),
    )
