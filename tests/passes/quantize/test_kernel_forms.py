"""The last steps on an int8 model: forms that the kernels of ONNX Runtime's CPU provider like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import pipeline
from onnxopt.recipe import Recipe
from onnxopt.targets import load_target
from onnxopt.transform import Context

Make = Callable[..., ir.Model]
Quantize = Callable[..., Any]
CONTEXT = Context(target=load_target("x64-vnni"))


def finished(found: Any, step: str, context: Context = CONTEXT) -> Any:
    """The quantized model after one more step, beside the numbers of before."""
    found.plain = found.run(found.after)
    found.after = pipeline.run(found.after, Recipe.parse(step), context).model
    return found


@pytest.mark.parametrize(("window", "added"), [(3, 1), (7, 1), (16, 0)])
def test_a_stem_reads_four_channels_unless_its_window_is_wide(
    make: Make, quantize: Quantize, tmp_path: Path, window: int, added: int
) -> None:
    text = (
        "(float[1,3,20,20] x) => (float[1,32,h,h] y) "
        f"{{ c = Conv<kernel_shape = [{window}, {window}], strides = [2, 2]>(x, w, b) "
        "r = Relu(c) y = Conv(r, v) }"
    )
    model = make(text, w=(16, 3, window, window), b=(16,), v=(32, 16, 1, 1))
    found = finished(quantize(model), "pad-conv-channels")
    assert found.ops["Pad"] == added
    assert found.optimized_ops(tmp_path)["com.microsoft:QLinearConv"] == 2
    for before, after in zip(found.plain, found.run(found.after), strict=True):
        np.testing.assert_array_equal(before["y"], after["y"])


def test_two_stems_read_one_padded_picture(make: Make, quantize: Quantize) -> None:
    text = (
        "(float[1,3,8,8] x) => (float[1,16,8,8] y, float[1,16,8,8] z) "
        "{ y = Conv(x, w) z = Conv(x, v) }"
    )
    model = make(text, w=(16, 3, 1, 1), v=(16, 3, 1, 1))
    found = finished(quantize(model), "pad-conv-channels")
    assert found.ops["Pad"] == 1
    for before, after in zip(found.plain, found.run(found.after), strict=True):
        np.testing.assert_array_equal(before["z"], after["z"])


@pytest.mark.parametrize(
    ("channels", "window", "target", "shifted"),
    [
        (256, 1, "x64-amx", True),
        (128, 1, "x64-amx", False),
        (64, 3, "x64-amx", True),
        (32, 3, "x64-amx", False),
        (256, 1, "x64-vnni", False),
    ],
)
def test_a_wide_conv_is_a_matrix_product_on_amx(
    make: Make,
    quantize: Quantize,
    tmp_path: Path,
    channels: int,
    window: int,
    target: str,
    shifted: bool,
) -> None:
    pad = window // 2
    shape = f"float[1,{channels},6,6]"
    text = f"({shape} x) => ({shape} y) {{ y = Conv<pads = [{pad}, {pad}, {pad}, {pad}]>(x, w) }}"
    found = quantize(make(text, w=(channels, channels, window, window)))
    context = Context(target=load_target(target))
    found = finished(found, "shift-conv-weights", context)
    zeros = [name for name in found.after.graph.initializers if name.endswith("/zero")]
    assert len(zeros) == shifted
    assert found.optimized_ops(tmp_path)["com.microsoft:QLinearConv"] == 1
    for before, after in zip(found.plain, found.run(found.after), strict=True):
        np.testing.assert_array_equal(before["y"], after["y"])


def test_a_linear_layer_is_one_kernel(make: Make, quantize: Quantize, tmp_path: Path) -> None:
    text = "(float[2,3,8] x) => (float[2,3,4] y) { m = MatMul(x, w) a = Add(m, b) y = Exp(a) }"
    found = quantize(make(text, w=(8, 4), b=(4,)), options={"op_types": ("MatMul",)})
    finished(found, "fuse-quantized-linear")
    ops = found.optimized_ops(tmp_path)
    assert ops == {"QuantizeLinear": 1, "com.microsoft:MatMulIntegerToFloat": 1, "Exp": 1}
    for before, after in zip(found.plain, found.run(found.after), strict=True):
        np.testing.assert_allclose(before["y"], after["y"], rtol=1e-5, atol=1e-6)


def test_the_forms_can_be_taken_back(make: Make, quantize: Quantize) -> None:
    text = (
        "(float[1,3,8,8] x) => (float[1,16,8,4] y) "
        "{ c = Conv(x, w) m = MatMul(c, u) y = Add(m, b) }"
    )
    found = quantize(make(text, w=(16, 3, 1, 1), u=(8, 4), b=(4,)))
    steps = "pad-conv-channels | shift-conv-weights | fuse-quantized-linear | dequantize-model"
    finished(found, steps, Context())
    assert not {"QuantizeLinear", "DequantizeLinear", "MatMulIntegerToFloat"} & set(found.ops)
    assert found.error() < 0.05
