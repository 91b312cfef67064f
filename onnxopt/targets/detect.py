"""Which of the shipped targets describes this machine."""

from __future__ import annotations

import platform

from onnxopt.errors import UsageError


def detect_name() -> str:
    """The name of the target for this machine's processor.

    Raises:
        UsageError: No shipped target describes it.
    """
    from onnxopt.runtime import cpu_flags

    return name_for(platform.machine(), frozenset(cpu_flags()))


def name_for(machine: str, flags: frozenset[str]) -> str:
    """The target for a processor: its architecture as Python names it, its flags as Linux does.

    Raises:
        UsageError: No shipped target describes it.
    """
    if machine.lower() in ("aarch64", "arm64"):
        return "arm64"
    if machine.lower() not in ("x86_64", "amd64"):
        raise UsageError(
            f"no target describes a {machine} processor", todo="write one and give its path"
        )
    if {"amx_int8", "amx_tile"} <= flags:
        return "x64-amx"
    if flags & {"avx512_vnni", "avx_vnni"}:
        return "x64-vnni"
    return "x64-avx2"
