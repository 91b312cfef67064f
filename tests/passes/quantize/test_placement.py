"""The choice of integer nodes: no other choice is faster by the target's own figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_units import OPS, TARGET, drawn_body, scheme, units_of

from onnxopt import store
from onnxopt_passes.quantize._gains import entry_ns, gain_ns
from onnxopt_passes.quantize._placement import place, saved_ns
from onnxopt_passes.quantize._units import Unit, find_units


def predicted_ns(
    model: ir.Model, units: Iterable[Unit], chosen: frozenset[Unit], sizes: Mapping[str, float]
) -> float:
    """What a choice costs, straight from the definition: less the gains, plus the conversions."""
    owner = {node: unit for unit in units for node in (unit.node, unit.absorbed) if node}
    total = -sum(gain_ns(unit, sizes, scheme()) for unit in chosen)
    values = [*model.graph.inputs, *(out for node in model.graph for out in node.outputs)]
    for value in values:  # no op in these models is absorbed by another
        producer = value.producer()
        made = producer is not None and owner.get(producer) in chosen
        readers = [owner.get(use.node) in chosen for use in value.uses()]
        if any(
            use.node is owner.get(use.node, use).absorbed
            for use in value.uses()
            if use.node in owner
        ):  # type: ignore[union-attr]
            continue
        elements = sizes.get(value.name or "", 0.0)
        if not made and any(readers):
            total += scheme().quantize.of(elements=elements)
            beside = {owner[use.node] for use in value.uses() if owner.get(use.node) in chosen}
            beside |= {owner[producer]} if producer in owner else set()
            total += sum(entry_ns(unit, sizes) for unit in beside)
        if made:
            in_float = readers.count(False) + value.is_graph_output()
            total += in_float * scheme().dequantize.of(elements=elements)
    return total


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_other_choice_is_faster(data: st.DataObject) -> None:
    names, body = drawn_body(data, OPS)
    model, units = units_of(body)
    sizes = {name: float(data.draw(st.sampled_from([10, 2000, 50_000]))) for name in names}
    found = place(units, sizes, scheme())
    best = min(
        predicted_ns(model, units, frozenset(chosen), sizes)
        for size in range(len(units) + 1)
        for chosen in itertools.combinations(units, size)
    )
    assert predicted_ns(model, units, found, sizes) <= best + 1.0
    saved = saved_ns(units, found, sizes, scheme())
    assert saved == pytest.approx(-predicted_ns(model, units, found, sizes), abs=1e-3)


def chosen_ops(body: str, elements: float) -> list[str]:
    model, units = units_of(body)
    values = (out.name for node in model.graph for out in node.outputs)
    sizes = dict.fromkeys(["x", *values], elements)
    return [unit.node.op_type for unit in units if unit in place(units, sizes, scheme())]


def test_a_thin_conv_alone_is_not_worth_its_conversions() -> None:
    assert chosen_ops("c = Conv(x, w) y = Tanh(c)", 1000) == []


def test_elementwise_ops_alone_stay_float() -> None:
    assert chosen_ops("a = Add(x, x) y = HardSwish(a)", 100_000) == []


def test_what_stands_between_heavy_convs_joins_them() -> None:
    wide = "float[128,128,1,1] w = {" + ", ".join(["1"] * 128**2) + "}"
    narrow = "float[128,1,1,1] d = {" + ", ".join(["1"] * 128) + "}"
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,128,4,4] x) => (float[1,128,4,4] y) '
        f"<{wide}, {narrow}> {{ a = Conv(x, w) h = HardSwish(a) b = Conv<group = 128>(h, d) "
        "s = Add(b, a) y = Conv(s, w) }"
    )
    model = store.from_text(text)
    units = [found for found in find_units(model, TARGET) if isinstance(found, Unit)]
    sizes = dict.fromkeys(("x", "a", "h", "b", "s", "y"), 100_000.0)
    assert [u.node.op_type for u in units if u in place(units, sizes, scheme())] == [
        "Conv",
        "HardSwish",
        "Conv",
        "Add",
        "Conv",
    ]
