"""What dilated Convs spend on padding, against counting place by place."""

from __future__ import annotations

import itertools

import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt_passes.quantize._skipped import skipped_share


def conv(dilation: int, pad: int, stride: int = 1, **attributes: str) -> ir.Node:
    x, w = ir.Value(name="x"), ir.Value(name="w")
    numbers = {"dilations": [dilation] * 2, "pads": [pad] * 4, "strides": [stride] * 2}
    return ir.node("Conv", [x, w], {**numbers, **attributes})


def output(*dims: int | str) -> ir.Value:
    return ir.Value(name="y", shape=ir.Shape(dims))


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 20),
    kernel=st.integers(1, 5),
    dilation=st.integers(2, 9),
    stride=st.integers(1, 3),
    pad=st.integers(0, 12),
)
def test_rows_and_columns_inside_are_counted(
    size: int, kernel: int, dilation: int, stride: int, pad: int
) -> None:
    length = (size - 1) * stride + (kernel - 1) * dilation + 1 - 2 * pad
    places = itertools.product(range(size), range(kernel))
    hits = [0 <= at * stride + tap * dilation - pad < length for at, tap in places]
    inside = sum(hits) / len(hits)
    found = skipped_share(conv(dilation, pad, stride), output(1, 8, size, size), (kernel,) * 2, 1)
    assert found == pytest.approx(1 - inside * (1 + inside) / 2)


def test_without_dilation_or_padding_nothing_is_skipped() -> None:
    assert skipped_share(conv(1, 1), output(1, 8, 4, 4), (3, 3), 16) == 0
    assert skipped_share(conv(4, 0), output(1, 8, 4, 4), (3, 3), 16) == 0


def test_open_sizes_are_taken_as_a_square() -> None:
    known = skipped_share(conv(12, 12), output(1, 8, 14, 14), (3, 3), 196)
    assert known > 0.5
    assert skipped_share(conv(12, 12), output("N", 8, "H", "W"), (3, 3), 196) == known


def test_automatic_padding_is_padding() -> None:
    written = skipped_share(conv(6, 6), output(1, 8, 14, 14), (3, 3), 196)
    assert (
        skipped_share(conv(6, 0, auto_pad="SAME_UPPER"), output(1, 8, 14, 14), (3, 3), 1) == written
    )
