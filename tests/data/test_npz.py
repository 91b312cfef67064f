from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt.data import DataOptions, open_dataset
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature, TensorSpec

Inputs = Callable[..., Signature]
SAVERS = [np.savez, np.savez_compressed]


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("save", SAVERS)
def test_cuts_along_axis_0(tmp_path: Path, inputs: Inputs, save: Callable[..., None]) -> None:
    data = ramp(5, 3, 2)
    save(tmp_path / "a.npz", x=data, labels=np.arange(5))
    dataset = open_dataset(str(tmp_path / "a.npz"), inputs(x=("float32", "N", 3, None)))
    assert len(dataset) == 5
    for _ in range(2):  # re-iterable
        samples = list(dataset)
        assert [s.label for s in samples] == [0, 1, 2, 3, 4]
        assert type(samples[0].label) is int
        for index, sample in enumerate(samples):
            np.testing.assert_array_equal(sample.feeds["x"], data[index : index + 1])


@pytest.mark.parametrize("save", SAVERS)
def test_take_keeps_the_order(tmp_path: Path, inputs: Inputs, save: Callable[..., None]) -> None:
    data = ramp(20, 50)
    save(tmp_path / "a.npz", x=data)
    dataset = open_dataset(str(tmp_path / "a.npz"), inputs(x=("float32", None, 50)))
    taken = dataset.take([7, 2, 7, 19]).take([3, 0, 1])
    assert [float(s.feeds["x"][0, 0]) for s in taken] == [19 * 50, 7 * 50, 2 * 50]
    assert list(taken.items) == ["19", "7", "2"]


def test_declared_batch_is_the_step_and_the_tail_is_noted(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(7, 2), labels=np.arange(7))
    dataset = open_dataset(str(tmp_path / "a.npz"), inputs(x=("float32", 3, 2)))
    assert [s.feeds["x"].shape for s in dataset] == [(3, 2), (3, 2)]
    assert [np.asarray(s.label).tolist() for s in dataset] == [[0, 1, 2], [3, 4, 5]]
    assert "last 1 entries of x" in dataset.notes[0]


def test_repeats_single_entries_and_lower_ranks(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(4, 2), one=ramp(1, 3), low=ramp(3), rate=np.int64(8))
    signature = inputs(
        x=("float32", "N", 2),
        one=("float32", "N", 3),
        low=("float32", 2, 3),
        rate=("int64",),
    )
    samples = list(open_dataset(str(tmp_path / "a.npz"), signature))
    assert len(samples) == 4
    for sample in samples:
        np.testing.assert_array_equal(sample.feeds["one"], ramp(1, 3))
        np.testing.assert_array_equal(sample.feeds["low"], np.stack([ramp(3)] * 2))
        assert sample.feeds["rate"] == 8


def test_writing_to_a_repeated_feed_harms_no_other(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(2, 2), one=ramp(1, 3))
    signature = inputs(x=("float32", "N", 2), one=("float32", 1, 3))
    for sample in open_dataset(str(tmp_path / "a.npz"), signature):
        np.testing.assert_array_equal(sample.feeds["one"], ramp(1, 3))
        np.asarray(sample.feeds["one"])[:] = -1


def test_one_axis_more_is_a_stack_of_inputs(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(4, 3, 2), rate=np.arange(4))
    signature = inputs(x=("float32", 3, 2), rate=("int64",))
    samples = list(open_dataset(str(tmp_path / "a.npz"), signature))
    assert [s.feeds["x"].shape for s in samples] == [(3, 2)] * 4
    assert [int(s.feeds["rate"]) for s in samples] == [0, 1, 2, 3]


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_batch_axis(tmp_path: Path, inputs: Inputs, save: Callable[..., None], order: str) -> None:
    data = np.asarray(ramp(2, 6, 4), order=order)  # type: ignore[call-overload]
    save(tmp_path / "a.npz", h=data)
    signature = inputs(h=("float32", 2, "N", 4))
    dataset = open_dataset(str(tmp_path / "a.npz"), signature, DataOptions(batch_axes={"h": 1}))
    found = [sample.feeds["h"] for sample in dataset.take([5, 0])]
    np.testing.assert_array_equal(found[0], data[:, 5:6])
    np.testing.assert_array_equal(found[1], data[:, 0:1])


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 9),
    step=st.integers(1, 4),
    axis=st.integers(0, 2),
    compressed=st.booleans(),
    data=st.data(),
)
def test_slices_join_to_the_array(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    step: int,
    axis: int,
    compressed: bool,
    data: st.DataObject,
) -> None:
    others = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    left_over = data.draw(st.integers(0, step - 1))
    shape = [*others[:axis], count * step + left_over, *others[axis:]]
    array = ramp(*shape)
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, x=array)
    declared = (*others[:axis], step, *others[axis:])
    signature = Signature((TensorSpec("x", "float32", declared),), ())
    dataset = open_dataset(str(path), signature, DataOptions(batch_axes={"x": axis}))
    assert len(dataset) == count
    joined = np.concatenate([s.feeds["x"] for s in dataset], axis=axis)
    np.testing.assert_array_equal(joined, array.take(range(count * step), axis=axis))


def test_unequal_lengths_are_listed(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(5, 2), y=ramp(4, 2))
    signature = inputs(x=("float32", "N", 2), y=("float32", "N", 2))
    with pytest.raises(DataError, match=r"unequal length \(x: 5, y: 4\)"):
        open_dataset(str(tmp_path / "a.npz"), signature)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 3)), r'x is float64; wanted float32; convert.*astype\("float32"\)'),
        (np.zeros((4, 3), np.int64), "x is int64"),
        (np.zeros((4, 5), np.float32), "axis 1 has size 5; wanted 3"),
        (np.zeros((4, 3, 1, 1), np.float32), "x has 4 axes"),
        (np.zeros((0, 3), np.float32), "no samples"),
        (np.array(["a", "b"]), "x is <U1"),
    ],
)
def test_arrays_that_do_not_fit(
    tmp_path: Path, inputs: Inputs, array: np.ndarray, message: str
) -> None:
    np.savez(tmp_path / "a.npz", x=array)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(str(tmp_path / "a.npz"), inputs(x=("float32", None, 3)))
    assert "\n" not in str(caught.value)
    assert "a.npz" in str(caught.value)


def test_missing_inputs_are_named_and_extra_arrays_noted(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(4, 2), z=ramp(9))
    with pytest.raises(DataError, match=r"no data for input y.*it holds x, z"):
        open_dataset(str(tmp_path / "a.npz"), inputs(y=("float32", None, 2)))
    dataset = open_dataset(str(tmp_path / "a.npz"), inputs(x=("float32", None, 2)))
    assert dataset.notes == ("a.npz: arrays that are no inputs were ignored: z",)


def test_labels_key(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(2, 2), text=np.array(["ab", "c"]))
    signature = inputs(x=("float32", None, 2))
    path = str(tmp_path / "a.npz")
    assert [s.label for s in open_dataset(path, signature, DataOptions(labels="text"))] == [
        "ab",
        "c",
    ]
    with pytest.raises(DataError, match="no labels called 'nope'"):
        open_dataset(path, signature, DataOptions(labels="nope"))
    np.savez(tmp_path / "b.npz", x=ramp(3, 2), labels=np.arange(2))
    with pytest.raises(DataError, match="2 labels for 3 samples"):
        open_dataset(str(tmp_path / "b.npz"), signature)


def test_an_input_called_labels_is_an_input(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", labels=ramp(2, 2))
    (first, _) = open_dataset(str(tmp_path / "a.npz"), inputs(labels=("float32", None, 2)))
    assert first.label is None


def test_strings_bfloat16_and_foreign_byte_order(tmp_path: Path, inputs: Inputs) -> None:
    half = np.arange(4, dtype=np.float32).reshape(2, 2).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "a.npz", s=np.array(["a", "bc"]), h=half, b=ramp(2, 2).astype(">f4"))
    signature = inputs(s=("string", None), h=("bfloat16", None, 2), b=("float32", None, 2))
    first, second = open_dataset(str(tmp_path / "a.npz"), signature)
    assert second.feeds["s"].tolist() == ["bc"]
    assert second.feeds["h"].dtype == ml_dtypes.bfloat16
    assert second.feeds["h"].astype(np.float32).tolist() == [[2, 3]]
    assert first.feeds["b"].dtype == np.dtype("float32")
    assert first.feeds["b"].tolist() == [[0, 1]]


def test_fingerprint_is_of_the_content(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(4, 2))
    np.savez_compressed(tmp_path / "b.npz", x=ramp(4, 2))
    np.savez(tmp_path / "c.npz", x=ramp(4, 2) + 1)
    one, two = inputs(x=("float32", None, 2)), inputs(x=("float32", 2, 2))
    a, b, c = (open_dataset(str(tmp_path / f"{n}.npz"), one).fingerprint for n in "abc")
    assert a == b != c
    assert a != open_dataset(str(tmp_path / "a.npz"), two).fingerprint
    whole = open_dataset(str(tmp_path / "a.npz"), one)
    assert whole.take([0, 1]).fingerprint not in {a, whole.take([1, 0]).fingerprint}


def test_a_file_that_changes_is_noticed(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(4, 2))
    dataset = open_dataset(str(tmp_path / "a.npz"), inputs(x=("float32", None, 2)))
    np.savez(tmp_path / "a.npz", x=ramp(4, 2) + 1)
    with pytest.raises(DataError, match="changed while it was in use"):
        list(dataset)


def test_limit_is_a_choice_by_seed(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(50, 2))
    signature = inputs(x=("float32", None, 2))
    path = str(tmp_path / "a.npz")
    chosen = [
        open_dataset(path, signature, DataOptions(limit=5, seed=seed)).items for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert list(chosen[0]) == sorted(chosen[0], key=int)
    assert len(open_dataset(path, signature, DataOptions(limit=500))) == 50


def test_unknown_batch_axis(tmp_path: Path, inputs: Inputs) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(4, 2))
    signature = inputs(x=("float32", None, 2))
    with pytest.raises(UsageError, match="unknown input 'y'; wanted one of x"):
        open_dataset(str(tmp_path / "a.npz"), signature, DataOptions(batch_axes={"y": 1}))
    with pytest.raises(DataError, match="x has no axis 2"):
        open_dataset(str(tmp_path / "a.npz"), signature, DataOptions(batch_axes={"x": 2}))


@pytest.mark.parametrize("save", SAVERS)
def test_memory_does_not_grow_with_the_samples(
    tmp_path: Path, inputs: Inputs, save: Callable[..., None]
) -> None:
    save(tmp_path / "a.npz", x=np.zeros((400, 100, 100), np.float32))
    dataset = open_dataset(str(tmp_path / "a.npz"), inputs(x=("float32", None, 100, 100)))
    tracemalloc.start()
    for _ in dataset:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # the array is 16 MB


def test_folder_keeps_ragged_shapes(tmp_path: Path, inputs: Inputs) -> None:
    for index, width in enumerate((5, 9, 7)):
        np.savez(tmp_path / f"{index}.npz", x=ramp(1, width), labels=np.array("t" * index))
    dataset = open_dataset(str(tmp_path), inputs(x=("float32", None, None)))
    assert [s.feeds["x"].shape[1] for s in dataset.take([2, 0, 1])] == [7, 5, 9]
    assert [s.label for s in dataset] == ["", "t", "tt"]
    assert list(dataset.items) == ["0.npz", "1.npz", "2.npz"]
    before = dataset.fingerprint
    np.savez(tmp_path / "3.npz", x=ramp(1, 1))
    assert open_dataset(str(tmp_path), inputs(x=("float32", None, None))).fingerprint != before


def test_folder_errors_name_the_file(tmp_path: Path, inputs: Inputs) -> None:
    with pytest.raises(DataError, match="holds no data; wanted one kind"):
        open_dataset(str(tmp_path), inputs(x=("float32", None)))
    np.savez(tmp_path / "a.npz", x=ramp(3))
    np.savez(tmp_path / "b.npz", x=ramp(3, 1))
    with pytest.raises(DataError, match=r"b\.npz: x has 2 axes"):
        list(open_dataset(str(tmp_path), inputs(x=("float32", 3))))
