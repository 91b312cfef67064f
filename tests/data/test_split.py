from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxopt.data import Sample, calibration_only, in_memory, split
from onnxopt.errors import UsageError

items = st.lists(st.integers(0, 12).map(str), min_size=0, max_size=40)
fractions = st.tuples(*[st.floats(0.01, 1)] * 3)


def dataset_of(names: list[str]):  # type: ignore[no-untyped-def]
    feeds = {"x": np.zeros(1)}
    return in_memory(Sample(feeds, index, name) for index, name in enumerate(names))


@given(names=items, seed=st.integers(0, 5), shares=fractions)
def test_parts_are_disjoint_by_item_and_complete(
    names: list[str], seed: int, shares: tuple[float, float, float]
) -> None:
    dataset = dataset_of(names)
    parts = split(dataset, seed, shares)
    three = (parts.calibration, parts.search, parts.test)
    if len(set(names)) < 3:
        assert all(part is dataset for part in three)
        assert parts.notes
        return
    labels = [[sample.label for sample in part] for part in three]
    assert sorted(label for chosen in labels for label in chosen) == list(range(len(names)))
    assert all(chosen == sorted(chosen) for chosen in labels)  # type: ignore[type-var]
    sets = [set(part.items) for part in three]
    assert all(sets)
    assert not sets[0] & sets[1] and not sets[1] & sets[2] and not sets[0] & sets[2]


@given(names=items, seed=st.integers(0, 5))
def test_the_order_of_samples_does_not_matter(names: list[str], seed: int) -> None:
    one, other = split(dataset_of(names), seed), split(dataset_of(names[::-1]), seed)
    assert set(one.calibration.items) == set(other.calibration.items)
    assert set(one.test.items) == set(other.test.items)


def test_fractions_and_seeds() -> None:
    dataset = dataset_of([str(i) for i in range(100)])
    parts = split(dataset, 0, (0.5, 0.2, 0.3))
    assert [len(p) for p in (parts.calibration, parts.search, parts.test)] == [50, 20, 30]
    assert list(parts.test.items) == list(split(dataset, 0, (5, 2, 3)).test.items)
    assert list(parts.test.items) != list(split(dataset, 1, (5, 2, 3)).test.items)
    assert len(split(dataset).test) == 33


def test_the_split_is_the_same_in_every_process_and_version() -> None:
    parts = split(dataset_of([str(i) for i in range(9)]), seed=0)
    chosen = [list(p.items) for p in (parts.calibration, parts.search, parts.test)]
    assert chosen == [["1", "4", "8"], ["0", "3", "5"], ["2", "6", "7"]]


def test_a_part_may_be_wanted_empty() -> None:
    parts = split(dataset_of([str(i) for i in range(10)]), 0, (1, 0, 1))
    assert (len(parts.calibration), len(parts.search), len(parts.test)) == (5, 0, 5)
    with pytest.raises(UsageError):
        split(dataset_of(["a", "b", "c"]), 0, (0, 0, 0))


def test_data_for_calibration_only_stays_whole() -> None:
    dataset = dataset_of(["a", "b"])
    parts = calibration_only(dataset)
    assert parts.calibration is dataset
    assert len(parts.search) == len(parts.test) == 0
