"""The whole job on the embedded model: speed-up choices, accuracy, bundle, determinism."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from onnxopt import api, store
from onnxopt.api import Budget, RunOptions
from onnxopt.data import Split
from onnxopt.deploy import read_manifest
from onnxopt.timing import BenchmarkConfig
from onnxopt_models import digits

OPTIONS = RunOptions(target="x64-vnni")
QUICK = BenchmarkConfig(rounds=6, turn_seconds=0.02, warmup_seconds=0.2)


def data() -> api.DataSource:
    return api.held_out(digits.MODEL, str(digits.CALIBRATION), str(digits.TEST), OPTIONS)


@pytest.fixture(scope="module")
def result() -> api.QuantizeResult:
    return api.quantize(digits.MODEL, data=data(), budget=Budget("top1"), options=OPTIONS)


def few(count: int) -> Split:
    parts = data()
    assert isinstance(parts, Split)
    return Split(parts.calibration.take(range(count)), parts.search, parts.test.take(range(count)))


def test_quantized_it_loses_at_most_half_a_point(result: api.QuantizeResult) -> None:
    change = result.comparison.metric
    assert result.verdict == "int8"
    assert change is not None
    assert change.before >= 0.98
    assert change.loss.mean <= 0.005
    assert result.comparison.fidelity is not None
    assert 0.005 < result.comparison.fidelity.mean < 0.05


def test_the_graph_outside_stays_float(result: api.QuantizeResult) -> None:
    before, after = api.inspect(digits.MODEL), api.inspect(result.model)
    assert after.inputs == before.inputs
    assert after.outputs == before.outputs
    assert after.stats.ops.get("BatchNormalization", 0) == 0


def test_delivery_ships_what_is_fast_and_inside_the_budget(tmp_path: Path) -> None:
    plan = replace(api.default_plan(), timing=QUICK)
    found = api.deliver(
        digits.MODEL,
        tmp_path / "bundle",
        data=data(),
        budget=Budget("top1", 0.015),
        plan=plan,
        options=OPTIONS,
    )
    names = [one.name for one in found.candidates]
    assert names == ["as-shipped", "exact", "int8"]
    shipped = found.shipped
    assert shipped.fits
    assert shipped.ratio is None or shipped.ratio.low > 1
    assert found.manifest == read_manifest(tmp_path / "bundle")
    assert found.manifest.candidate == shipped.name
    assert api.verify(tmp_path / "bundle").samples == 4
    comparison = json.loads((tmp_path / "bundle" / "measured" / "comparison.json").read_text())
    assert set(comparison) == {"exact", "int8"}
    assert str(tmp_path) not in (tmp_path / "bundle" / "manifest.json").read_text()


def test_a_budget_nobody_meets_keeps_the_float_models(tmp_path: Path) -> None:
    plan = replace(api.default_plan(), recipes={"int8": "quantize-static"}, timing=QUICK)
    found = api.deliver(
        digits.MODEL,
        tmp_path / "bundle",
        data=few(16),
        budget=Budget(max_error=1e-6),
        plan=plan,
        options=OPTIONS,
    )
    assert not found.candidates[2].fits
    assert found.shipped.name in ("as-shipped", "exact")


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_same_model_data_and_recipe_give_the_same_bytes(method: str) -> None:
    recipe = f"quantize-static{{method={method}}}"
    made = [
        store.serialize(
            api.quantize(digits.MODEL, data=few(12), recipe=recipe, options=OPTIONS).model
        )
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_replaying_what_was_found_gives_the_same_bytes() -> None:
    found = api.quantize(digits.MODEL, data=few(12), options=OPTIONS)
    words = [str(step) for step in found.recipe.steps]
    replay = " | ".join(words[words.index("smooth-activations") :])
    assert " | quantize-static{method=auto, only=[" in replay
    assert replay.count(" | refine-rounding | ") == 1
    again = api.quantize(digits.MODEL, data=few(12), recipe=replay, options=OPTIONS)
    assert store.serialize(again.model) == store.serialize(found.model)
    assert again.integers == found.integers > 30
