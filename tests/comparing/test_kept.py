"""What is written down of channels that are left."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt import store
from onnxopt.comparing import kept, scaling
from onnxopt.comparing.kept import Kept
from onnxopt.comparing.layerwise import layerwise
from onnxopt.data import in_memory

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,2] x) => (float[1,1] z)'
BODY = "{ c = MatMul(x, u) r = Relu(c) z = MatMul(r, w) }"
WHOLE = f"{HEAD} <float[2,4] u = {{1,2,3,4,5,6,7,8}}, float[4,1] w = {{1,0,3,0}}> {BODY}"
PART = f"{HEAD} <float[2,2] u = {{1,3,5,7}}, float[2,1] w = {{1,3}}> {BODY}"
DATA = in_memory([{"x": np.array([[1, 2]], np.float32)}])


def left(size: int, *indices: int) -> tuple[Kept]:
    return (Kept(1, size, np.array(indices, np.int64)),)


def test_it_survives_a_file_and_adds_up() -> None:
    model = store.from_text(WHOLE)
    kept.record(model, {"c": left(9, 1, 3, 5, 7), "r": left(4, 0, 2)})
    kept.record(model, {"c": left(4, 0, 2)})
    found = kept.read(store.load(store.serialize(model)))
    (row,) = found["c"]
    assert (row.axis, row.size, row.indices.tolist()) == (1, 9, [1, 5])
    assert found["r"][0].indices.tolist() == [0, 2]


def test_more_than_one_axis() -> None:
    model = store.from_text(WHOLE)
    rows = (Kept(0, 3, np.array([1])), Kept(2, 4, np.array([0, 3])))
    kept.record(model, {"c": rows})
    array = np.arange(24).reshape(3, 2, 4)
    np.testing.assert_array_equal(kept.take(array, kept.read(model)["c"]), array[1:2][..., [0, 3]])


def test_between_counts_in_the_places_of_the_reference() -> None:
    first, second = store.from_text(WHOLE), store.from_text(PART)
    kept.record(first, {"c": left(9, 1, 3, 5, 7)})
    kept.record(second, {"c": left(9, 3, 7), "r": left(4, 2)})
    found = kept.between(first, second)
    assert found["c"][0].indices.tolist() == [1, 3]
    assert found["c"][0].size == 4
    assert found["r"][0].indices.tolist() == [2]
    assert "c" not in kept.between(second, first)
    assert not kept.between(first, first)


def test_layers_are_compared_in_what_is_left() -> None:
    whole, part = store.from_text(WHOLE), store.from_text(PART)
    assert max(row.error for row in layerwise(whole, part, DATA)) == np.inf
    kept.record(part, {"c": left(4, 0, 2), "r": left(4, 0, 2)})
    assert max(row.error for row in layerwise(whole, part, DATA)) == 0


def test_scales_of_the_reference_count_where_channels_are_left() -> None:
    whole, part = store.from_text(WHOLE), store.from_text(PART)
    kept.record(part, {"c": left(4, 0, 2), "r": left(4, 0, 2)})
    scaling.record(whole, {"c": scaling.ChannelScale(1, np.array([2.0, 3.0, 4.0, 5.0]))})
    found = scaling.between(whole, part)["c"]
    np.testing.assert_allclose(found.scale, [1 / 2, 1 / 4])


@pytest.mark.parametrize("size", [1, 7, 8, 9, 300])
def test_any_size(size: int) -> None:
    model = store.from_text(WHOLE)
    kept.record(model, {"c": (Kept(0, size, np.array([size - 1])),)})
    assert kept.read(model)["c"][0].indices.tolist() == [size - 1]
