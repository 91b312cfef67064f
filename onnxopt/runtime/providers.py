"""Execution providers by short name, built-in and plug-in behind one interface."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onnxopt.errors import BackendMissingError, UsageError
from onnxopt.runtime.binding import SILENT, onnxruntime, preload_cuda, runtime_errors
from onnxopt.runtime.failures import message_of
from onnxopt.runtime.plugins import Plugin, devices_of, installed_plugins

if TYPE_CHECKING:
    import onnxruntime as ort

_ENDING = "ExecutionProvider"
_RENAMED = {"nvtensorrtrtx": "tensorrt-rtx"}
_NO_DEVICE = {"azure"}  # calls a remote service
_BUILTIN_DEVICES = {"cpu": "cpu", "cuda": "gpu", "tensorrt": "gpu", "dml": "gpu", "xnnpack": "cpu"}
_PACKAGES = {
    "openvino": "onnxruntime-ep-openvino",
    "tensorrt-rtx": "onnxruntime-ep-nv-tensorrt-rtx-cu12",
    "webgpu": "onnxruntime-ep-webgpu",
    "mlx": "onnxruntime-ep-mlx",
    "cuda": "onnxruntime-gpu[cuda,cudnn]",
    "tensorrt": "onnxruntime-gpu[cuda,cudnn]",
}


@dataclass(frozen=True)
class ProviderInfo:
    """One execution provider and whether it can be used here.

    Attributes:
        name: Short name, as in ``SessionConfig.provider``.
        execution_provider: ONNX Runtime's name.
        kind: ``builtin`` for a part of ONNX Runtime, ``plugin`` for a package of its own.
        usable: Whether a session can be opened with it on this machine.
        reason: Why not; empty where it can.
    """

    name: str
    execution_provider: str
    kind: Literal["builtin", "plugin"]
    usable: bool
    reason: str


@dataclass(frozen=True)
class Provider:
    """A provider that is installed, not yet known to work."""

    name: str
    execution_provider: str
    plugin: Plugin | None

    def starts(self) -> bool:
        """Whether ONNX Runtime really uses this built-in provider, tried with a one-node model."""
        ort = onnxruntime()
        if self.name in ("cuda", "tensorrt"):
            preload_cuda()
        options = ort.SessionOptions()
        options.log_severity_level = SILENT
        try:
            session = ort.InferenceSession(
                _one_node(), options, providers=[self.execution_provider], enable_fallback=0
            )
        except runtime_errors():
            return False
        return self.execution_provider in session.get_providers()

    def devices(self) -> tuple[ort.OrtEpDevice, ...]:
        """The devices a plugin's session shall use: one, the CPU first; none for built-ins.

        Raises:
            BackendMissingError: the plugin does not load or sees no device.
        """
        if self.plugin is None:
            return ()
        devices = devices_of(self.plugin)
        if not devices:
            raise BackendMissingError(f"provider {self.name} finds no device on this machine")
        return tuple(sorted(devices, key=_is_not_cpu)[:1])


CPU = Provider("cpu", "CPUExecutionProvider", None)


def device_kind(provider: Provider, devices: Sequence[ort.OrtEpDevice]) -> str:
    """``cpu``, ``gpu`` or ``npu``; empty where it is not known."""
    return _kind_of(devices[0]) if devices else _BUILTIN_DEVICES.get(provider.name, "")


def is_gpu(name: str) -> bool:
    """Whether a built-in provider, by its short name, computes on a GPU."""
    return _BUILTIN_DEVICES.get(name) == "gpu"


def available_providers() -> tuple[ProviderInfo, ...]:
    """Every installed provider, with the reason where one does not work here."""
    return tuple(_probe(provider) for provider in installed_providers())


def find_provider(name: str) -> Provider:
    """The installed provider called ``name`` (short or ONNX Runtime's own).

    Raises:
        UsageError: there is no such provider.
        BackendMissingError: there is, but it is not installed.
    """
    wanted = short_name(name)
    if wanted == CPU.name:
        return CPU  # always there: no need to scan the installed packages
    installed = installed_providers()
    for provider in installed:
        if provider.name == wanted:
            return provider
    if wanted in _PACKAGES:
        todo = f"pip install '{_PACKAGES[wanted]}'"
        raise BackendMissingError(f"provider {wanted} is not installed", todo=todo)
    if wanted in {short_name(known) for known in onnxruntime().get_all_providers()}:
        raise BackendMissingError(f"provider {wanted} is not part of this build of onnxruntime")
    names = ", ".join(provider.name for provider in installed)
    raise UsageError(f"unknown provider {name!r}", f"one of {names}")


def installed_providers() -> tuple[Provider, ...]:
    """The CPU first, then the other built-in providers, then the plug-ins."""
    plugins = installed_plugins()
    names = [n for n in reversed(onnxruntime().get_available_providers()) if n.endswith(_ENDING)]
    external = {plugin.execution_provider for plugin in plugins}
    builtin = [Provider(short_name(n), n, None) for n in names if n not in external]
    loaded = [Provider(short_name(p.execution_provider), p.execution_provider, p) for p in plugins]
    return tuple(p for p in (*builtin, *loaded) if p.name not in _NO_DEVICE)


def short_name(name: str) -> str:
    """``CUDAExecutionProvider`` → ``cuda``; a short name stays as it is."""
    short = name.removesuffix(_ENDING).lower()
    return _RENAMED.get(short, short)


def why_missing(provider: Provider) -> str:
    """The likely reason why a built-in provider did not start: a library it needs is missing."""
    stem = provider.execution_provider.removesuffix(_ENDING).lower()
    folder = Path(str(onnxruntime().__file__)).parent / "capi"
    library = folder / f"libonnxruntime_providers_{stem}.so"
    if library.is_file():
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            return message_of(error)
    return "no such device, or a library it needs is missing"


def install_hint(provider: Provider) -> str:
    """What a user can do about a provider that does not start."""
    package = _PACKAGES.get(provider.name)
    return f"pip install '{package}', or use provider cpu" if package else "use provider cpu"


def _probe(provider: Provider) -> ProviderInfo:
    reason = _problem(provider)
    kind: Literal["builtin", "plugin"] = "plugin" if provider.plugin else "builtin"
    return ProviderInfo(provider.name, provider.execution_provider, kind, not reason, reason)


def _problem(provider: Provider) -> str:
    if provider.plugin is not None:
        try:
            provider.devices()
        except BackendMissingError as error:
            return str(error)
        return ""
    if provider.name == "cpu":
        return ""
    return "" if provider.starts() else why_missing(provider)


def _one_node() -> bytes:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 13)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def _is_not_cpu(device: ort.OrtEpDevice) -> bool:
    return _kind_of(device) != "cpu"


def _kind_of(device: ort.OrtEpDevice) -> str:
    return str(device.device.type).rpartition(".")[2].lower()
