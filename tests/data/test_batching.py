from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxopt.data import DataOptions, Sample, batched, in_memory, open_dataset, split
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature

Inputs = Callable[..., Signature]


def rows(count: int, items: list[str] | None = None) -> list[Sample]:
    names = items or [str(at) for at in range(count)]
    return [
        Sample({"x": np.full((1, 2), at, np.float32), "sr": np.int64(8)}, at, names[at])
        for at in range(count)
    ]


@pytest.fixture
def signature(inputs: Inputs) -> Signature:
    return inputs(x=("float32", "N", 2), sr=("int64",))


def test_groups_of_consecutive_samples(signature: Signature) -> None:
    dataset = batched(in_memory(rows(5)), signature, 2)
    for _ in range(2):
        assert [s.feeds["x"][:, 0].tolist() for s in dataset] == [[0, 1], [2, 3], [4]]
    assert [np.asarray(s.label).tolist() for s in dataset] == [[0, 1], [2, 3], [4]]
    assert all(s.feeds["sr"] == 8 for s in dataset)
    assert [s.feeds["x"][:, 0].tolist() for s in dataset.take([2, 0])] == [[4], [0, 1]]
    assert len(dataset) == 3
    assert dataset.fingerprint != batched(in_memory(rows(5)), signature, 3).fingerprint


def test_calls_that_share_an_item_stay_together(signature: Signature) -> None:
    windows = in_memory(rows(8, ["a", "a", "a", "b", "c", "c", "d", "e"]))
    dataset = batched(windows, signature, 2)
    assert list(dataset.items) == ["a", "a", "c", "d"]
    parts = split(dataset)
    assert sorted(len(p) for p in (parts.calibration, parts.search, parts.test)) == [1, 1, 2]
    assert [s.item for s in dataset] == ["a", "a", "c", "d"]


def test_what_cannot_be_joined(signature: Signature, inputs: Inputs) -> None:
    ragged = in_memory([{"x": np.zeros((1, n), np.float32)} for n in (2, 3)])
    with pytest.raises(DataError, match="samples 0 to 1: x has the shapes 1x2, 1x3"):
        list(batched(ragged, inputs(x=("float32", None, None)), 2))
    rates = in_memory([{"x": np.zeros((1, 2)), "sr": np.int64(at)} for at in range(2)])
    with pytest.raises(DataError, match="sr differs but cannot be batched"):
        list(batched(rates, signature, 2))
    with pytest.raises(UsageError, match="a batch of 2 samples does not fit x"):
        batched(in_memory(rows(4)), inputs(x=("float32", 1, 2)), 2)


def test_options(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", h=np.arange(12, dtype=np.float32).reshape(2, 6))
    options = DataOptions(batch=4, batch_axes={"h": 1}, limit=5)
    dataset = open_dataset(str(tmp_path / "a.npz"), inputs(h=("float32", 2, "N")), options)
    assert [s.feeds["h"].shape for s in dataset] == [(2, 4), (2, 1)]
    with pytest.raises(UsageError, match="give the sizes with --dim"):
        open_dataset("random", inputs(h=("float32", 2)), DataOptions(batch=2))
    with pytest.raises(UsageError, match="batch of 0"):
        DataOptions(batch=0)


def test_shuffling_is_a_permutation_by_seed(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 1), np.float32))
    signature = inputs(x=("float32", None, 1))

    def order(**options: int) -> list[str]:
        shuffled = DataOptions(shuffle=True, **options)  # type: ignore[arg-type]
        return list(open_dataset(str(tmp_path / "a.npz"), signature, shuffled).items)

    assert order() == order() != order(seed=1)
    assert sorted(order(), key=int) == [str(at) for at in range(20)]
    assert len(set(order(limit=5))) == 5


def test_ranges_of_random_integers(inputs: Inputs) -> None:
    options = DataOptions(ranges={"ids": (5, 9)})
    for sample in open_dataset("random", inputs(ids=("int64", 200)), options):
        assert set(sample.feeds["ids"].tolist()) == {5, 6, 7, 8}
