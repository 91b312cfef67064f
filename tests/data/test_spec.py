from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxopt.data import DataOptions, Sample, in_memory, open_dataset
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature

Inputs = Callable[..., Signature]


def test_other_specs_are_a_usage_error_that_lists_what_works(
    tmp_path: Path, inputs: Inputs
) -> None:
    (tmp_path / "table.ods").write_text("a,b")
    for spec in (str(tmp_path / "table.ods"), "nonsense"):
        with pytest.raises(UsageError, match=r"wanted file\.npz, table"):
            open_dataset(spec, inputs(x=("float32", 1)))
    with pytest.raises(UsageError, match="limit of 0"):
        open_dataset("random", inputs(x=("float32", 1)), DataOptions(limit=0))


@pytest.mark.parametrize("spec", ["missing.npz", "missing.tar.gz"])
def test_missing_files(spec: str, inputs: Inputs) -> None:
    with pytest.raises(DataError, match=f"no file {spec}"):
        open_dataset(spec, inputs(x=("float32", 1)))


def test_in_memory() -> None:
    dataset = in_memory([{"x": np.zeros(2)}, Sample({"x": np.ones(2)}, 1, "b")])
    assert list(dataset.items) == ["0", "b"]
    again = in_memory([{"x": np.zeros(2)}, Sample({"x": np.ones(2)}, 1, "b")])
    assert dataset.fingerprint == again.fingerprint
    assert dataset.fingerprint != in_memory([{"x": np.zeros(2)}]).fingerprint
    with pytest.raises(DataError, match="sample 2 does not exist, there are 2"):
        dataset.take([2])
    with pytest.raises(DataError, match="sample -1"):
        dataset.take([-1])


def test_fingerprints_tell_values_types_and_labels_apart() -> None:
    variants = [
        Sample({"x": np.zeros(2, np.float32)}, None, "a"),
        Sample({"x": np.zeros(2, np.int32)}, None, "a"),
        Sample({"x": np.zeros((2, 1), np.float32)}, None, "a"),
        Sample({"x": np.zeros(2, np.float32)}, 0, "a"),
        Sample({"x": np.zeros(2, np.float32)}, None, "b"),
        Sample({"x": [np.zeros(1), np.zeros(1)]}, None, "a"),
        Sample({"x": np.array(["a", "b"], dtype=object)}, None, "a"),
        Sample({"x": {"k": np.zeros(2)}}, None, "a"),
    ]
    assert len({in_memory([sample]).fingerprint for sample in variants}) == len(variants)
