"""Execution providers that come as packages of their own (``onnxruntime-ep-…``)."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from onnxopt.errors import BackendMissingError
from onnxopt.runtime.binding import onnxruntime, runtime_errors
from onnxopt.runtime.failures import message_of

if TYPE_CHECKING:
    import onnxruntime as ort

PREFIX = "onnxruntime_ep_"


@dataclass(frozen=True)
class Plugin:
    """One installed plugin provider.

    Attributes:
        package: Name of the distribution.
        version: Its version.
        execution_provider: ONNX Runtime's name of the provider.
        library: The shared library; None where the package could not say.
        problem: Why the package is of no use; empty where it is.
    """

    package: str
    version: str
    execution_provider: str
    library: Path | None
    problem: str = ""


def installed_plugins() -> tuple[Plugin, ...]:
    """The plugin providers among the installed distributions, by name of the distribution."""
    found: dict[str, Plugin] = {}
    for dist in importlib.metadata.distributions():
        name = _normal(dist.metadata["Name"] or "")
        if name.startswith(PREFIX) and name not in found:
            found[name] = _describe(dist, name)
    return tuple(found[name] for name in sorted(found))


def devices_of(plugin: Plugin) -> tuple[ort.OrtEpDevice, ...]:
    """Register the plugin with ONNX Runtime (once a process) and list its devices.

    Raises:
        BackendMissingError: the library does not load.
    """
    devices = _devices(plugin.execution_provider)
    if devices:
        return devices
    if plugin.library is None:
        raise BackendMissingError(f"{plugin.package} {plugin.version}: {plugin.problem}")
    try:
        onnxruntime().register_execution_provider_library(plugin.package, str(plugin.library))
    except runtime_errors() as error:
        if "already registered" not in str(error):
            raise BackendMissingError(
                f"{plugin.package} {plugin.version} does not load: {message_of(error)}"
            ) from error
    return _devices(plugin.execution_provider)


def _devices(execution_provider: str) -> tuple[ort.OrtEpDevice, ...]:
    return tuple(d for d in onnxruntime().get_ep_devices() if d.ep_name == execution_provider)


def _describe(dist: importlib.metadata.Distribution, name: str) -> Plugin:
    fallback = f"{name.removeprefix(PREFIX)}ExecutionProvider"
    try:
        module = importlib.import_module(_module_name(dist, name))
        library, provider = _ask(module)
    except (ImportError, OSError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        return Plugin(name, dist.version, fallback, None, problem)
    return Plugin(name, dist.version, provider, library)


def _ask(module: ModuleType) -> tuple[Path, str]:
    return Path(module.get_library_path()), str(module.get_ep_name())


def _module_name(dist: importlib.metadata.Distribution, name: str) -> str:
    """A distribution ``…-cu12`` may hold a package without that ending."""
    tops = {file.parts[0] for file in dist.files or () if file.parts}
    packages = sorted(top for top in tops if top.startswith(PREFIX) and top.isidentifier())
    return packages[0] if packages else name


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
