"""A target's own precision: what int8 has to beat where it keeps the budget, out of force else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxopt import api, store
from onnxopt.api import Budget, RunOptions, delivering, precision
from onnxopt.api.options import RunOptions as Options
from onnxopt.api.precision import settle_precision
from onnxopt.api.workbench import Workbench
from onnxopt.comparing import Comparison
from onnxopt.data import Sample, in_memory
from onnxopt.errors import BackendMissingError
from onnxopt.runtime import available_providers

MODEL = store.from_text(
    '<ir_version: 8, opset_import: ["" : 17]>g (float[1,4] x) => (float[1,4] y) { y = Neg(x) }'
)
TARGET = """
name = "mine"
summary = "a device"
provider = "cpu"
[session]
precision = "bf16"
"""


def samples() -> api.DataSource:
    random = np.random.default_rng(0)
    feeds = [{"x": random.standard_normal((1, 4), np.float32)} for _ in range(20)]
    return in_memory([Sample(feed, None, str(n)) for n, feed in enumerate(feeds)])


def bench_for(folder: Path, more: str = "") -> Workbench:
    path = folder / "mine.toml"
    path.write_text(TARGET.replace("[session]", f"{more}\n[session]"))
    return Workbench.open(MODEL, samples(), Options(target=path))


def pretend(monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    """Let a model at the target's precision be off by so much."""
    real = precision.held_out_comparison

    def found(bench: Workbench, model: object, budget: Budget) -> Comparison:
        found = real(bench.at(precision="fp32"), bench.model, budget)
        assert found.fidelity is not None
        off = replace(found.fidelity, mean=error, low=error, high=error)
        return replace(found, fidelity=off)

    monkeypatch.setattr(precision, "held_out_comparison", found)
    monkeypatch.setattr(precision, "check_config", lambda config: None)


def test_it_is_in_force_where_it_keeps_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 0.03)
    bench = bench_for(tmp_path)
    settled = settle_precision(bench, MODEL, Budget())
    assert settled.fits
    assert settled.bench is bench
    assert settled.bench.session.precision == "bf16"


def test_it_is_not_where_it_breaks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0.06)
    settled = settle_precision(bench_for(tmp_path), MODEL, Budget())
    assert not settled.fits
    assert settled.comparison is not None
    assert settled.bench.session.precision == "fp32"
    target = settled.bench.context.target
    assert target is not None
    assert target.session.precision == "fp32"


def test_it_is_not_where_the_machine_has_none(tmp_path: Path) -> None:
    settled = settle_precision(bench_for(tmp_path), MODEL, Budget())
    assert not settled.fits
    assert "bf16" in settled.why
    assert settled.bench.session.precision == "fp32"


def test_fp32_needs_no_comparison() -> None:
    bench = Workbench.open(MODEL, samples(), Options(target="x64-vnni"))
    assert settle_precision(bench, MODEL, Budget()).comparison is None


def test_a_target_falls_back_where_the_machine_lacks_its_precision(tmp_path: Path) -> None:
    assert bench_for(tmp_path).target.name == "mine"
    assert bench_for(tmp_path, 'fallback = "x64-vnni"').target.name == "x64-vnni"


def test_the_reference_is_the_original_in_fp32_on_the_cpu(tmp_path: Path) -> None:
    bench = bench_for(tmp_path).at(precision="fp32")
    found = precision.held_out_comparison(bench, MODEL, Budget())
    assert (found.reference_run.provider, found.reference_run.precision) == ("cpu", "fp32")


def test_the_exact_model_in_it_is_a_candidate_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 0.06)
    bench = bench_for(tmp_path)
    plan = replace(api.default_plan(), recipes={"twice": "clean"})
    made = delivering._make(bench, plan, Budget(), None)
    assert [(one.name, one.session.precision, one.fits) for one in made] == [
        ("as-shipped", "fp32", True),
        ("exact", "fp32", True),
        ("exact-bf16", "bf16", False),
        ("twice", "fp32", True),
    ]


def test_a_target_without_integers_takes_half_precision() -> None:
    options = RunOptions(target="cuda")
    bench = Workbench.open(MODEL, samples(), options)
    assert bench.target.lossy_recipe == "convert-float16"
    assert api.quantizing.lossy_name(bench.target) == "float16"


LINEAR = store.from_text(
    '<ir_version: 8, opset_import: ["" : 17]>'
    "g (float[1,4] x) => (float[1,4] y) <float[4,4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}>"
    " { y = MatMul(x, w) }"
)


@pytest.fixture
def no_gpu() -> None:
    if any(one.name == "cuda" and one.usable for one in available_providers()):
        pytest.skip("this machine has a GPU")


@pytest.mark.usefixtures("no_gpu")
def test_half_precision_is_named_with_its_casts() -> None:
    found = api.quantize(LINEAR, data=samples(), options=RunOptions(target="cuda"))
    assert found.verdict == "float16"
    assert found.summary == "1 nodes in float16, 2 Casts between them and float32"


@pytest.mark.usefixtures("no_gpu")
def test_what_only_another_provider_runs_is_no_mismatch() -> None:
    with pytest.raises(BackendMissingError, match=r"MatMul.* and provider cuda does not") as caught:
        api.quantize(
            LINEAR,
            data=samples(),
            recipe="convert-bfloat16",
            options=RunOptions(target="cuda"),
        )
    assert caught.value.wanted == "provider cuda, which it is made for"


def test_a_target_elsewhere_is_judged_on_the_cpu_where_nothing_is_timed() -> None:
    if any(one.name == "tensorrt" and one.usable for one in available_providers()):
        pytest.skip("this machine has one")
    found = api.quantize(LINEAR, data=samples(), options=RunOptions(target="tensorrt"))
    assert found.verdict == "int8"
    assert found.target.session.precision == "fp32"
    assert any("compared on the CPU provider" in text for text in found.comparison.warnings)
    assert "all figures are of the CPU provider, not of tensorrt's" in found.why
    with pytest.raises(BackendMissingError, match="tensorrt"):
        api.quantize(LINEAR, data=samples(), options=RunOptions(target="tensorrt", measure=True))
