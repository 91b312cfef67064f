"""Every task of the zoo with few samples: it is made, and its model scores as it was measured."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from onnxopt.errors import BackendMissingError
from onnxopt.metrics import metric
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.scores import MeasuredScore, load_scores
from onnxopt_models.scoring import SampleChoice, score
from onnxopt_models.tasks import TASKS, Task

SHARE = 16
DEVIATIONS = 3.3
"""One set of samples in a thousand falls outside, were they drawn anew."""
MEASURED = {row.task: row for row in load_scores()}

by_name = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def few(row: MeasuredScore) -> int:
    """A part of the measured samples; all where a sample's score hangs on how many others are."""
    return row.samples if row.metric.startswith("knn") else math.ceil(row.samples / SHARE)


def band(row: MeasuredScore, samples: int) -> float:
    """How far the score of so many samples may be from the measured one."""
    deviation = (row.high - row.low) / (2 * 1.96) * math.sqrt(row.samples)
    return DEVIATIONS * deviation * math.sqrt(1 / samples + 1 / row.samples)


@by_name
def test_a_score_leaves_room_for_a_change_both_ways(task: Task) -> None:
    row = MEASURED[task.name]
    right = row.score if metric(row.metric).higher_is_better else 1 - row.score
    assert 0.80 <= right <= 0.97


@pytest.mark.real
@by_name
def test_the_catalog_model_scores_as_measured(task: Task, tmp_path: Path) -> None:
    """Models and sources may come from the cache, samples are made anew."""
    row = MEASURED[task.name]
    fetched = default_cache_dir() / "zoo"
    fetched.mkdir(parents=True, exist_ok=True)
    (tmp_path / "zoo").symlink_to(fetched, target_is_directory=True)
    choice = SampleChoice(few(row), row.seed, row.split)
    try:
        found = score(task, choice=choice, cache_dir=tmp_path)
    except BackendMissingError as error:
        pytest.skip(str(error))
    assert found.score.mean == pytest.approx(row.score, abs=band(row, choice.samples))
