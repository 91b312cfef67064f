"""Scoring a file on a task, and the file of measured scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxopt.errors import DataError, ModelError, UsageError
from onnxopt.progress import Progress
from onnxopt_models import measure, scores
from onnxopt_models.catalog import load_catalog
from onnxopt_models.scoring import SampleChoice, score
from onnxopt_models.tasks import TASKS
from onnxopt_models.tasks.folder import Description, build_folder
from onnxopt_models.tasks.task import Request, Task

from .conftest import FakeWheel, MakeWheel
from .test_fetch import Index


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Ones that stand at the label for three samples of four."""
    made = [
        {"x": np.eye(4, dtype=np.float32)[[n % 4]], "labels": np.array(n % 4 if n % 4 else 3)}
        for n in range(request.samples)
    ]
    description = Description("toy", request.samples, {"seed": request.seed})
    return build_folder(cache_dir, description, made, progress)


TASK = Task("toy", "toy", "top1", "ones", build)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    path = tmp_path / "identity.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_file_is_scored(identity: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    found = score(
        TASK,
        identity,
        choice=SampleChoice(80),
        cache_dir=tmp_path,
        progress=lambda what, done, total: seen.append(done),
    )
    assert found.score.mean == 0.75
    assert 0.6 < found.score.low < 0.75 < found.score.high < 0.9
    assert (found.metric, found.score.samples, found.run.provider) == ("top1", 80, "cpu")
    assert seen[-1] == 80
    again = score(TASK, identity, choice=SampleChoice(80), cache_dir=tmp_path)
    assert again.score == found.score
    assert again.dataset == found.dataset


def test_a_model_for_something_else_is_refused(identity: Path, tmp_path: Path) -> None:
    task = replace(TASK, builder=lambda cache, request, progress: tmp_path / "none")
    (tmp_path / "none").mkdir()
    np.savez(tmp_path / "none" / "0.npz", z=np.zeros(3, np.float32))
    with pytest.raises(DataError, match=r"0\.npz"):
        score(task, identity, cache_dir=tmp_path)
    with pytest.raises(ModelError):
        score(TASK, tmp_path / "missing.onnx", cache_dir=tmp_path)
    with pytest.raises(UsageError, match="no metric"):
        score(replace(TASK, metric=""), identity, cache_dir=tmp_path)
    with pytest.raises(UsageError, match="no task called 'nothing'"):
        score("nothing", identity)


def test_scores_are_written_and_read_back(identity: Path, tmp_path: Path) -> None:
    found = score(TASK, identity, choice=SampleChoice(80), cache_dir=tmp_path)
    row = measure.measured(found, "cpu 1.0")
    path = tmp_path / "scores.toml"
    path.write_text(measure.to_toml([row, row.model_copy(update={"task": "a"})]), encoding="utf-8")
    names = [read.task for read in scores.load_scores(path)]
    assert names == ["a", "toy"]
    assert scores.load_scores(path)[1] == row
    assert scores.load_scores(tmp_path / "none.toml") == ()
    path.write_text("[[score]]\ntask = 1\n", encoding="utf-8")
    with pytest.raises(DataError, match="no list of scores"):
        scores.load_scores(path)


def test_measuring_goes_on_after_a_task_that_cannot_be_made(
    identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored(name: str, **options: object) -> object:
        if name == "bad":
            raise DataError("nothing there")
        return score(TASK, identity, choice=SampleChoice(8), cache_dir=tmp_path)

    monkeypatch.setattr(measure, "score", scored)
    output = tmp_path / "out.toml"
    assert measure.main(["bad", "toy", "--samples", "8", "--output", str(output)]) == 1
    assert [row.task for row in scores.load_scores(output)] == ["toy"]
    assert measure.main(["toy", "--samples", "8", "--output", str(output)]) == 0


def test_every_task_has_a_number_of_samples_and_a_measured_score() -> None:
    names = {task.name for task in TASKS}
    assert set(measure.SAMPLES) == names
    rows = {row.task: row for row in scores.load_scores()}
    assert set(rows) == names
    for task in TASKS:
        row = rows[task.name]
        assert row.metric == task.metric
        assert row.low <= row.score <= row.high


def test_the_embedded_model_is_scored_offline(tmp_path: Path) -> None:
    found = score("digits", choice=SampleChoice(40), cache_dir=tmp_path)
    assert found.score.mean > 0.5
    with pytest.raises(DataError, match="510 originals in split test, 8 pictures of each"):
        score("digits", choice=SampleChoice(4081), cache_dir=tmp_path)


def test_an_archive_is_fetched_whole_and_checked(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake: FakeWheel = make_wheel()
    content = fake.path.read_bytes()
    row = {"id": "whole", "summary": "s", "wheel": "zoo-fake", "licence": "MIT"}
    values = {**fake.catalog.model_dump(), "archive": [row]}
    catalog = type(fake.catalog).model_validate(values)
    index = Index(fake.path)

    def get() -> Path:
        from onnxopt_models.fetch import fetch_all

        return fetch_all("whole", tmp_path / "c", catalog=catalog, download=index)[0]

    path = get()
    assert path.read_bytes() == content
    assert get() == path
    assert index.calls == 1
    path.write_bytes(b"damaged")
    assert get().read_bytes() == content
    assert index.calls == 2
    fake.path.write_bytes(content + b"!")
    path.unlink()
    with pytest.raises(ModelError, match="not the pinned one"):
        get()


def test_archives_are_in_the_catalog() -> None:
    from onnxopt_models.tasks import magika, minilm_l3

    catalog = load_catalog()
    built_of = {source for model in catalog.built for source in model.sources}
    ids = {entry.id for entry in catalog.archive} - built_of
    assert ids == {*magika.ARCHIVES, *minilm_l3.ARCHIVES}
