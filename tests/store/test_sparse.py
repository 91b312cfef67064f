"""Weights that files hold as sparse initializers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as onh
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.errors import ModelError
from onnxopt.graph import rewrite_constant
from onnxopt.runtime import SessionConfig, open_session


def weights(share: float = 0.9, dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(0)
    array = rng.standard_normal((64, 48))
    array[rng.random(array.shape) < share] = 0
    return (array * 50).astype(dtype) if dtype == "int8" else array.astype(dtype)


def product(array: np.ndarray, *, sparse: bool = True) -> ir.Model:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[2,{array.shape[0]}] x) => (float[2,{array.shape[1]}] y) {{
    c = Cast<to = 1>(w)  y = MatMul(x, c) }}""".replace("g (", "g (int8[1] w, ")
    model = store.from_text(text)
    value = model.graph.inputs[0]
    model.graph.inputs.remove(value)
    tensor: Any = ir.tensor(array, name="w")
    value.const_value = store.stored_sparsely(tensor) if sparse else tensor
    value.shape, value.type = ir.Shape(array.shape), ir.TensorType(tensor.dtype)
    model.graph.register_initializer(value)
    return model


def held(model: ir.Model) -> np.ndarray:
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    return np.asarray(tensor.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int8"])
def test_what_is_saved_is_read_back_by_us_and_by_the_runtime(dtype: str, tmp_path: Path) -> None:
    array = weights(0.98, dtype)
    array[0, :2] = 1
    model, dense = product(array), product(array, sparse=False)
    small, large = (
        store.save(one, tmp_path / name).size_bytes
        for one, name in ((model, "s.onnx"), (dense, "d.onnx"))
    )
    expected = store.saved_bytes(dense.graph.initializers["w"].const_value)  # type: ignore[arg-type]
    assert 0 < expected <= large - small < expected + 100
    proto = onnx.load(tmp_path / "s.onnx")
    onnx.checker.check_model(proto)
    assert not proto.graph.initializer and len(proto.graph.sparse_initializer) == 1
    again = store.load(tmp_path / "s.onnx")
    np.testing.assert_array_equal(held(again), array)
    assert store.same_graph(again, dense) is None
    assert store.content_hash(again) == store.content_hash(dense)
    assert store.serialize(again) == (tmp_path / "s.onnx").read_bytes()
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)}
    results = []
    for path in ("s.onnx", "d.onnx"):
        with open_session(tmp_path / path, SessionConfig(threads=1)) as session:
            results.append(session.run(feeds)["y"])
    np.testing.assert_array_equal(*results)


def test_a_weight_that_is_not_smaller_so_stays_dense() -> None:
    model = product(weights(0.6))
    proto = onnx.load_from_string(store.serialize(model))
    assert len(proto.graph.initializer) == 1 and not proto.graph.sparse_initializer


def test_minus_zero_is_a_number_of_its_own() -> None:
    array = np.zeros((64, 48), np.float32)
    array[3, 4] = -0.0
    again = store.load(store.serialize(product(array)))
    assert np.signbit(held(again)).sum() == 1


def test_another_tensor_in_its_place_is_dense_again() -> None:
    model = product(weights())
    rewrite_constant(model.graph.initializers["w"], weights() * 2)
    proto = onnx.load_from_string(store.serialize(model))
    assert len(proto.graph.initializer) == 1 and not proto.graph.sparse_initializer


def test_a_marked_tensor_elsewhere_than_in_an_initializer_is_dense() -> None:
    model = product(weights())
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    node = ir.Node("", "Constant", [], {"value": ir.AttrTensor("value", tensor)}, num_outputs=1)
    node.outputs[0].name = "extra"
    model.graph.insert_before(model.graph[0], node)
    again = store.load(store.serialize(model))
    np.testing.assert_array_equal(again.graph[0].attributes["value"].as_tensor().numpy(), weights())
    np.testing.assert_array_equal(held(again), weights())


def test_next_to_external_data(tmp_path: Path) -> None:
    model = product(weights())
    other = ir.Value(name="big", const_value=ir.tensor(weights(0), name="big"))
    model.graph.register_initializer(other)
    saved = store.save(model, tmp_path / "m.onnx", external_threshold_bytes=0)
    assert saved.data_path is not None
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    assert [one.values.name for one in proto.graph.sparse_initializer] == ["w"]
    np.testing.assert_array_equal(held(store.load(tmp_path / "m.onnx")), weights())


def test_text_shows_the_whole_weight() -> None:
    assert "float[2,2] w =  {0,0,0,1}" in store.to_text(
        product(np.array([[0, 0], [0, 1]], np.float32))
    )


def foreign(**changes: Any) -> onnx.ModelProto:
    """A model of another tool, with some part of its sparse initializer replaced."""
    parts: dict[str, Any] = {
        "values": onh.from_array(np.array([3, 4], np.float32), "w"),
        "indices": onh.from_array(np.array([1, 5], np.int64), ""),
        "dims": [2, 3],
        **changes,
    }
    sparse = onnx.SparseTensorProto(dims=parts["dims"])
    sparse.values.CopyFrom(parts["values"])
    sparse.indices.CopyFrom(parts["indices"])
    x, y = (oh.make_tensor_value_info(n, 1, [2, d]) for n, d in (("x", 2), ("y", 3)))
    graph = oh.make_graph([oh.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y])
    graph.sparse_initializer.append(sparse)
    return oh.make_model(graph, ir_version=8, opset_imports=[oh.make_opsetid("", 17)])


@pytest.mark.parametrize(
    "indices", [np.array([1, 5]), np.array([[0, 1], [1, 2]]), np.array([1, 5], np.int32)]
)
def test_what_other_tools_write(indices: np.ndarray) -> None:
    model = store.load(foreign(indices=onh.from_array(indices, "")))
    np.testing.assert_array_equal(held(model), [[0, 3, 0], [0, 0, 4]])


def _far(proto: onnx.TensorProto) -> onnx.TensorProto:
    proto.data_location = onnx.TensorProto.EXTERNAL
    proto.external_data.add(key="location", value="/etc/hostname")
    proto.ClearField("raw_data")
    return proto


BAD: dict[str, Callable[[], dict[str, Any]]] = {
    "2 values and 1 places": lambda: {"indices": onh.from_array(np.array([1]), "")},
    "inside": lambda: {"indices": onh.from_array(np.array([1, 6]), "")},
    "wanted as many": lambda: {"indices": onh.from_array(np.array([-1, 2]), "")},
    "a place outside": lambda: {"indices": onh.from_array(np.array([[0, 1], [1, 3]]), "")},
    "for 2 axes": lambda: {"indices": onh.from_array(np.array([[0], [1]]), "")},
    "places of type float64": lambda: {"indices": onh.from_array(np.array([1.0, 2.0]), "")},
    "no negative size": lambda: {"dims": [-2, 3]},
    "times as many": lambda: {"dims": [1 << 20, 1 << 20]},
    "external data": lambda: {
        "values": _far(onh.from_array(np.array([3, 4], np.float32), "w")),
    },
    "element type": lambda: {"values": oh.make_tensor("w", onnx.TensorProto.STRING, [1], ["a"])},
    "has no name": lambda: {"values": onh.from_array(np.array([3, 4], np.float32), "")},
}


@pytest.mark.parametrize("message", BAD)
def test_malformed_ones_are_refused_in_one_line(message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        store.load(foreign(**BAD[message]()))
    assert "\n" not in str(caught.value)
