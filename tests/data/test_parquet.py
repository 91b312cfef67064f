from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxopt.data import DataOptions, open_dataset
from onnxopt.errors import BackendMissingError, DataError
from onnxopt.signature import Signature

Inputs = Callable[..., Signature]


def write(path: Path, **columns: object) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path)
    return str(path)


def test_rows(tmp_path: Path, inputs: Inputs) -> None:
    third = np.float32(1 / 3)
    spec = write(
        tmp_path / "table.parquet",
        x=np.array([third, 2], np.float32),
        n=np.array([1, 2**40]),
        flag=[True, False],
        word=["a", "b"],
        target=[1, 2],
    )
    signature = inputs(
        x=("float32", None), n=("int64", None), flag=("bool", None), word=("string", None)
    )
    dataset = open_dataset(spec, signature, DataOptions(labels="target"))
    for _ in range(2):
        first, second = dataset
        assert first.feeds["x"][0] == third
        assert first.feeds["flag"].tolist() == [True]
        assert second.feeds["n"].tolist() == [2**40]
        assert second.feeds["word"].tolist() == ["b"]
        assert (first.label, second.label) == (1, 2)
    assert [s.label for s in dataset.take([1, 0])] == [2, 1]


def test_errors(tmp_path: Path, inputs: Inputs) -> None:
    signature = inputs(x=("float32", None, 1))
    spec = write(tmp_path / "table.parquet", x=[1.0, 2.0], label=[1.0, None])
    with pytest.raises(DataError, match=r"table\.parquet, row 1: the label is empty"):
        open_dataset(spec, signature)
    Path(spec).write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet") as caught:
        open_dataset(spec, signature)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no file"):
        open_dataset(str(tmp_path / "other.pq"), signature)


def test_without_pyarrow(tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BackendMissingError, match=r"pip install 'onnxopt\[tables\]'"):
        open_dataset(str(tmp_path / "table.parquet"), inputs(x=("float32", None, 1)))
