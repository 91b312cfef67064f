from __future__ import annotations

from pathlib import Path

import pytest

from onnxopt.timing.energy import EnergyMeter


def package(root: Path, number: int, microjoules: int, span: int = 1_000_000) -> Path:
    folder = root / f"intel-rapl:{number}"
    (folder / f"intel-rapl:{number}:0").mkdir(parents=True)  # cores: a part of the package
    (folder / "max_energy_range_uj").write_text(f"{span - 1}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (root / f"intel-rapl:{number}:0").mkdir()
    return folder / "energy_uj"


def test_packages_are_added_and_counters_that_start_again_are_carried_on(tmp_path: Path) -> None:
    first, second = package(tmp_path, 0, 900_000), package(tmp_path, 1, 100_000)
    meter = EnergyMeter(tmp_path)
    before = meter.joules()
    assert before == pytest.approx(1.0)
    first.write_text("200000\n")  # over the top: 0.3 J
    second.write_text("150000\n")
    assert meter.joules() - before == pytest.approx(0.35)


def test_a_machine_without_counters(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "absent").joules() is None


def test_counters_that_may_not_be_read_or_hold_nonsense(tmp_path: Path) -> None:
    package(tmp_path, 0, 1)
    package(tmp_path, 1, 1).write_text("unknown\n")
    assert EnergyMeter(tmp_path).joules() is None
