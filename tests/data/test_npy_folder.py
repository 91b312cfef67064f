from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxopt.data import DataOptions, open_dataset
from onnxopt.errors import DataError, LimitError
from onnxopt.signature import Signature

Inputs = Callable[..., Signature]


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("order", ["C", "F"])
def test_one_file_an_input(tmp_path: Path, inputs: Inputs, order: str) -> None:
    np.save(tmp_path / "x.npy", np.asarray(ramp(4, 3, 2), order=order))  # type: ignore[call-overload]
    np.save(tmp_path / "rate.npy", np.int64(8))
    np.save(tmp_path / "labels.npy", np.array(["a", "b", "c", "d"]))
    np.save(tmp_path / "names.npy", np.array(["one", "one", "two", "two"]))
    np.save(tmp_path / "other.npy", np.zeros(3))
    signature = inputs(x=("float32", "N", 3, 2), rate=("int64",))
    dataset = open_dataset(str(tmp_path), signature, DataOptions(items="names"))
    for _ in range(2):
        found = list(dataset)
        assert [s.label for s in found] == ["a", "b", "c", "d"]
        for at, sample in enumerate(found):
            np.testing.assert_array_equal(sample.feeds["x"], ramp(4, 3, 2)[at : at + 1])
            assert type(sample.feeds["x"]) is np.ndarray
            assert sample.feeds["x"].flags.writeable
            assert sample.feeds["rate"] == 8
    assert list(dataset.items) == ["one", "one", "two", "two"]
    assert [s.label for s in dataset.take([3, 0])] == ["d", "a"]
    assert "ignored: other" in dataset.notes[0]


def test_batch_axis_and_declared_batch(tmp_path: Path, inputs: Inputs) -> None:
    np.save(tmp_path / "h.npy", ramp(2, 6))
    dataset = open_dataset(
        str(tmp_path), inputs(h=("float32", 2, 3)), DataOptions(batch_axes={"h": 1})
    )
    np.testing.assert_array_equal([s.feeds["h"] for s in dataset][1], ramp(2, 6)[:, 3:])


def test_errors(tmp_path: Path, inputs: Inputs) -> None:
    np.save(tmp_path / "x.npy", ramp(4, 2))
    with pytest.raises(DataError, match="no data for input y"):
        open_dataset(str(tmp_path), inputs(x=("float32", None, 2), y=("float32", None)))
    with pytest.raises(DataError, match="no labels called 'y'; it holds x"):
        open_dataset(str(tmp_path), inputs(x=("float32", None, 2)), DataOptions(labels="y"))
    with pytest.raises(DataError, match="no items called 'y'"):
        open_dataset(str(tmp_path), inputs(x=("float32", None, 2)), DataOptions(items="y"))
    with pytest.raises(DataError, match=r"items of shape \[4, 2\] for 4 samples"):
        open_dataset(str(tmp_path), inputs(x=("float32", None, 2)), DataOptions(items="x"))
    np.save(tmp_path / "y.npy", ramp(3))
    with pytest.raises(DataError, match=r"unequal length \(x: 4, y: 3\)"):
        open_dataset(str(tmp_path), inputs(x=("float32", None, 2), y=("float32", None)))
    (tmp_path / "y.npy").write_bytes((tmp_path / "y.npy").read_bytes()[:-4])
    with pytest.raises(DataError, match=r"y\.npy declares .*; wanted the 8 bytes"):
        open_dataset(str(tmp_path), inputs(x=("float32", None, 2)))
    np.save(tmp_path / "y.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"y\.npy holds Python objects"):
        open_dataset(str(tmp_path), inputs(x=("float32", None, 2)))


def test_large_slices_are_refused(
    tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", ramp(2, 100))
    monkeypatch.setattr("onnxopt.data.npy.MAX_SLICE_BYTES", 300)
    with pytest.raises(LimitError, match="needs 400 bytes at once"):
        list(open_dataset(str(tmp_path), inputs(x=("float32", None, 100))))


def test_changes_are_noticed_and_fingerprinted(tmp_path: Path, inputs: Inputs) -> None:
    signature = inputs(x=("float32", None, 2))
    np.save(tmp_path / "x.npy", ramp(4, 2))
    dataset = open_dataset(str(tmp_path), signature)
    before = dataset.fingerprint
    (tmp_path / "x.npy").touch()
    assert open_dataset(str(tmp_path), signature).fingerprint == before
    np.save(tmp_path / "x.npy", ramp(5, 2))
    with pytest.raises(DataError, match="changed while it was in use"):
        list(dataset)
    assert open_dataset(str(tmp_path), signature).fingerprint != before


def test_memory_does_not_grow_with_the_samples(tmp_path: Path, inputs: Inputs) -> None:
    np.save(tmp_path / "x.npy", np.zeros((400, 100, 100), np.float32))
    dataset = open_dataset(str(tmp_path), inputs(x=("float32", None, 100, 100)))
    tracemalloc.start()
    for _ in dataset:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
