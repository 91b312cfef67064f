"""The machine and the versions that a measurement was taken with."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from onnxopt.runtime.binding import onnxruntime
from onnxopt.runtime.providers import available_providers
from onnxopt.runtime.settings import usable_cores

_CPUINFO = Path("/proc/cpuinfo")
_RELEVANT = frozenset(
    {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"}
    | {"avx512_fp16", "avx_vnni", "avx_vnni_int8", "avx_ne_convert"}
    | {"amx_tile", "amx_int8", "amx_bf16", "amx_fp16"}
    | {"asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme"}
)
_NUMPY_GROUPS = {
    "X86_V3": ("avx2", "fma", "f16c"),
    "X86_V4": ("avx512f", "avx512bw", "avx512vl"),
    "AVX512_ICL": ("avx512_vnni",),
    "AVX512_SPR": ("avx512_fp16",),
    "NEON": ("asimd",),
}
_DISTRIBUTIONS = ("onnxopt", "onnx", "onnx-ir", "onnxscript", "numpy")


@dataclass(frozen=True)
class Environment:
    """What a number depends on besides the model; JSON-able by ``dataclasses.asdict``.

    Attributes:
        os: Name and release of the operating system.
        machine: ``x86_64``, ``aarch64`` …
        cpu: The processor's name.
        cpu_flags: Its instruction sets that matter to kernels, by Linux's names, sorted.
        physical_cores: Cores of the machine; None where unknown.
        logical_cores: Hardware threads of the machine.
        usable_cores: Hardware threads this process may use.
        memory_bytes: Main memory.
        python: Python's version.
        versions: Versions of the packages that make and run models.
        providers: Short names of the execution providers that work here.
    """

    os: str
    machine: str
    cpu: str
    cpu_flags: tuple[str, ...]
    physical_cores: int | None
    logical_cores: int
    usable_cores: int
    memory_bytes: int
    python: str
    versions: Mapping[str, str]
    providers: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Short hash: two measurements with one digest come from like machines and versions."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def environment() -> Environment:
    """Describe this machine; starts no other program."""
    info = _cpuinfo()
    return Environment(
        os=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=_cpu_name(info),
        cpu_flags=_cpu_flags(info),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        versions=_versions(),
        providers=tuple(p.name for p in available_providers() if p.usable),
    )


def cpu_flags() -> tuple[str, ...]:
    """The instruction sets of this machine that matter to kernels, by Linux's names, sorted."""
    return _cpu_flags(_cpuinfo())


def _cpuinfo() -> Mapping[str, str]:
    """The first processor's lines of Linux's ``/proc/cpuinfo``; empty elsewhere."""
    if not _CPUINFO.is_file():
        return {}
    first = _CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cpu_name(info: Mapping[str, str]) -> str:
    part = f"{info['CPU implementer']}/{info['CPU part']}" if "CPU part" in info else ""
    return info.get("model name") or part or platform.machine()


def _cpu_flags(info: Mapping[str, str]) -> tuple[str, ...]:
    listed = info.get("flags") or info.get("Features") or ""
    found: Iterable[str] = listed.split() if listed else _numpy_flags()
    return tuple(sorted(_RELEVANT.intersection(found)))


def _numpy_flags() -> Iterable[str]:
    """What numpy found: coarser than Linux's list (no AMX, no AVX-VNNI), but on every system."""
    shown: Any = np.show_config(mode="dicts")
    extensions = shown.get("SIMD Extensions", {})
    found = [*extensions.get("baseline", ()), *extensions.get("found", ())]
    for name in found:
        yield from _NUMPY_GROUPS.get(name, (name.lower(),))


def _versions() -> dict[str, str]:
    found = {"onnxruntime": str(onnxruntime().get_version_string())}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return dict(sorted(found.items()))
