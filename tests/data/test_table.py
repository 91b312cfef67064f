from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxopt.data import DataOptions, SourceDataset, open_dataset
from onnxopt.errors import DataError
from onnxopt.signature import Signature, TensorSpec

Inputs = Callable[..., Signature]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., SourceDataset]:
    def make(text: str, signature: Signature, **options: object) -> SourceDataset:
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode())
        return open_dataset(str(path), signature, DataOptions(**options))  # type: ignore[arg-type]

    return make


def test_one_input_takes_all_features(opened: Callable[..., SourceDataset], inputs: Inputs) -> None:
    signature = inputs(x=("float32", None, 3))
    dataset = opened("\ufeffa,b,label,c\r\n1,2,7,3.5\r\n\r\n4,,9,6e1\r\n", signature)
    for _ in range(2):
        found = list(dataset)
        assert [s.label for s in found] == [7, 9]
        np.testing.assert_array_equal(found[0].feeds["x"], np.float32([[1, 2, 3.5]]))
        np.testing.assert_array_equal(found[1].feeds["x"], np.float32([[4, np.nan, 60]]))
    assert found[0].feeds["x"].dtype == np.float32
    assert [s.label for s in dataset.take([1, 0, 1])] == [9, 7, 9]
    assert dataset.notes == ()


def test_inputs_take_their_columns(opened: Callable[..., SourceDataset], inputs: Inputs) -> None:
    signature = inputs(
        age=("int64", None, 1), name=("string", None, 1), fare=("float32", "N"), ok=("bool",)
    )
    text = 'fare,name,labels,age,ok,other\n7.25,"Braund, ""Mr""\n",x,22,true,1\n8,,y,38,0,2\n'
    first, second = opened(text, signature)
    assert first.feeds["age"].tolist() == [[22]]
    assert first.feeds["name"].tolist() == [['Braund, "Mr"\n']]
    assert first.feeds["name"].dtype.kind == "U"
    assert first.feeds["fare"].tolist() == [7.25]
    assert first.feeds["ok"].shape == () and bool(first.feeds["ok"])
    assert not second.feeds["ok"]
    assert (first.label, second.label) == ("x", "y")
    assert "ignored: other" in opened(text, signature).notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,label\n1,2,1\n1,2,NaN\n", r"table\.csv, line 3: the label is NaN"),
        ("a,b,label\n1,2,\n", "line 2: the label is empty"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells; wanted 2"),
        ("a,b\n1,x\n", r"line 2: column 'b' is 'x'; wanted float32 as in x"),
        ("a,b,c\n1,2,3\n", "x is 1x3, axis 1 has size 3; wanted 2"),
        ("a,a\n1,2\n", "two columns 'a'"),
        ("a,b\n", "holds no rows"),
        ("", "is empty"),
        ('a,b\n"1,2\n', "cannot be read as CSV"),
    ],
)
def test_bad_tables(
    opened: Callable[..., SourceDataset], inputs: Inputs, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(opened(text, inputs(x=("float32", None, 2))))
    assert "\n" not in str(caught.value)


def test_values_that_do_not_fit(opened: Callable[..., SourceDataset], inputs: Inputs) -> None:
    for value, dtype in (("1.5", "int64"), ("", "int32"), ("300", "uint8"), ("maybe", "bool")):
        with pytest.raises(DataError, match="line 2"):
            list(opened(f"x,y\n{value},1\n", inputs(x=(dtype, None))))


def test_columns_that_are_missing(
    opened: Callable[..., SourceDataset], inputs: Inputs, tmp_path: Path
) -> None:
    two = inputs(x=("float32", None), y=("float32", None))
    with pytest.raises(DataError, match=r"no column for input y; wanted .*it has x, z"):
        opened("x,z\n1,2\n", two)
    with pytest.raises(DataError, match="no column 'target'; it has x, y"):
        opened("x,y\n1,2\n", two, labels="target")
    with pytest.raises(DataError, match="takes no rows of a table"):
        opened("x\n1\n", Signature((TensorSpec("x", "float32", None),), ()))
    with pytest.raises(DataError, match="3 columns for x"):
        opened("a,b,c\n1,2,3\n", inputs(x=("float32", None)))
    with pytest.raises(DataError, match="no file"):
        open_dataset(str(tmp_path / "other.csv"), two)


def test_items_and_batches(opened: Callable[..., SourceDataset], inputs: Inputs) -> None:
    text = "who,f,target\nann,1,3\nann,2,4\nbob,3,5\n"
    options = {"labels": "target", "items": "who"}
    dataset = opened(text, inputs(x=("float32", None, 1)), **options)
    assert list(dataset.items) == ["ann", "ann", "bob"]
    (first, second) = opened(text, inputs(x=("float32", None, 1)), batch=2, **options)
    assert first.feeds["x"].tolist() == [[1], [2]]
    assert second.feeds["x"].tolist() == [[3]]
    (fixed,) = opened(text, inputs(x=("float32", 2, 1)), **options)
    assert np.asarray(fixed.label).tolist() == [3, 4]


def test_an_input_called_label_is_an_input(
    opened: Callable[..., SourceDataset], inputs: Inputs
) -> None:
    (sample,) = opened("label\n3\n", inputs(label=("int64", None)))
    assert sample.label is None
    assert sample.feeds["label"].tolist() == [3]


def test_fingerprints(opened: Callable[..., SourceDataset], inputs: Inputs) -> None:
    signature = inputs(x=("float32", None, 1))
    prints = [
        opened(*arguments).fingerprint
        for arguments in (
            ("f,label\n1,2\n", signature),
            ("f,label\n1,3\n", signature),
            ("f,label\n1,2\n", inputs(x=("float64", None, 1))),
        )
    ]
    assert len(set(prints)) == 3
    assert opened("f,label\n1,2\n", signature).fingerprint == prints[0]


def test_memory(opened: Callable[..., SourceDataset], inputs: Inputs) -> None:
    text = "a,b,label\n" + f"{1:0<400}.5,2,3\n" * 3000
    dataset = opened(text, inputs(x=("float32", None, 2)))
    tracemalloc.start()
    for _ in dataset:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300_000  # the file is 1.2 MB
