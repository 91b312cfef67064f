from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from onnxopt.runtime import Environment, environment, machine

ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd asimddp i8mm bf16 sve
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


def test_the_environment_is_plain_data_and_has_a_stable_digest() -> None:
    found = environment()
    assert json.loads(json.dumps(asdict(found)))["versions"]["onnxruntime"]
    assert 1 <= found.usable_cores <= found.logical_cores
    assert found.memory_bytes > 1 << 28
    assert "cpu" in found.providers
    assert found.digest == environment().digest
    assert found.cpu_flags == tuple(sorted(found.cpu_flags))


def test_an_arm_machine_is_read_from_cpuinfo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"{ARM}\n{ARM}")
    monkeypatch.setattr(machine, "_CPUINFO", file)
    found = environment()
    assert found.cpu == "0x41/0xd40"
    assert found.cpu_flags == ("asimd", "asimddp", "bf16", "i8mm", "sve")


def test_elsewhere_numpy_says_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = set(machine.cpu_flags())
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "absent")
    found: Environment = environment()
    assert found.cpu
    if listed:
        assert set(found.cpu_flags) <= listed
        assert bool({"avx2", "asimd"} & listed) == bool({"avx2", "asimd"} & set(found.cpu_flags))
