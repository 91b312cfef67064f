"""What ONNX Runtime reads: large weights of a model in memory are handed over where they lie."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.errors import ModelError
from onnxopt.runtime import SessionConfig, open_session, opening
from onnxopt.runtime.source import Source, source_of

CPU = SessionConfig(spinning=False)
X = np.linspace(-1, 1, 256, dtype=np.float32).reshape(1, 256)
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g'


def with_weights(text: str, **weights: np.ndarray) -> ir.Model:
    """A model from text, with weights of these values."""
    model = store.from_text(f"{HEAD} {text}")
    for name, array in weights.items():
        value = model.graph.initializers[name]
        value.const_value, value.shape = ir.tensor(array, name=name), ir.Shape(array.shape)
    return model


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)


def linear(matrix: np.ndarray) -> ir.Model:
    text = "(float[1,256] x) => (float[1,256] y) <float[1] w = {0}, float[1] b = {0.5}>"
    return with_weights(text + " { h = MatMul(x, w) y = Add(h, b) }", w=matrix)


def test_only_large_weights_lie_apart(matrix: np.ndarray) -> None:
    source = source_of(linear(matrix), CPU)
    assert list(source.weights) == ["w"]
    assert isinstance(source.content, bytes)
    assert len(source.content) < 1000
    assert not source_of(linear(matrix[:8]), CPU).weights


def test_results_are_the_same_and_outlive_the_model(matrix: np.ndarray) -> None:
    whole = store.serialize(linear(matrix))
    with open_session(linear(matrix), CPU) as apart, open_session(whole, CPU) as together:
        gc.collect()  # the model is gone by now
        assert np.array_equal(apart.run({"x": X})["y"], together.run({"x": X})["y"])


def test_a_weight_that_callers_may_override_stays(matrix: np.ndarray) -> None:
    model = linear(matrix)
    model.graph.inputs.append(model.graph.initializers["w"])
    assert not source_of(model, CPU).weights
    with open_session(model, CPU) as session:
        y = session.run({"x": X, "w": np.eye(256, dtype=np.float32)})["y"]
    np.testing.assert_allclose(y, X + 0.5, rtol=1e-6)


def test_a_weight_that_a_subgraph_holds_too_stays(matrix: np.ndarray) -> None:
    text = """
        (float[1,256] x, bool c) => (float[1,256] y) <float[1] w = {0}> {
          h = MatMul(x, w)
          y = If (c) <
            then_branch = a () => (a_out) <float[1] v = {0}> { a_out = MatMul(h, v) },
            else_branch = b () => (b_out) { b_out = Identity(h) }
          >
        }
    """
    model = with_weights(text, w=matrix)
    node = next(n for n in model.graph if n.op_type == "If")
    inner = node.attributes["then_branch"].as_graph()
    inner.initializers["v"].const_value = model.graph.initializers["w"].const_value
    assert not source_of(model, CPU).weights
    with open_session(model, CPU) as session:
        y = session.run({"x": X, "c": np.array(True)})["y"]
    np.testing.assert_allclose(y, X @ matrix @ matrix, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    "config",
    [SessionConfig(provider="openvino"), SessionConfig(optimized_model_path=Path("m.onnx"))],
)
def test_elsewhere_models_come_in_one_piece(config: SessionConfig, matrix: np.ndarray) -> None:
    assert not source_of(linear(matrix), config).weights


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint8, np.int64])
def test_types_of_weights(dtype: type, make_cast: Callable[[np.ndarray], ir.Model]) -> None:
    array = (np.arange(1 << 17) % 100).reshape(256, 512).astype(dtype)
    model = make_cast(array)
    assert list(source_of(model, CPU).weights) == ["w"]
    with open_session(model, CPU) as session:
        y = session.run({"i": np.array([3, 255])})["y"]
    np.testing.assert_array_equal(y, array[[3, 255]].astype(np.float32))


@pytest.fixture
def make_cast() -> Callable[[np.ndarray], ir.Model]:
    def make(array: np.ndarray) -> ir.Model:
        word = {"f": "float16", "i": f"int{array.itemsize * 8}", "u": "uint8"}[array.dtype.kind]
        text = f"(int64[2] i) => (float[2,512] y) <{word}[1] w = {{0}}>"
        return with_weights(text + " { r = Gather(w, i) y = Cast<to=1>(r) }", w=array)

    return make


def test_a_packed_weight_stays_whole() -> None:
    codes = np.arange(1 << 18, dtype=np.int8).reshape(512, 512) % 7
    text = "(int64[2] i) => (float[2,512] y) <int8[1] w = {0}, float s = {0.5}>"
    model = store.from_text(
        f'<ir_version: 10, opset_import: ["" : 21]> g {text}'
        " { q = Identity(w) d = DequantizeLinear(q, s) y = Gather(d, i) }"
    )
    value = model.graph.initializers["w"]
    value.const_value = ir.tensor(codes, dtype=ir.DataType.INT4, name="w")
    value.type = ir.TensorType(ir.DataType.INT4)
    assert not source_of(model, CPU).weights


def test_a_weight_that_cannot_be_read_is_an_error_of_the_model(tmp_path: Path) -> None:
    model = linear(np.zeros((256, 256), np.float32))
    (tmp_path / "w.bin").write_bytes(bytes(1 << 18))
    value = model.graph.initializers["w"]
    value.const_value = ir.ExternalTensor(
        "w.bin", 0, 1 << 18, ir.DataType.FLOAT, shape=value.shape, name="w", base_dir=tmp_path
    )
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match="w"):
        source_of(model, CPU)


def test_a_weight_that_nothing_reads_is_no_obstacle(matrix: np.ndarray) -> None:
    model = linear(matrix)
    unread = ir.Value(
        name="v",
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape(matrix.shape),
        const_value=ir.tensor(matrix, name="v"),
    )
    model.graph.register_initializer(unread)
    assert list(source_of(model, CPU).weights) == ["w"]
    with open_session(model, CPU) as session:
        assert session.run({"x": X})["y"].shape == (1, 256)


def test_a_model_that_is_refused_so_is_tried_in_one_piece(
    matrix: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        opening, "source_of", lambda model, config: Source(b"no model", "m", {"w": matrix})
    )
    with open_session(linear(matrix), CPU) as session:
        assert session.run({"x": X})["y"].shape == (1, 256)
