"""The expected error of each op under each scheme, pinned.

A table of relative L2 errors on normal inputs: a number that moves means that the rounding, the
ranges or the placement of an op has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import pytest

Make = Callable[..., ir.Model]
Quantize = Callable[..., Any]
SCHEMES = ("x64-vnni", "x64-avx2", "arm64")
_IMAGE = "(float[1,16,8,8] x)"
_ROWS = "(float[4,32] x)"
_CONV_OUT = "=> (float[1,16,8,8] y)"


@dataclass(frozen=True)
class Case:
    """A model of one op, and its error under each scheme; None where the op stays in float."""

    text: str
    errors: tuple[float | None, float | None, float | None]
    weights: tuple[tuple[str, tuple[int, ...]], ...] = ()


CASES = {
    "Conv": Case(
        f"{_IMAGE} {_CONV_OUT} {{ y = Conv(x, w) }}",
        (0.0132, 0.0158, 0.0132),
        (("w", (16, 16, 1, 1)),),
    ),
    "Conv 3x3, bias": Case(
        f"{_IMAGE} {_CONV_OUT} {{ y = Conv<pads = [1, 1, 1, 1]>(x, w, b) }}",
        (0.014, 0.0179, 0.014),
        (("w", (16, 16, 3, 3)), ("b", (16,))),
    ),
    "depthwise Conv": Case(
        f"{_IMAGE} {_CONV_OUT} {{ y = Conv<pads = [1, 1, 1, 1], group = 16>(x, w) }}",
        (0.013, 0.015, 0.013),
        (("w", (16, 1, 3, 3)),),
    ),
    "grouped Conv": Case(
        f"{_IMAGE} {_CONV_OUT} {{ y = Conv<group = 4>(x, w) }}",
        (0.0139, 0.0148, 0.0139),
        (("w", (16, 4, 1, 1)),),
    ),
    "Conv, Relu": Case(
        f"{_IMAGE} {_CONV_OUT} {{ c = Conv(x, w) y = Relu(c) }}",
        (0.0104, 0.0136, 0.0104),
        (("w", (16, 16, 1, 1)),),
    ),
    "MatMul": Case(
        f"{_ROWS} => (float[4,16] y) {{ y = MatMul(x, w) }}",
        (0.00827, 0.0124, 0.00827),
        (("w", (32, 16)),),
    ),
    "Gemm": Case(
        f"{_ROWS} => (float[4,16] y) {{ y = Gemm(x, w, b) }}",
        (0.0081, 0.0122, 0.0081),
        (("w", (32, 16)), ("b", (16,))),
    ),
    "Add": Case(
        f"{_IMAGE} {_CONV_OUT} {{ r = Relu(x) y = Add(x, r) }}", (0.00922, 0.00922, 0.00922)
    ),
    "Mul": Case(f"{_IMAGE} {_CONV_OUT} {{ r = Relu(x) y = Mul(x, r) }}", (0.0094, 0.0094, 0.0094)),
    "Concat": Case(
        f"{_IMAGE} => (float[1,32,8,8] y) {{ r = Relu(x) y = Concat<axis = 1>(x, r) }}",
        (0.00824, 0.00824, 0.00824),
    ),
    "MaxPool": Case(
        f"{_IMAGE} => (float[1,16,4,4] y) "
        "{ y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) }",
        (0.00633, 0.00633, 0.00633),
    ),
    "AveragePool": Case(
        f"{_IMAGE} => (float[1,16,4,4] y) "
        "{ y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x) }",
        (0.0108, 0.0108, 0.0108),
    ),
    "GlobalAveragePool": Case(
        f"{_IMAGE} => (float[1,16,1,1] y) {{ y = GlobalAveragePool(x) }}", (0.0103, 0.0103, 0.0103)
    ),
    "Sigmoid": Case(f"{_IMAGE} {_CONV_OUT} {{ y = Sigmoid(x) }}", (0.00373, 0.00373, 0.00373)),
    "LeakyRelu": Case(f"{_IMAGE} {_CONV_OUT} {{ y = LeakyRelu(x) }}", (0.00966, 0.00966, 0.00966)),
    "HardSwish": Case(f"{_IMAGE} {_CONV_OUT} {{ y = HardSwish(x) }}", (0.0107, 0.0107, 0.0107)),
    "HardSigmoid": Case(
        f"{_IMAGE} {_CONV_OUT} {{ y = HardSigmoid(x) }}", (0.00412, 0.00412, 0.00412)
    ),
    "Softmax": Case(f"{_ROWS} => (float[4,32] y) {{ y = Softmax(x) }}", (None, None, None)),
    "Transpose": Case(
        f"{_ROWS} => (float[32,4] y) {{ y = Transpose<perm = [1, 0]>(x) }}",
        (0.00702, 0.00702, 0.00702),
    ),
}


def _rows() -> Iterator[Any]:
    for op, case in CASES.items():
        for scheme, error in zip(SCHEMES, case.errors, strict=True):
            yield pytest.param(case, scheme, error, id=f"{op}-{scheme}")


@pytest.mark.parametrize(("case", "scheme", "error"), list(_rows()))
def test_the_error_of_an_op(
    make: Make, quantize: Quantize, case: Case, scheme: str, error: float | None
) -> None:
    found = quantize(make(case.text, **dict(case.weights)), target=scheme)
    if error is None:
        assert not found.hits
        return
    assert found.hits
    assert found.error("off") == pytest.approx(error, rel=0.05)
