from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxopt.data import DataOptions, open_dataset
from onnxopt.errors import DataError
from onnxopt.signature import Signature

Inputs = Callable[..., Signature]

SOURCE = """
import numpy as np
from onnxopt.data import Sample

calls = 0

def feeds():
    for i in range(6):
        yield {"x": np.full((1, 2), i, np.float32)}

def pairs():
    return [({"x": np.zeros((1, 2), np.float32)}, "a"), ({"x": np.ones((1, 2), np.float32)}, "b")]

def samples():
    for i in range(4):
        yield Sample({"x": np.zeros((1, 2), np.float32)}, i, f"recording{i // 2}")

def wrong():
    yield {"x": np.zeros((1, 2), np.float32)}
    yield {"x": np.zeros((1, 3), np.float32)}

def one_buffer():
    x = np.zeros((1, 2), np.float32)
    for i in range(3):
        x[:] = i
        yield {"x": x}

def odd():
    yield 5

def broken():
    yield {"x": np.zeros((1, 2), np.float32)}
    raise RuntimeError("disk on fire")

def shrinking():
    global calls
    calls += 1
    for i in range(4 - calls):
        yield {"x": np.zeros((1, 2), np.float32)}

number = 3
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(SOURCE)
    return str(tmp_path / "mine.py")


@pytest.fixture
def signature(inputs: Inputs) -> Signature:
    return inputs(x=("float32", None, 2))


def test_feeds_pairs_and_samples(module: str, signature: Signature) -> None:
    feeds = open_dataset(f"{module}:feeds", signature)
    assert len(feeds) == 6
    assert [float(s.feeds["x"][0, 0]) for s in feeds] == [0, 1, 2, 3, 4, 5]
    assert [s.label for s in open_dataset(f"{module}:pairs", signature)] == ["a", "b"]
    items = open_dataset(f"{module}:samples", signature).items
    assert list(items) == ["recording0", "recording0", "recording1", "recording1"]


def test_samples_outlive_a_buffer_that_is_filled_anew(module: str, signature: Signature) -> None:
    kept = list(open_dataset(f"{module}:one_buffer", signature))
    assert [float(sample.feeds["x"][0, 0]) for sample in kept] == [0.0, 1.0, 2.0]


def test_take_limit_and_fingerprint(module: str, signature: Signature) -> None:
    dataset = open_dataset(f"{module}:feeds", signature)
    taken = dataset.take([4, 1, 4, 2])
    assert [float(s.feeds["x"][0, 0]) for s in taken] == [4, 1, 4, 2]
    assert len(open_dataset(f"{module}:feeds", signature, DataOptions(limit=3))) == 3
    again = open_dataset(f"{module}:feeds", signature)
    assert dataset.fingerprint == again.fingerprint
    assert dataset.fingerprint != open_dataset(f"{module}:pairs", signature).fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", r"wrong\[1\]: x is 1x3, axis 1 has size 3; wanted 2"),
        ("odd", r"odd\[0\] is a int; wanted a dict of feeds"),
        ("broken", "broken raised RuntimeError: disk on fire"),
        ("number", "is no function"),
        ("missing", "has no 'missing'"),
    ],
)
def test_errors(module: str, signature: Signature, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(open_dataset(f"{module}:{name}", signature))


def test_a_function_that_yields_less_the_next_time(module: str, signature: Signature) -> None:
    dataset = open_dataset(f"{module}:shrinking", signature)
    with pytest.raises(DataError, match="fewer samples than before"):
        list(dataset.take([2]))


def test_modules(tmp_path: Path, signature: Signature, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "importable_samples.py").write_text(SOURCE)
    (tmp_path / "explodes.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(open_dataset("importable_samples:feeds", signature)) == 6
    with pytest.raises(DataError, match=r"cannot import no_such_module.*file\.py:function"):
        open_dataset("no_such_module:feeds", signature)
    with pytest.raises(DataError, match="cannot import explodes"):
        open_dataset("explodes:feeds", signature)
    with pytest.raises(DataError, match="ZeroDivisionError"):
        open_dataset(f"{tmp_path / 'explodes.py'}:feeds", signature)


def test_inputs_that_are_no_tensors_pass(tmp_path: Path) -> None:
    from onnxopt.signature import TensorSpec

    source = "import numpy as np\ndef f():\n    yield {'s': [np.zeros(2), np.ones(3)]}\n"
    (tmp_path / "seq.py").write_text(source)
    signature = Signature((TensorSpec("s", "", None),), ())
    (sample,) = open_dataset(f"{tmp_path / 'seq.py'}:f", signature)
    np.testing.assert_array_equal(sample.feeds["s"][1], np.ones(3))
