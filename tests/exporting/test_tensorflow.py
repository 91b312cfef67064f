"""Keras models, TensorFlow saved models and TFLite files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cli
import pytest

from onnxopt import store
from onnxopt.errors import MismatchError, ModelError
from onnxopt.exporting import ExportOptions, export_model
from onnxopt.graph import all_nodes
from onnxopt.signature import signature_of

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytest.importorskip("tf2onnx")
pytestmark = pytest.mark.tensorflow

FACTORY = """
import keras

def small():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, activation="relu")(image)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Dense(5, name="scores")(x))

def two():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    both = keras.layers.Concatenate()([a, b])
    outputs = {"sum": keras.layers.Add()([a, b]), "mixed": keras.layers.Dense(2)(both)}
    return keras.Model([a, b], outputs)
"""


MASKED = """
import keras

def {name}():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(50, 12, mask_zero=True)(ids)
    x = layers.Bidirectional(layers.{layer}(8, return_sequences=True))(x)
    return keras.Model(ids, layers.Dense(5, name="scores")(layers.{layer}(8)(x)))
"""


def made(name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(FACTORY, namespace)
    return namespace[name]()


def test_a_keras_model_by_factory_and_by_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(FACTORY)
    made("small").save(tmp_path / "small.keras")
    for source in (f"{tmp_path}/nets.py:small", tmp_path / "small.keras"):
        out = tmp_path / "small.onnx"
        done = cli.run(capsys, "export", source, "-o", out, "--force", "--json")
        assert done.code == 0, done.err
        signature = signature_of(store.load(out))
        assert [str(spec) for spec in signature.inputs] == ["image: float32[N,8,8,3]"]
        assert [str(spec) for spec in signature.outputs] == ["scores: float32[N,5]"]
        assert done.json["check"]["runs"] == 3
    assert done.json["exporter"].startswith("tf2onnx")
    faster = cli.run(capsys, "optimize", out, "-o", tmp_path / "fast.onnx")
    assert faster.code == 0, faster.err


@pytest.mark.parametrize("layer", ["GRU", "LSTM", "SimpleRNN"])
def test_masked_recurrent_layers_become_operators(
    layer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(MASKED.format(name="net", layer=layer))
    out, fast = tmp_path / "net.onnx", tmp_path / "fast.onnx"
    assert cli.run(capsys, "export", f"{tmp_path}/nets.py:net", "-o", out).code == 0
    done = cli.run(capsys, "optimize", out, "-o", fast)
    assert done.code == 0, done.err
    ops = Counter(node.op_type for node in all_nodes(store.load(fast)))
    assert (ops[layer.removeprefix("Simple")], ops["Loop"]) == (3, 0)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(FACTORY)
    found = export_model(f"{tmp_path}/nets.py:two")
    assert [str(spec) for spec in found.inputs] == ["a: float32[N,4]", "b: float32[N,4]"]
    assert {str(spec) for spec in found.outputs} == {"sum: float32[N,4]", "mixed: float32[N,2]"}


def test_saved_models(tmp_path: Path) -> None:
    class Scale(tf.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="rows")])
        def __call__(self, rows: Any) -> Any:
            return {"scaled": rows @ self.w, "total": tf.reduce_sum(rows, 1)}

    module = Scale()
    tf.saved_model.save(module, str(tmp_path / "scale"), signatures=module.__call__)
    found = export_model(tmp_path / "scale")
    assert [str(spec) for spec in found.inputs] == ["rows: float32[N,3]"]
    assert [str(spec) for spec in found.outputs] == ["scaled: float32[N,2]", "total: float32[N]"]
    assert found.source == "scale"
    tf.saved_model.save(tf.Module(), str(tmp_path / "bare"))
    with pytest.raises(ModelError, match=r"has the signatures \(none\); wanted serving_default"):
        export_model(tmp_path / "bare")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    layer = keras.layers.Lambda(lambda x: x + 1)
    keras.Sequential([keras.Input((2,)), layer]).save(tmp_path / "code.keras")
    with pytest.raises(ModelError, match=r"code.keras cannot be loaded.*Lambda"):
        export_model(tmp_path / "code.keras")
    (tmp_path / "no.tflite").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"no.tflite cannot be loaded"):
        export_model(tmp_path / "no.tflite")


@pytest.mark.real
@pytest.mark.slow
def test_tflite_files_of_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from onnxopt_models.fetch import fetch_all

    landmarks, detector = fetch_all("tflite-face")
    out = tmp_path / "landmarks.onnx"
    words = ["export", landmarks, "-o", out, "--dynamic", "input_1=0:N", "--json"]
    done = cli.run(capsys, *words)
    assert done.code == 0, done.err
    assert done.json["inputs"][0]["shape"] == ["N", 192, 192, 3]
    assert done.json["outputs"][0]["shape"] == ["N", 1, 1, 1404]
    assert {shape.split()[-1] for shape in done.json["check"]["shapes"]} == {
        "1x192x192x3",
        "2x192x192x3",
    }
    faster = cli.run(capsys, "optimize", out, "-o", tmp_path / "fast.onnx")
    assert faster.code == 0, faster.err
    fixed = export_model(detector)
    assert [spec.name for spec in fixed.outputs] == ["regressors", "classificators"]
    # its own Reshape folds a second picture into the first: no batch to be had
    with pytest.raises(MismatchError, match=r"shape \[2, 896, 16\] instead of \[1, 1792, 16\]"):
        export_model(detector, ExportOptions(dynamic=("input=0:N",)))
