"""Where Q and DQ go, what the tensors are called, and which kernels come of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.errors import UsageError
from onnxopt.graph import opset
from onnxopt.store import serialize
from onnxopt.transform import Context
from onnxopt_passes.quantize.quantize_static import QuantizeStatic

Make = Callable[..., ir.Model]
Quantize = Callable[..., Any]
X = "(float[1,8,6,6] x)"
WEIGHT = (8, 8, 1, 1)


def initializer(model: ir.Model, name: str) -> np.ndarray:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def test_relu_is_absorbed_and_the_range_taken_after_it(make: Make, quantize: Quantize) -> None:
    model = make(f"{X} => (float[1,8,6,6] y) {{ c = Conv(x, w, b) y = Relu(c) }}", w=WEIGHT, b=(8,))
    found = quantize(model)
    assert found.readers("c") == ["Relu"]
    assert initializer(found.after, "y/zero_point") == 0
    assert found.hits == ["c"]


def test_graph_inputs_and_outputs_keep_names_types_and_shapes(
    make: Make, quantize: Quantize
) -> None:
    found = quantize(make(f"{X} => (float[1,8,6,6] y) {{ y = Conv(x, w) }}", w=WEIGHT))
    assert [str(v.dtype) for v in found.after.graph.inputs] == ["FLOAT"]
    (output,) = found.after.graph.outputs
    assert (output.name, output.dtype, output.shape) == ("y", ir.DataType.FLOAT, (1, 8, 6, 6))
    assert found.value("y").producer().op_type == "DequantizeLinear"
    onnx.checker.check_model(onnx.load_from_string(serialize(found.after)), full_check=True)


def test_a_name_stays_with_what_the_rest_of_the_graph_reads(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y) {{ e = Exp(x) c = Conv(e, w) y = Neg(c) }}"
    found = quantize(make(text, w=WEIGHT))
    assert found.value("e").producer().op_type == "Exp"  # made in float: keeps its name
    assert found.readers("e") == ["QuantizeLinear"]
    assert found.readers("e/dq") == ["Conv"]
    assert found.value("c").producer().op_type == "DequantizeLinear"  # made in integers
    assert found.value("c/raw").producer().op_type == "Conv"
    assert found.readers("c") == ["Neg"]


def test_a_tensor_has_one_pair_whoever_reads_it(make: Make, quantize: Quantize) -> None:
    text = (
        f"{X} => (float[1,8,6,6] y, float[1,8,6,6] z) "
        "{ c = Conv(x, w) d = Conv(c, v) s = Add(c, d) z = Exp(c) y = Add(s, s) }"
    )
    found = quantize(make(text, w=WEIGHT, v=WEIGHT))
    assert found.ops["QuantizeLinear"] == 5  # x, c, d, s, y
    assert sorted(found.readers("c")) == ["Add", "Conv", "Exp"]
    assert found.error() < 0.05


def test_a_float_made_tensor_is_read_in_float_by_float(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y, float[1,8,6,6] z) {{ y = Conv(x, w) z = Exp(x) }}"
    found = quantize(make(text, w=WEIGHT))
    assert sorted(found.readers("x")) == ["Exp", "QuantizeLinear"]


def test_a_shared_weight_is_stored_once(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y) {{ c = Conv(x, w) y = Conv(c, w) }}"
    found = quantize(make(text, w=WEIGHT))
    assert found.readers("w/dq") == ["Conv", "Conv"]
    assert [n for n in found.after.graph.initializers if n.startswith("w")] == [
        "w/q",
        "w/scale",
        "w/zero_point",
    ]


def test_a_shared_weight_with_biases_that_ask_for_other_scales(
    make: Make, quantize: Quantize
) -> None:
    text = f"{X} => (float[1,8,6,6] y) {{ c = Conv(x, w, b) y = Conv(c, w) }}"
    model = make(text, w=WEIGHT, b=(8,))
    weight = np.zeros(WEIGHT, np.float32)
    weight[1:] = 0.3
    model.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    found = quantize(model)  # channel 0 is dead, its bias is not
    assert found.readers("w/dq") == ["Conv"]
    assert found.readers("w/dq/2") == ["Conv"]
    assert found.error() < 0.05


def test_a_weight_that_float_nodes_read_too_stays(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y, float[8,8,1,1] v) {{ y = Conv(x, w) v = Exp(w) }}"
    found = quantize(make(text, w=WEIGHT))
    assert "w" in found.after.graph.initializers


def test_the_sole_reader_of_a_weight_reads_its_name(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y) {{ y = Conv(x, w, b) }}"
    found = quantize(make(text, w=WEIGHT, b=(8,)))
    assert found.value("w").producer().op_type == "DequantizeLinear"
    assert found.value("b").producer().op_type == "DequantizeLinear"
    assert initializer(found.after, "w/q").dtype == np.int8
    assert initializer(found.after, "b/q").dtype == np.int32


def test_shape_ops_share_the_scale_of_their_input(make: Make, quantize: Quantize) -> None:
    text = (
        f"{X} => (float y) "
        "{ c = Conv(x, w) t = Transpose<perm = [0, 2, 3, 1]>(c) y = Flatten(t) }"
    )
    model = make(text, w=WEIGHT)
    model.graph.outputs[0].shape = None
    found = quantize(model)
    scales = {str(initializer(found.after, f"{name}/scale")) for name in ("c", "t", "y")}
    assert len(scales) == 1


@pytest.mark.parametrize(
    ("rank", "kernel"), [(3, "com.microsoft:MatMulIntegerToFloat"), (2, "QLinearMatMul")]
)
def test_matmul_before_a_bias_row_keeps_its_kernel(
    make: Make, quantize: Quantize, tmp_path: Path, rank: int, kernel: str
) -> None:
    dims = ["3", "8"] if rank == 2 else ["2", "3", "8"]
    text = (
        f"(float[{','.join(dims)}] x) => (float y) {{ m = MatMul(x, w) a = Add(m, b) y = Exp(a) }}"
    )
    model = make(text, w=(8, 4), b=(4,))
    model.graph.outputs[0].shape = None
    found = quantize(model, options={"op_types": ("MatMul",)})
    ops = found.optimized_ops(tmp_path)
    assert ops[kernel] == 1
    assert not ops["Gemm"]
    assert found.error() < 0.05


def test_gemm_leaves_in_float_with_an_integer_bias(
    make: Make, quantize: Quantize, tmp_path: Path
) -> None:
    text = "(float[3,8] x) => (float[3,4] y) { y = Gemm<transB = 1>(x, w, b) }"
    found = quantize(make(text, w=(4, 8), b=(4,)))
    ops = found.optimized_ops(tmp_path)
    assert ops == {"QuantizeLinear": 1, "com.microsoft:QGemm": 1}


def test_attention_products_stay_float(make: Make, quantize: Quantize) -> None:
    found = quantize(make("(float[2,8,8] x) => (float[2,8,8] y) { y = MatMul(x, x) }"))
    assert found.refusals == {"y": "its weight is not constant"}
    assert not found.ops["QuantizeLinear"]


def test_a_low_opset_is_raised(quantize: Quantize) -> None:
    text = (
        '<ir_version: 7, opset_import: ["" : 11]> g (float[1,1,2,2] x) => (float[1,1,2,2] y) '
        "<float[1,1,1,1] w = {0.5}> { y = Conv(x, w) }"
    )
    found = quantize(store.from_text(text))
    assert opset(found.after) == 14
    assert found.error() < 0.05


def test_tensors_of_subgraphs_stay_float(quantize: Quantize) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,1,2,2] x, bool p) '
        "=> (float[1,1,2,2] y) <float[1,1,1,1] w = {0.5}> { c = Conv(x, w) "
        "y = If(p) <then_branch = t () => (float[1,1,2,2] a) { a = Conv(c, w) },"
        " else_branch = e () => (float[1,1,2,2] b) { b = Neg(c) }> }"
    )
    found = quantize(store.from_text(text))
    assert found.refusals["a"].startswith("it is inside a subgraph")
    assert found.readers("c") == ["Conv", "Neg"]
    assert found.value("c").producer().op_type == "DequantizeLinear"
    assert found.error() < 0.05


def test_half_precision_is_left_alone_with_a_reason(quantize: Quantize) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float16[1,1,2,2] x) => (float16[1,1,2,2] y) '
        "{ w = Constant<value = float16[1,1,1,1] {1}>() y = Conv(x, w) }"
    )
    found = quantize(store.from_text(text))
    assert "float16" in found.refusals["y"]
    assert found.ops == {"Constant": 1, "Conv": 1}


def test_values_that_are_not_finite_are_left_alone(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y) {{ l = Log(x) y = Conv(l, w) }}"
    found = quantize(make(text, w=WEIGHT))
    assert "not finite" in found.refusals["y"]
    assert not found.hits


def test_a_second_run_changes_nothing(make: Make, quantize: Quantize) -> None:
    text = (
        f"{X} => (float[1,8,6,6] y) "
        "{ c = Conv(x, w) h = HardSwish(c) e = Exp(h) d = Conv(e, v) y = Add(d, c) }"
    )
    once = quantize(make(text, w=WEIGHT, v=WEIGHT))
    twice = quantize(once.after)
    assert not twice.hits
    assert store.content_hash(twice.after) == store.content_hash(once.after)


def test_nodes_are_skipped_by_name_and_chosen_by_op(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y) {{ c = Conv(x, w) d = Conv(c, v) y = Add(c, d) }}"
    model = make(text, w=WEIGHT, v=WEIGHT)
    skipping = quantize(model, options={"skip": ["d*", "nobody"]})
    assert skipping.hits == ["c", "y"]
    assert skipping.refusals == {
        "d": "left in float as asked",
        "nobody": "no node has a name like this",
    }
    only = quantize(model, options={"op_types": ["Conv", "Tanh"]})
    assert only.hits == ["c", "d"]
    assert "no integer kernel" in only.refusals["Tanh"]


def test_few_samples_are_said_aloud(make: Make, quantize: Quantize) -> None:
    model = make(f"{X} => (float[1,8,6,6] y) {{ y = Conv(x, w) }}", w=WEIGHT)
    few = [note.reason for note in quantize(model, samples=3).notes]
    assert "calibrated on 3 samples" in few[0]
    assert not any("calibrated on" in note.reason for note in quantize(model, samples=16).notes)


def test_float_ops_between_integer_ones_are_named(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y) {{ c = Conv(x, w) t = Tanh(c) y = Conv(t, v) }}"
    found = quantize(make(text, w=WEIGHT, v=WEIGHT))
    assert found.refusals["t"] == "x64-vnni has no integer Tanh: it parts integer nodes"


def test_new_nodes_say_where_they_come_from(make: Make, quantize: Quantize) -> None:
    found = quantize(make(f"{X} => (float[1,8,6,6] y) {{ h = HardSwish(x) y = Neg(h) }}"))
    added = [node for node in found.after.graph if node.op_type != "Neg"]
    assert {node.metadata_props["onnxopt.from"] for node in added} <= {"h", "h/gate", "h,h/gate"}


def test_the_scheme_is_the_targets(make: Make, quantize: Quantize) -> None:
    model = make(f"{X} => (float[1,8,6,6] y) {{ y = Conv(x, w) }}", w=WEIGHT)
    arm, avx2 = quantize(model, target="arm64"), quantize(model, target="x64-avx2")
    assert initializer(arm.after, "x/zero_point").dtype == np.int8
    assert abs(initializer(arm.after, "w/q")).max() == 127
    assert abs(initializer(avx2.after, "w/q")).max() == 63


def test_the_same_model_and_data_give_the_same_bytes(make: Make, quantize: Quantize) -> None:
    text = f"{X} => (float[1,8,6,6] y) {{ c = Conv(x, w) h = HardSwish(c) y = Add(h, c) }}"
    model = make(text, w=WEIGHT)
    assert serialize(quantize(model).after) == serialize(quantize(model).after)


def test_without_a_target_it_is_a_usage_error(make: Make) -> None:
    model = make(f"{X} => (float[1,8,6,6] y) {{ y = Conv(x, w) }}", w=WEIGHT)
    with pytest.raises(UsageError, match="target"):
        list(QuantizeStatic().rewrite(model, Context()))
