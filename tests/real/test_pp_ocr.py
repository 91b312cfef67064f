"""The text models: fetched, rewritten, quantized; outputs judged on rendered words and pages."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from onnxopt import api
from onnxopt.api import Budget, RunOptions
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks import find_task

pytestmark = pytest.mark.real
OPTIONS = RunOptions(target="x64-vnni")


def samples(name: str, count: int, split: str) -> str:
    return str(find_task(name).build(default_cache_dir(), samples=count, split=split))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "count"), [("pp-ocr-rec", 12), ("pp-ocr-det", 2)])
def test_exact_recipe_keeps_the_outputs(name: str, count: int, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    source, output = fetch(name), tmp_path / "exact.onnx"
    data = samples(name, count, "test")
    result = api.optimize(source, output, data=data, options=OPTIONS)
    assert result.equivalence is not None and result.equivalence.agrees
    found = api.compare(source, output, data=data, options=OPTIONS)
    assert max(one.worst_abs for one in found.outputs) <= 1e-4
    nodes = result.steps[0].before.nodes, result.steps[-1].after.nodes
    assert nodes[1] < 0.4 * nodes[0]
    ops = api.inspect(output).stats.ops
    assert "Div" not in ops or ops["Div"] < 8


def test_int8_reports_its_cost_in_character_error_rate(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    source = fetch("pp-ocr-rec")
    parts = api.held_out(
        source,
        samples("pp-ocr-rec", 16, "calibration"),
        samples("pp-ocr-rec", 40, "test"),
        OPTIONS,
    )
    budget = Budget(metric=find_task("pp-ocr-rec").metric, max_error=math.inf)
    result = api.quantize(
        source, tmp_path / "int8.onnx", data=parts, budget=budget, options=OPTIONS
    )
    change = result.comparison.metric
    assert change is not None and not change.higher_is_better
    assert 0 < change.before < 0.1
    assert change.loss.low <= change.loss.mean <= change.loss.high
    assert result.verdict == "int8"
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * source.stat().st_size


def test_mixed_precision_keeps_what_is_noisy_in_float(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    source = fetch("pp-ocr-rec")
    parts = api.held_out(
        source,
        samples("pp-ocr-rec", 8, "calibration"),
        samples("pp-ocr-rec", 16, "test"),
        OPTIONS,
    )
    budget = Budget(max_error=0.1, accept_undecided=True)
    result = api.quantize(
        source,
        tmp_path / "mixed.onnx",
        data=parts,
        recipe="quantize-mixed",
        budget=budget,
        options=OPTIONS,
    )
    assert result.verdict == "int8"
    assert result.comparison.fidelity is not None
    assert 0.01 < result.comparison.fidelity.mean <= 0.1
    noisiest = result.sensitivities[0]
    assert noisiest["error"] > 0.02
    assert {row["integers"] for row in result.sensitivities} == {True, False}
    assert "quantize-static{method=auto, only=[" in str(result.recipe)
    assert "for" in result.summary and "of the gain" in result.summary
