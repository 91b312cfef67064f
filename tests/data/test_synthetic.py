from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxopt.data import (
    DataOptions,
    SizesSeen,
    candidate_inputs,
    in_sizes_of,
    open_dataset,
    size_plans,
    synthesize,
)
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature, TensorSpec

Inputs = Callable[..., Signature]


def test_two_sizes_for_each_open_dimension(inputs: Inputs) -> None:
    signature = inputs(ids=("int64", "N", "T"), mask=("int64", "N", "T"), x=("float32", "N", 3))
    shapes = [tuple(s.feeds[n].shape for n in ("ids", "mask", "x")) for s in synthesize(signature)]
    assert shapes[0] == ((1, 16), (1, 16), (1, 3))
    assert shapes[1] == ((2, 24), (2, 24), (2, 3))
    assert shapes[2:] == shapes[:2]


def test_images(inputs: Inputs) -> None:
    first, second = synthesize(inputs(x=("float32", None, 3, None, None)), samples=2)
    assert first.feeds["x"].shape == (1, 3, 64, 64)
    assert second.feeds["x"].shape == (2, 3, 96, 96)
    (last,) = synthesize(inputs(x=("uint8", 1, None, None, 3)), samples=1)
    assert last.feeds["x"].shape == (1, 64, 64, 3)
    assert last.feeds["x"].max() > 1


def test_values(inputs: Inputs) -> None:
    signature = inputs(
        f=("float16", 100),
        b=("bfloat16", 100),
        i=("int64", 100),
        t=("bool", 100),
        s=("string", 9),
        q=("int4", 100),
        big=("int32", 100),
    )
    (sample,) = synthesize(signature, samples=1, ranges={"big": (5, 9)})
    feeds = sample.feeds
    assert {name: value.dtype.name for name, value in feeds.items() if name != "s"} == {
        "f": "float16",
        "b": "bfloat16",
        "i": "int64",
        "t": "bool",
        "q": "int4",
        "big": "int32",
    }
    assert feeds["f"].min() < 0 < feeds["f"].max()
    assert set(feeds["i"].tolist()) == {0, 1}
    assert set(feeds["t"].tolist()) == {False, True}
    assert set(feeds["q"].astype(int).tolist()) == {0, 1}
    assert set(feeds["big"].tolist()) == {5, 6, 7, 8}
    assert feeds["s"].dtype.kind == "U"


def test_a_sample_depends_on_seed_and_position_alone(inputs: Inputs) -> None:
    signature = inputs(x=("float32", 3))
    many, few = synthesize(signature, samples=9), synthesize(signature, samples=5)
    third = next(iter(few.take([3]))).feeds["x"]
    np.testing.assert_array_equal(third, next(iter(many.take([3]))).feeds["x"])
    other = next(iter(synthesize(signature, seed=1))).feeds["x"]
    assert not np.array_equal(other, next(iter(many)).feeds["x"])
    assert many.fingerprint == synthesize(signature, samples=9).fingerprint != few.fingerprint


def test_dims(inputs: Inputs) -> None:
    signature = inputs(x=("float32", "N", None), y=("float32", "N"))
    for sample in synthesize(signature, dims={"N": 7, "x:1": 5}):
        assert sample.feeds["x"].shape == (7, 5)
        assert sample.feeds["y"].shape == (7,)
    assert size_plans(signature, {"y:0": 3, "x:1": 2}) == ({"N": 3, "x:1": 2},)
    with pytest.raises(UsageError, match=r"dimension 'M' is not open.*wanted one of N, x:1"):
        synthesize(signature, dims={"M": 1})
    with pytest.raises(UsageError, match="N=0"):
        synthesize(signature, dims={"N": 0})


def test_what_cannot_be_made_up() -> None:
    for spec in (TensorSpec("x", "float32", None), TensorSpec("x", "", (1,))):
        with pytest.raises(DataError, match="cannot be made up; give samples with --data"):
            list(synthesize(Signature((spec,), ())))


def test_random_spec_says_so(inputs: Inputs) -> None:
    dataset = open_dataset(
        "random", inputs(x=("float32", "N")), DataOptions(limit=3, dims={"N": 2})
    )
    assert dataset.is_random
    assert len(dataset) == 3
    assert "random" in dataset.notes[0]


def test_sizes_of_accepted_candidates(inputs: Inputs) -> None:
    candidates = candidate_inputs(inputs(x=("float32", "N", 3, "H", "W")))
    taken = [n for n, sample in enumerate(candidates) if sample.feeds["x"].shape[2] >= 224]
    shapes = [sample.feeds["x"].shape for sample in in_sizes_of(candidates, taken[:2], 3)]
    assert shapes == [(1, 3, 224, 224), (1, 3, 320, 320), (1, 3, 224, 224)]


def test_fallbacks_are_of_moderate_size_and_what_is_asked_for_stays(inputs: Inputs) -> None:
    signature = inputs(x=("float32", "N", 3, 960, 960))
    batches = [sample.feeds["x"].shape[0] for sample in candidate_inputs(signature)]
    assert batches == [1, 2]
    asked = candidate_inputs(signature, dims={"N": (1, 2, 7)})
    assert [sample.feeds["x"].shape[0] for sample in asked] == [1, 2, 7]


def test_roles(inputs: Inputs) -> None:
    signature = inputs(
        x=("float32", "?", "?"), state=("float32", 2, "?", 128), y=("float32", 1, None, 80)
    )
    first, second = size_plans(signature, {})[:2]
    assert first == {"x:0": 1, "x:1": 16, "state:1": 1, "y:1": 16}
    assert second == {"x:0": 2, "x:1": 24, "state:1": 2, "y:1": 24}


def test_plans_are_few_and_differ(inputs: Inputs) -> None:
    plans = size_plans(inputs(x=("float32", "A", "B", "C", "D"), y=("float32", "E", "F", "G")), {})
    assert len(plans) <= 24
    assert all(plan != other for at, plan in enumerate(plans) for other in plans[:at])
    assert size_plans(inputs(x=("float32", 3)), {}) == ({},)


def test_which_sizes_are_news() -> None:
    seen = SizesSeen()
    for shape in ((1, 4), (1, 4)):  # the first two samples always are
        assert seen.would_gain({"x": np.zeros(shape)})
        seen.add({"x": np.zeros(shape)})
    assert not seen.would_gain({"x": np.zeros((1, 4))})
    assert seen.would_gain({"x": np.zeros((1, 5))})
    seen.add({"x": np.zeros((1, 5))})
    assert not seen.would_gain({"x": np.zeros((1, 6))})  # two sizes are enough
    assert seen.would_gain({"x": np.zeros((2, 6))})


def test_candidates_cover_every_plan(inputs: Inputs) -> None:
    signature = inputs(x=("float32", "N", "T"))
    assert len(candidate_inputs(signature)) == len(size_plans(signature, {}))
    assert len(candidate_inputs(inputs(x=("float32", 4)))) == 2
    assert len(candidate_inputs(Signature((), ()))) == 2
