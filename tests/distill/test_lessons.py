"""Samples and what the teacher says to them: made once, joined, put in order; no torch needed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import classroom
import numpy as np
import pytest

from onnxopt import store
from onnxopt.data import in_memory
from onnxopt.distill.courses import ahead, batches, groups, order_of
from onnxopt.distill.joining import find_axes, join
from onnxopt.distill.lessons import Lesson, Lessons, affordable
from onnxopt.distill.teacher import Teacher
from onnxopt.errors import DataError

SEQUENCES = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4,3] x) => (float[4,N,3] y) { y = Transpose<perm = [1,0,2]>(x) }"""
MIXING = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3] x) => (float[N,3] y) { y = Softmax<axis = 0>(x) }"""


def first(text: str, shape: tuple[int, ...]) -> tuple[Teacher, Lesson, object]:
    model = store.from_text(text)
    teacher = Teacher(model, ["y"])
    feeds = {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    return teacher, Lesson(feeds, teacher.says(feeds)), model


def test_each_sample_is_taught_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    says = Teacher.says
    monkeypatch.setattr(Teacher, "says", lambda *a: asked.append(a[2]) or says(*a))
    with Teacher(classroom.teacher(), ["scores"]) as teacher:
        lessons = Lessons(classroom.samples(12), teacher, order_of(0, 12, 3))
        for index in (5, 3, 5, *range(12)):
            lessons.get(index)
    assert len(asked) == lessons.made == 12


def test_what_does_not_fit_memory_is_read_from_disk(tmp_path: Path) -> None:
    with Teacher(classroom.teacher(), ["scores"]) as teacher:
        small = Lessons(classroom.samples(6), teacher, range(6), memory_bytes=400, folder=tmp_path)
        large = Lessons(classroom.samples(6), teacher, range(6))
        for index in range(6):
            for name in ("feeds", "targets"):
                ours, theirs = (getattr(side.get(index), name) for side in (small, large))
                assert ours.keys() == theirs.keys()
                for key, value in ours.items():
                    np.testing.assert_array_equal(value, theirs[key])
    assert list(tmp_path.rglob("*.npz"))
    small.close()
    assert not list(tmp_path.rglob("*.npz"))


def test_the_data_must_have_all_inputs() -> None:
    with Teacher(classroom.teacher(), ["scores"]) as teacher:
        lessons = Lessons(in_memory([{"z": np.zeros(1)}]), teacher, [0])
        with pytest.raises(DataError, match="sample 0 has no x"):
            lessons.get(0)


def test_room_is_counted() -> None:
    lesson = Lesson({"x": np.zeros(250, np.float32)}, {})
    assert affordable(100, lesson, room=5000) == 5
    assert affordable(3, lesson, room=5000) == 3
    assert affordable(3, lesson, room=1) == 1


def test_batch_axes_are_found_where_they_are() -> None:
    teacher, lesson, model = first(SEQUENCES, (1, 4, 3))
    axes = find_axes([model], teacher, lesson)  # type: ignore[list-item]
    assert (dict(axes.inputs), dict(axes.tensors)) == ({"x": 0}, {"y": 1})
    both = join([lesson, lesson, lesson], axes)
    assert (both.feeds["x"].shape, both.targets["y"].shape) == ((3, 4, 3), (4, 3, 3))
    assert both.samples == 3


def test_a_model_that_mixes_samples_has_no_batch_axis() -> None:
    teacher, lesson, model = first(MIXING, (1, 3))
    assert dict(find_axes([model], teacher, lesson).tensors) == {}  # type: ignore[list-item]


def test_a_declared_batch_is_not_joined() -> None:
    teacher, lesson, model = first(SEQUENCES.replace("float[N,4,3] x", "float[1,4,3] x"), (1, 4, 3))
    axes = find_axes([model], teacher, lesson)  # type: ignore[list-item]
    assert not axes.joins
    assert [len(group) for group in groups([lesson] * 3, axes, 8)] == [1, 1, 1]


def shaped(width: int) -> Lesson:
    return Lesson({"x": np.zeros((1, width, 3), np.float32)}, {})


def test_batches_hold_each_sample_once_an_epoch_and_shapes_together() -> None:
    lessons = [shaped(2 + at % 2) for at in range(20)]
    epoch = list(islice(batches(lessons.__getitem__, range(20), 5, seed=1), 4))
    seen = [id(lesson) for batch in epoch for lesson in batch]
    assert sorted(seen) == sorted(map(id, lessons))
    assert all(len({lesson.feeds["x"].shape for lesson in batch}) == 1 for batch in epoch)


@pytest.mark.parametrize("start", [1, 3, 4, 9])
def test_batches_go_on_anywhere(start: int) -> None:
    lessons = [shaped(2 + at % 3) for at in range(17)]
    whole = list(islice(batches(lessons.__getitem__, range(17), 2, seed=1), 30))
    later = list(islice(batches(lessons.__getitem__, range(17), 2, 1, start), 30 - start))
    assert [list(map(id, b)) for b in later] == [list(map(id, b)) for b in whole[start:]]


def test_what_is_made_ahead_is_the_same_and_errors_arrive() -> None:
    assert list(islice(ahead(iter(range(100))), 10)) == list(range(10))

    def failing() -> object:
        yield 1
        raise ValueError("no")

    found = ahead(failing())  # type: ignore[arg-type]
    assert next(found) == 1
    with pytest.raises(ValueError, match="no"):
        next(found)
