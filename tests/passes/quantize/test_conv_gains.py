"""What a Conv gains by integers on x64 follows its groups and the multiples its channels are of."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxopt.targets import Target, load_target
from onnxopt_passes.quantize._gains import gain_ns
from onnxopt_passes.quantize._units import Unit, find_units

Make = Callable[..., ir.Model]
TARGET = load_target("x64-vnni")


def gain_us(make: Make, channels: int, group: int, side: int, target: Target = TARGET) -> float:
    """Of a 3x3 Conv with as many outputs as inputs."""
    shape = f"float[1,{channels},{side},{side}]"
    body = f"({shape} x) => ({shape} y) {{ y = Conv<group = {group}, pads = [1, 1, 1, 1]>(x, w) }}"
    model = make(body, w=(channels, channels // group, 3, 3))
    (unit,) = (one for one in find_units(model, target) if isinstance(one, Unit))
    sizes = dict.fromkeys("xy", float(channels * side * side))
    assert target.int8 is not None
    return gain_ns(unit, sizes, target.int8) / 1000


@pytest.mark.parametrize(
    ("channels", "group", "side", "measured"),
    [
        (256, 64, 28, -1327),
        (256, 16, 28, -171),
        (256, 8, 28, 157),
        (256, 4, 28, 600),
        (1024, 128, 7, 158),
        (240, 10, 14, 332),
        (80, 80, 28, -16),
        (76, 76, 28, -71),
        (74, 74, 28, 63),
        (208, 208, 14, -4),
    ],
)
def test_grouped_convs_gain_what_was_measured(
    make: Make, channels: int, group: int, side: int, measured: float
) -> None:
    found = gain_us(make, channels, group, side)
    assert found == pytest.approx(measured, rel=0.5, abs=10)


@pytest.mark.parametrize(
    ("channels", "side", "measured"), [(64, 28, 21), (96, 28, 60), (128, 28, 156), (256, 14, 200)]
)
def test_wide_convs_gain_more_where_the_matrix_product_has_amx(
    make: Make, channels: int, side: int, measured: float
) -> None:
    amx = gain_us(make, channels, 1, side, load_target("x64-amx"))
    assert amx - gain_us(make, channels, 1, side) == pytest.approx(measured, rel=0.35)


def test_narrow_convs_gain_the_same_with_and_without_amx(make: Make) -> None:
    assert gain_us(make, 32, 1, 28, load_target("x64-amx")) == gain_us(make, 32, 1, 28)
