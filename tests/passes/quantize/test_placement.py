"""The choice of integer nodes: no other choice is faster by the target's own figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt import store
from onnxopt.targets import Int8Scheme, load_target
from onnxopt_passes.quantize._placement import gain_ns, place
from onnxopt_passes.quantize._units import Unit, find_units

TARGET = load_target("x64-vnni")
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,4,4] x) => (float[1,8,4,4] y)'
CONV = "float[8,8,1,1] w = {" + ", ".join(["1"] * 64) + "}"
DEPTHWISE = "float[8,1,1,1] d = {" + ", ".join(["1"] * 8) + "}"
OPS = ["Conv(a, w)", "Conv<group = 8>(a, d)", "Add(a, b)", "Tanh(a)", "HardSwish(a)", "Mul(a, b)"]


def scheme() -> Int8Scheme:
    assert TARGET.int8 is not None
    return TARGET.int8


def units_of(body: str) -> tuple[ir.Model, list[Unit]]:
    model = store.from_text(f"{HEAD} <{CONV}, {DEPTHWISE}> {{ {body} }}")
    return model, [found for found in find_units(model, TARGET) if isinstance(found, Unit)]


def predicted_ns(
    model: ir.Model, units: Iterable[Unit], chosen: frozenset[Unit], sizes: Mapping[str, float]
) -> float:
    """What a choice costs, straight from the definition: less the gains, plus the conversions."""
    owner = {node: unit for unit in units for node in (unit.node, unit.absorbed) if node}
    total = -sum(gain_ns(unit, sizes) for unit in chosen)
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
        if made:
            in_float = readers.count(False) + value.is_graph_output()
            total += in_float * scheme().dequantize.of(elements=elements)
    return total


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_other_choice_is_faster(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    names = ["x", *(f"t{i}" for i in range(count))]
    lines = []
    for i in range(count):
        op = data.draw(st.sampled_from(OPS))
        a, b = (data.draw(st.sampled_from(names[: i + 1])) for _ in range(2))
        call = op.replace("(a", f"({a}").replace(", b)", f", {b})")
        lines.append(f"t{i} = {call}")
    model, units = units_of(" ".join([*lines, f"y = Neg(t{count - 1})"]))
    sizes = {name: float(data.draw(st.sampled_from([10, 2000, 50_000]))) for name in names}
    found = place(units, sizes, scheme())
    best = min(
        predicted_ns(model, units, frozenset(chosen), sizes)
        for size in range(len(units) + 1)
        for chosen in itertools.combinations(units, size)
    )
    assert predicted_ns(model, units, found, sizes) <= best + 1.0


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
