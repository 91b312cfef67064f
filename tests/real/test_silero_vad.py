"""The voice activity detector: state carried through every verb, judged on spoken frames."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from onnxopt import api
from onnxopt.api import Budget, RunOptions
from onnxopt.data import DataOptions
from onnxopt.errors import BackendMissingError, DataError
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.scoring import SampleChoice, score
from onnxopt_models.tasks import find_task

pytestmark = pytest.mark.real
STATE = {"state": "stateN"}
OPTIONS = RunOptions(target="x64-vnni", reading=DataOptions(state=STATE))


@pytest.fixture(scope="module")
def data() -> str:
    try:
        return str(find_task("silero-vad").build(default_cache_dir(), samples=1600))
    except BackendMissingError as error:  # no Debian here: nothing stands in for real speech
        pytest.skip(str(error))


def test_both_models_score_in_the_band(data: str) -> None:
    choice = SampleChoice(1600, split="all")
    found = [
        score("silero-vad", fetch(name), choice=choice).score.mean
        for name in ("silero-vad", "silero-vad-ifless")
    ]
    assert 0.9 < found[0] < 0.98
    assert found[1] == pytest.approx(found[0], abs=1e-3)


def test_exact_recipe_keeps_every_sequence(data: str, tmp_path: Path) -> None:
    source, output = fetch("silero-vad"), tmp_path / "exact.onnx"
    result = api.optimize(source, output, data=data, options=OPTIONS)
    assert result.equivalence is not None and result.equivalence.agrees
    found = api.compare(source, output, data=data, metric="roc-auc", options=OPTIONS)
    assert found.samples == 1600
    assert max(one.worst_abs for one in found.outputs) < 1e-3
    assert found.metric is not None and abs(found.metric.change.mean) < 1e-4


def test_quantize_runs_sequences(data: str, tmp_path: Path) -> None:
    result = api.quantize(
        fetch("silero-vad-ifless"),
        tmp_path / "int8.onnx",
        data=data,
        budget=Budget("roc-auc", max_error=math.inf),
        options=OPTIONS,
    )
    assert result.comparison.metric is not None
    assert result.comparison.metric.before > 0.9
    assert result.equivalence is not None and result.equivalence.agrees


def test_state_is_proposed(data: str) -> None:
    source = fetch("silero-vad")
    with pytest.raises(DataError, match=r"no data for input state.*--state state=stateN"):
        api.compare(source, source, data=data)
