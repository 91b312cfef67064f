from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxopt.errors import DataError, ModelError, UsageError
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import TensorSpec

Make = Callable[..., bytes]
X = np.array([[1, -2, 3]], np.float32)


def test_runs_bytes_file_text_path_and_ir_model(relu: bytes, tmp_path: Path) -> None:
    path = tmp_path / "relu.onnx"
    path.write_bytes(relu)
    in_memory = ir.serde.deserialize_model(onnx.ModelProto.FromString(relu))
    for model in (relu, path, str(path), in_memory):
        with open_session(model) as session:
            assert session.inputs == (TensorSpec("x", "float32", ("N", 3)),)
            assert session.outputs == (TensorSpec("y", "float32", ("N", 3)),)
            np.testing.assert_array_equal(session.run({"x": X})["y"], [[1, 0, 3]])


def test_info_states_what_is_in_force(relu: bytes) -> None:
    info = open_session(relu, SessionConfig(threads=2, optimization="basic")).info
    assert (info.provider, info.device, info.threads) == ("cpu", "cpu", 2)
    assert (info.precision, info.optimization) == ("fp32", "basic")
    assert info.execution_providers == ("CPUExecutionProvider",)


def test_external_data_beside_a_file_is_found(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[4] x) => (float[4] y)'
        " <float[4] w = {1, 2, 3, 4}> { y = Add(x, w) }"
    )
    weight = np.array([1, 2, 3, 4], np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").stat().st_size
    result = open_session(path).run({"x": np.zeros(4, np.float32)})
    np.testing.assert_array_equal(result["y"], [1, 2, 3, 4])


def test_a_model_too_big_for_one_buffer_goes_through_a_folder(
    relu: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxopt import store
    from onnxopt.errors import LimitError

    def too_big(model: ir.Model) -> bytes:
        raise LimitError("over 2 GB")

    saved: list[Path] = []

    def save(model: ir.Model, path: Path) -> object:
        saved.append(path)
        path.write_bytes(relu)
        return type("Saved", (), {"path": path})()

    monkeypatch.setattr(store, "serialize", too_big)
    monkeypatch.setattr(store, "save", save)
    session = open_session(ir.serde.deserialize_model(onnx.ModelProto.FromString(relu)))
    assert saved[0].exists()
    session.close()
    assert not saved[0].parent.exists()


def test_only_the_wanted_outputs(make_model: Make) -> None:
    model = make_model("float[2] x", "float[2] a, float[2] b", "a = Relu(x)\n b = Neg(x)")
    with open_session(model) as session:
        assert list(session.run({"x": np.ones(2, np.float32)}, ["b"])) == ["b"]
        assert session.run({"x": np.ones(2, np.float32)}, []) == {}
        with pytest.raises(UsageError, match="no output 'c'"):
            session.run({"x": np.ones(2, np.float32)}, ["c"])


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        ({}, "no value for input x; wanted x: float32"),
        ({"x": X, "z": X}, "no input 'z'"),
        ({"x": X.astype(np.float64)}, "x has dtype float64"),
        ({"x": X[0]}, r"x has shape \[3\]"),
        ({"x": X[:, :2]}, r"x has shape \[1,2\]"),
        ({"x": [1.0]}, "x is a list"),
    ],
)
def test_wrong_feeds_are_data_errors_of_one_line(
    relu: bytes, feeds: dict[str, np.ndarray], reason: str
) -> None:
    with open_session(relu) as session, pytest.raises(DataError, match=reason) as caught:
        session.run(feeds)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x0a"])
def test_an_invalid_model_is_a_model_error_of_one_line(
    data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match="does not load") as caught:
        open_session(data)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert capfd.readouterr() == ("", "")


def test_an_op_without_kernel_and_a_missing_file(make_model: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"NOT_IMPLEMENTED.*Identity"):
        open_session(make_model("int4[4] x", "int4[4] y", "y = Identity(x)"))
    with pytest.raises(ModelError, match="no file"):
        open_session(tmp_path / "absent.onnx")


def test_a_failure_inside_the_model_is_one_quiet_line(
    make_model: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    model = make_model("float[N] x, int64[1] s", "float[M] y", "y = Reshape(x, s)")
    feeds = {"x": np.ones(3, np.float32), "s": np.array([5], np.int64)}
    with open_session(model) as session, pytest.raises(ModelError, match="while running") as caught:
        session.run(feeds)
    assert "\n" not in str(caught.value)
    assert "/onnxruntime_src" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_closed_session_says_so(relu: bytes) -> None:
    session = open_session(relu)
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"x": X})


def test_other_byte_orders_and_strides_are_taken_right(relu: bytes) -> None:
    with open_session(relu) as session:
        for x in (X.astype(">f4"), np.asfortranarray(np.repeat(X, 2, 0)), np.tile(X, 2)[:, ::2]):
            np.testing.assert_array_equal(session.run({"x": x})["y"], np.maximum(x, 0))


def test_strings_of_every_kind(make_model: Make) -> None:
    model = make_model("string[N] x", "string[N] y", "y = Identity(x)")
    with open_session(model) as session:
        for x in (np.array(["a", "bb"]), np.array([b"a", b"bb"]), np.array(["a", "bb"], object)):
            assert list(session.run({"x": x})["y"]) == ["a", "bb"]


def test_sequences_and_optionals_pass_through(make_model: Make) -> None:
    model = make_model(
        "seq(float[N]) q, optional(float[2]) p",
        "seq(float[N]) r, bool h",
        "r = Identity(q)\n h = OptionalHasElement(p)",
    )
    with open_session(model) as session:
        result = session.run({"q": [X[0], X[0][:1]]})  # type: ignore[dict-item]
        assert [part.shape for part in result["r"]] == [(3,), (1,)]
        assert not result["h"]


@pytest.mark.parametrize(
    ("onnx_type", "dtype"),
    [
        ("bfloat16", ml_dtypes.bfloat16),
        ("float8e4m3fn", ml_dtypes.float8_e4m3fn),
        ("float8e4m3fnuz", ml_dtypes.float8_e4m3fnuz),
        ("float8e5m2", ml_dtypes.float8_e5m2),
        ("float8e5m2fnuz", ml_dtypes.float8_e5m2fnuz),
    ],
)
def test_small_floats_in_and_out(make_model: Make, onnx_type: str, dtype: type) -> None:
    x = np.array([[1, 2, 3], [-4, 0.5, 0]], dtype)
    model = make_model(f"{onnx_type}[N,3] x", f"{onnx_type}[N,3] y", "y = Identity(x)")
    with open_session(model) as session:
        y = session.run({"x": x})["y"]
        assert y.dtype == x.dtype == np.dtype(session.inputs[0].dtype)
        assert y.tobytes() == x.tobytes()
        assert session.run({"x": x[:0]})["y"].shape == (0, 3)


@pytest.mark.parametrize(
    ("onnx_type", "dtype", "low"), [("int4", ml_dtypes.int4, -8), ("uint4", ml_dtypes.uint4, 0)]
)
def test_four_bits_in_and_out(make_model: Make, onnx_type: str, dtype: type, low: int) -> None:
    x = np.arange(low, low + 15).astype(dtype).reshape(3, 5)
    wide = make_model(f"{onnx_type}[3,5] x", "float[3,5] y", "y = Cast<to = 1>(x)")
    np.testing.assert_array_equal(open_session(wide).run({"x": x})["y"], x.astype(np.float32))
    code = onnx.TensorProto.DataType.Value(onnx_type.upper())
    narrow = make_model("float[3,5] x", f"{onnx_type}[3,5] y", f"y = Cast<to = {code}>(x)")
    y = open_session(narrow).run({"x": x.astype(np.float32)})["y"]
    assert y.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(y.astype(np.int32), x.astype(np.int32))


def test_prepare_repeats_the_same_run(relu: bytes) -> None:
    call = open_session(relu).prepare({"x": X})
    np.testing.assert_array_equal(call()[0], call()[0])


def test_an_input_with_a_default_may_be_fed(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x, float[2] w) => (float[2] y)'
        " <float[2] w = {1, 1}> { y = Add(x, w) }"
    )
    x = np.zeros(2, np.float32)
    with open_session(model.SerializeToString()) as session:
        assert [spec.name for spec in session.inputs] == ["x"]
        np.testing.assert_array_equal(session.run({"x": x})["y"], [1, 1])
        np.testing.assert_array_equal(session.run({"x": x, "w": x + 5})["y"], [5, 5])


def test_profile_and_optimized_model_are_written(relu: bytes, tmp_path: Path) -> None:
    config = SessionConfig(
        optimized_model_path=tmp_path / "o.onnx", profile_prefix=tmp_path / "profile"
    )
    with open_session(relu, config) as session:
        session.run({"x": X})
        profile = session.end_profiling()
    assert profile.parent == tmp_path
    assert json.loads(profile.read_text(encoding="utf-8"))
    assert onnx.load(tmp_path / "o.onnx").graph.node
    with open_session(relu) as session, pytest.raises(UsageError, match="does not profile"):
        session.end_profiling()


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"precision": "int8"}, {"optimization": "most"}])
def test_a_config_out_of_range_is_a_usage_error(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        SessionConfig(**wrong)  # type: ignore[arg-type]
