"""Every element type, in every place a TensorProto can keep its data."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import onnx_ir as ir
import pytest

from onnxopt.errors import ModelError
from onnxopt.store import load, serialize

NUMBERS = [
    dtype for dtype in ir.DataType if dtype not in (ir.DataType.UNDEFINED, ir.DataType.STRING)
]


def raw(dtype: ir.DataType, dims: tuple[int, ...]) -> bytes:
    size = math.ceil(math.prod(dims) * dtype.bitwidth / 8)
    data = np.random.default_rng(7).integers(0, 256, size, dtype=np.uint8)
    if dtype == ir.DataType.BOOL:
        data &= 1
    if size and math.prod(dims) * dtype.bitwidth % 8:
        data[-1] = 0
    return data.tobytes()


def as_initializer(tensor: onnx.TensorProto, model_of: Any) -> onnx.ModelProto:
    model: onnx.ModelProto = model_of([oh.make_node("Relu", ["x"], ["y"])], [tensor])
    model.ir_version = onnx.IR_VERSION
    return model


@pytest.mark.parametrize(
    ("dtype", "dims"), list(itertools.product(NUMBERS, [(), (3,), (0, 2), (5, 7), (41, 101)]))
)
def test_raw_data_comes_back(dtype: ir.DataType, dims: tuple[int, ...], model_of: Any) -> None:
    data = raw(dtype, dims)
    proto = onnx.TensorProto(name="w", data_type=dtype.value, dims=dims, raw_data=data)
    model = load(as_initializer(proto, model_of))
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    assert (tensor.dtype, tuple(tensor.shape.numpy())) == (dtype, dims)
    assert tensor.tobytes() == data
    expected = ir.serde.TensorProtoTensor(proto).numpy()
    assert tensor.numpy().dtype == expected.dtype
    assert tensor.numpy().tobytes() == expected.tobytes()
    saved = onnx.ModelProto.FromString(serialize(model)).graph.initializer[0]
    assert saved == proto


@pytest.mark.parametrize("count", [3, 4096])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_typed_fields_are_read(dtype: ir.DataType, count: int, model_of: Any) -> None:
    packed = raw(dtype, (count,))
    source = onnx.TensorProto(name="w", data_type=dtype.value, dims=[count], raw_data=packed)
    if dtype.bitwidth in (2, 4):
        values: list[Any] = list(packed)
    elif dtype.name.startswith(("BFLOAT", "FLOAT8", "FLOAT6", "FLOAT16", "BOOL")):
        array = ir.serde.TensorProtoTensor(source).numpy()
        values = list(array.view(np.uint16 if dtype.bitwidth == 16 else np.uint8))
    else:
        array = ir.serde.TensorProtoTensor(source).numpy()
        parts = array.view(array.real.dtype) if array.dtype.kind == "c" else array
        values = parts.tolist()
    field = {
        **dict.fromkeys(["FLOAT", "COMPLEX64"], "float_data"),
        **dict.fromkeys(["DOUBLE", "COMPLEX128"], "double_data"),
        **dict.fromkeys(["UINT32", "UINT64"], "uint64_data"),
        "INT64": "int64_data",
    }.get(dtype.name, "int32_data")
    typed = onnx.TensorProto(name="w", data_type=dtype.value, dims=[count])
    getattr(typed, field).extend(values)
    tensor = load(as_initializer(typed, model_of)).graph.initializers["w"].const_value
    assert tensor is not None
    got, expected = np.frombuffer(tensor.tobytes(), np.uint8), np.frombuffer(packed, np.uint8)
    if dtype.name in ("FLOAT", "COMPLEX64", "DOUBLE", "COMPLEX128"):  # lists lose NaN payloads
        kind = np.float32 if dtype.name in ("FLOAT", "COMPLEX64") else np.float64
        np.testing.assert_array_equal(got.view(kind), expected.view(kind))
    else:
        np.testing.assert_array_equal(got, expected)


def test_weights_are_read_only_views(chain: Any) -> None:
    data = chain().SerializeToString()
    tensor = load(data).graph.initializers["w0"].const_value
    assert tensor is not None
    array = tensor.numpy()
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_strings(model_of: Any) -> None:
    tensor = oh.make_tensor("s", onnx.TensorProto.STRING, [2], [b"a", "\N{SNOWMAN}".encode()])
    model = load(as_initializer(tensor, model_of))
    assert onnx.ModelProto.FromString(serialize(model)).graph.initializer[0] == tensor


def test_descriptions_survive(model_of: Any) -> None:
    small = oh.make_tensor("w", 1, [1], [1.0])
    large = oh.make_tensor("v", 1, [999], bytes(3996), raw=True)
    for tensor in (small, large):
        tensor.doc_string = "doc"
        tensor.metadata_props.add(key="k", value="v")
    proto = as_initializer(small, model_of)
    proto.graph.initializer.append(large)
    once = serialize(load(proto))
    for tensor in onnx.ModelProto.FromString(serialize(load(once))).graph.initializer:
        assert tensor.doc_string == "doc"
        assert [(p.key, p.value) for p in tensor.metadata_props] == [("k", "v")]


def bad(dims: list[int], data_type: int = 1, **fields: Any) -> onnx.TensorProto:
    return onnx.TensorProto(name="w", data_type=data_type, dims=dims, **fields)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (bad([3], raw_data=bytes(8)), "has 8 bytes of data; wanted 12 for float[3]"),
        (bad([3], raw_data=bytes(16)), "has 16 bytes of data; wanted 12"),
        (bad([999], raw_data=bytes(4000)), "has 4000 bytes of data; wanted 3996"),
        (bad([-1, -3], raw_data=bytes(12)), "has shape [-1, -3]; wanted no negative size"),
        (bad([1 << 62, 1 << 62]), "has 0 values in float_data"),
        (bad([10**12]), "has 0 values in float_data; wanted 1000000000000"),
        (bad([2], float_data=[1.0, 2.0, 3.0]), "has 3 values in float_data; wanted 2"),
        (bad([2], int32_data=[1, 2]), "has 0 values in float_data"),
        (bad([3], 22, int32_data=[1]), "has 1 values in int32_data; wanted 2 for int4[3]"),
        (bad([1], 27, int32_data=[99]), "cannot be read"),
        (bad([2], 0, raw_data=bytes(8)), "has element type 0; wanted a type of numbers"),
        (bad([2], 77, raw_data=bytes(8)), "77"),
        (bad([3], 8, string_data=[b"a"]), "has 1 strings; wanted those of shape [3]"),
        (bad([-1], 8, string_data=[b"a"]), "strings; wanted those of shape [-1]"),
        (bad([2], segment={"begin": 0, "end": 8}), "is segmented"),
        (bad([500], segment={"begin": 0, "end": 8}, raw_data=bytes(2000)), "is segmented"),
    ],
)
def test_data_that_does_not_fit(tensor: onnx.TensorProto, message: str, model_of: Any) -> None:
    constant = model_of([oh.make_node("Constant", [], ["y"], value=tensor)])
    constant.ir_version = onnx.IR_VERSION
    for model in (as_initializer(tensor, model_of), constant):
        with pytest.raises(ModelError) as caught:
            load(model)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_writer_of_many_shapes_of_arrays() -> None:
    base = np.arange(4096, dtype=np.float32).reshape(64, 64)
    arrays = {
        "transposed": base.T,
        "strided": base[::2, ::3],
        "scalar": np.float32(3).reshape(()),
        "empty": base[:0],
    }
    for name, array in arrays.items():
        tensor = ir.Tensor(array, ir.DataType.FLOAT, shape=ir.Shape(array.shape))
        value = ir.Value(name="w", const_value=tensor)
        graph = ir.Graph([], [], nodes=[], initializers=[value], opset_imports={"": 18}, name="g")
        back = load(serialize(ir.Model(graph, ir_version=9))).graph.initializers["w"].const_value
        assert back is not None
        np.testing.assert_array_equal(back.numpy(), array, err_msg=name)
