"""The choice of integer nodes: no other choice is faster by the target's own figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_units import FACTORS, OPS, TARGET, drawn_body, scheme, units_of

from onnxopt import store
from onnxopt_passes.quantize._gains import channels_first_ns, gain_ns
from onnxopt_passes.quantize._placement import place, saved_ns, tensor_names
from onnxopt_passes.quantize._units import Unit, find_units

AFTER_CODES = 0.8  # nanoseconds an element, of a Resize


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
        if made:
            in_float = readers.count(False) + value.is_graph_output()
            total += in_float * scheme().dequantize.of(elements=elements)
    for unit in units:
        if unit.node.op_type == "MaxPool" and channels_first(unit, owner, chosen):
            total += channels_first_ns(unit, sizes)
    for node in model.graph:
        if node.op_type == "Resize" and leaves_blocks(node, owner, chosen):
            total += AFTER_CODES * sizes.get(node.outputs[0].name or "", 0.0)
    return total


def leaves_blocks(node: ir.Node, owner: Mapping[ir.Node, Unit], chosen: frozenset[Unit]) -> bool:
    """Whether a linear Resize would read float blocks but for some integers ahead of it."""
    if any(use.node in owner for use in node.outputs[0].uses()):
        return False
    ahead = makers(node.inputs[0], owner)
    return ahead is not None and any(unit in chosen for unit in ahead)


def makers(value: ir.Value | None, owner: Mapping[ir.Node, Unit]) -> set[Unit] | None:
    """The units that make a tensor from the last Convs on; None where something else does."""
    node = None if value is None else value.producer()
    if node is None or node.op_type in ("Neg", "Transpose"):
        return None
    if node.op_type in ("Tanh", "Resize"):
        return makers(node.inputs[0], owner)
    found = {owner[node]}
    for operand in () if node.op_type == "Conv" else owner[node].inputs:
        further = makers(operand, owner)
        if further is None:
            return None
        found |= further
    return found


def channels_first(unit: Unit, owner: Mapping[ir.Node, Unit], chosen: frozenset[Unit]) -> bool:
    """Whether a MaxPool reads codes channels first, or codes come to it from behind."""
    if unit in chosen:
        return not all(lies_last(value, owner, chosen) for value in unit.inputs)
    return any(in_codes(value, owner, chosen) for value in unit.outputs)


def lies_last(value: ir.Value, owner: Mapping[ir.Node, Unit], chosen: frozenset[Unit]) -> bool:
    maker = owner.get(producer) if (producer := value.producer()) is not None else None
    if maker is None or maker not in chosen or maker.node.op_type == "Transpose":
        return False
    if maker.node.op_type == "Conv":
        return True
    return all(lies_last(operand, owner, chosen) for operand in maker.inputs)


def in_codes(value: ir.Value, owner: Mapping[ir.Node, Unit], chosen: frozenset[Unit]) -> bool:
    readers = [owner[use.node] for use in value.uses() if use.node in owner]
    if any(reader in chosen for reader in readers):
        return True
    movers = [reader for reader in readers if reader.node.op_type in ("MaxPool", "Transpose")]
    return any(in_codes(out, owner, chosen) for mover in movers for out in mover.outputs)


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


def chosen_among_heavy(body: str, y: float = 100_000.0) -> list[str]:
    wide = "float[128,128,1,1] w = {" + ", ".join(["1"] * 128**2) + "}"
    narrow = "float[128,1,1,1] d = {" + ", ".join(["1"] * 128) + "}"
    model = store.from_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,128,4,4] x) => (float[1,128,4,4] y) '
        f"<{wide}, {narrow}, {FACTORS}> {{ {body} }}"
    )
    units = [found for found in find_units(model, TARGET) if isinstance(found, Unit)]
    sizes = dict.fromkeys(tensor_names(units), 100_000.0) | {"y": y}
    return [u.node.op_type for u in units if u in place(units, sizes, scheme())]


def test_what_stands_between_heavy_convs_joins_them() -> None:
    body = (
        "a = Conv(x, w) h = HardSwish(a) b = Conv<group = 128>(h, d) s = Add(b, a) y = Conv(s, w)"
    )
    assert chosen_among_heavy(body) == ["Conv", "HardSwish", "Conv", "Add", "Conv"]


@pytest.mark.parametrize(
    ("between", "pooled"),
    [
        ("m = MaxPool<kernel_shape = [1, 1]>(a)", True),
        ("b = Add(a, a) m = MaxPool<kernel_shape = [1, 1]>(b)", True),
        ("b = Transpose<perm = [0, 1, 3, 2]>(a) m = MaxPool<kernel_shape = [1, 1]>(b)", False),
        ("m = MaxPool<kernel_shape = [1, 1]>(x)", False),
    ],
)
def test_max_pool_is_in_codes_only_where_they_lie_channels_last(between: str, pooled: bool) -> None:
    body = f"a = Conv(x, w) {between} y = Conv(m, w)"
    assert ("MaxPool" in chosen_among_heavy(body)) is pooled


@pytest.mark.parametrize(
    ("between", "convs"),
    [("", 1), ("t = Tanh(b)", 1), ("t = Transpose<perm = [0, 1, 3, 2]>(b)", 2), ("t = Neg(b)", 2)],
)
def test_a_conv_before_a_linear_upscale_stays_in_blocks(between: str, convs: int) -> None:
    source = "t" if between else "b"
    body = f'a = Conv(x, w) b = Conv(a, w) {between} y = Resize<mode = "linear">({source}, , up)'
    assert chosen_among_heavy(body, y=400_000.0).count("Conv") == convs
