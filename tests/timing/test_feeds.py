from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from onnxopt.errors import DataError
from onnxopt.timing.feeds import load_feeds, save_feeds


def test_every_dtype_survives_the_way(tmp_path: Path) -> None:
    floats = np.array([[1, -2], [0.5, 0]])
    sample = {
        "../x": floats.astype(np.float32),
        "file": floats.astype(ml_dtypes.bfloat16),
        "f8": floats.astype(ml_dtypes.float8_e4m3fn),
        "i4": np.array([1, -8, 7]).astype(ml_dtypes.int4),
        "scalar": np.array(3, np.int64),
        "half": np.array(3, ml_dtypes.bfloat16),
        "flag": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float16),
    }
    text = {"t": np.array(["a", "längeres"], object), "b": np.array([b"x", b"yz"])}
    save_feeds(tmp_path / "f.npz", [sample, text])
    first, second = load_feeds(tmp_path / "f.npz")
    assert list(first) == list(sample)
    for name, value in sample.items():
        assert first[name].dtype == value.dtype
        assert first[name].shape == value.shape
        assert first[name].tobytes() == value.tobytes()
    assert second["t"].tolist() == ["a", "längeres"]
    assert second["b"].tolist() == ["x", "yz"]


def test_what_is_no_array_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="input x of sample 1 is a list; wanted a numpy array"):
        save_feeds(tmp_path / "f.npz", [{"x": np.ones(1)}, {"x": [1.0]}])  # type: ignore[dict-item]
    with pytest.raises(DataError, match="no sample"):
        save_feeds(tmp_path / "f.npz", [])
