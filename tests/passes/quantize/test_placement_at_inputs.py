"""Codes at the inputs of products only: the best choice there is, and what is written."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_units import drawn_body, scheme, units_of

from onnxopt.calibrate import Range
from onnxopt.data import in_memory
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_passes.quantize._gains import gain_ns
from onnxopt_passes.quantize._numbers import activation_encoding
from onnxopt_passes.quantize._placement import place, saved_ns
from onnxopt_passes.quantize._units import Unit
from onnxopt_passes.quantize.quantize_static import QuantizeStatic

TARGET = load_target("x64-openvino-vnni")
OPS = ("Conv(a, w)", "Add(a, b)", "Relu(a)", "Mul(a, b)")


def predicted_ns(
    units: Iterable[Unit], chosen: frozenset[Unit], sizes: Mapping[str, float]
) -> float:
    """Straight from the definition: a quantized tensor costs once, whoever made it."""
    read = {value for unit in chosen for value in unit.inputs}
    nodes = {unit.node for unit in chosen}
    owners = {unit.node for unit in units}
    if any(u.partner in owners and u.partner not in nodes for u in chosen if u.partner):
        return float("inf")
    conversions = sum(scheme(TARGET).quantize.of(elements=sizes[v.name or ""]) for v in read)
    return conversions - sum(gain_ns(unit, sizes, scheme(TARGET)) for unit in chosen)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_other_choice_is_faster(data: st.DataObject) -> None:
    names, body = drawn_body(data, OPS)
    _, units = units_of(body, TARGET)
    sizes = {name: float(data.draw(st.sampled_from([10, 9000, 50_000]))) for name in names}
    found = place(units, sizes, scheme(TARGET))
    best = min(
        predicted_ns(units, frozenset(chosen), sizes)
        for size in range(len(units) + 1)
        for chosen in itertools.combinations(units, size)
    )
    assert predicted_ns(units, found, sizes) <= best + 1.0
    assert saved_ns(units, found, sizes, scheme(TARGET)) == pytest.approx(
        -predicted_ns(units, found, sizes), abs=1e-6
    )


def test_a_sum_needs_its_product_in_integers() -> None:
    _, units = units_of("c = Conv(x, w) y = Add(c, x)", TARGET)
    product, total = units
    assert total.partner is product.node
    assert [value.name for value in total.inputs] == ["x"]


def test_a_residual_is_read_as_codes_and_by_others_as_it_is() -> None:
    model, _ = units_of("r = Relu(x) c = Conv(r, w) a = Add(c, r) e = Exp(r) y = Mul(a, e)", TARGET)
    feeds = [{"x": np.random.default_rng(0).standard_normal((1, 8, 4, 4), np.float32)}]
    context = Context(target=TARGET, calibration=in_memory(feeds))
    list(QuantizeStatic(placement="all").rewrite(model, context))
    made = {node.outputs[0].name: node for node in model.graph}
    assert [v.name for v in made["a"].inputs if v] == ["c", "r/dq"]
    assert [v.name for v in made["e"].inputs if v] == ["r"]
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph) == 1
    assert model.graph.outputs[0].producer() is made["y"]


@pytest.mark.parametrize(
    ("low", "high", "integer", "zero_point"),
    [(0.0, 2.0, "uint8", 0), (-0.1, 2.0, "int8", 0), (0.0, 0.0, "uint8", 0)],
)
def test_codes_are_unsigned_where_nothing_is_negative(
    low: float, high: float, integer: str, zero_point: int
) -> None:
    openvino = load_target("x64-openvino").int8
    assert openvino is not None
    found = activation_encoding(Range(low, high), openvino)
    assert (found.integer, found.zero_point) == (integer, zero_point)
    assert found.numbers()[1] >= high * 0.999
