"""The cut with a price for noise, and the search for the best price."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_units import OPS, scheme, units_of

from onnxopt.graph import label
from onnxopt.metrics import Interval
from onnxopt_passes._trial import Outcome
from onnxopt_passes.quantize._noise import Noise
from onnxopt_passes.quantize._placement import saved_ns
from onnxopt_passes.quantize._search import Field, Placement, Tried, search


def drawn_field(data: st.DataObject) -> tuple[Field, Noise]:
    count = data.draw(st.integers(1, 5))
    names = ["x", *(f"t{i}" for i in range(count))]
    lines = []
    for i in range(count):
        op = data.draw(st.sampled_from([*OPS, "Mul(a, two)", "Relu(a)", "Flatten(a)"]))
        a, b = (data.draw(st.sampled_from(names[: i + 1])) for _ in range(2))
        call = op.replace("(a", f"({a}").replace(", b)", f", {b})")
        lines.append(f"t{i} = {call}")
    two = "two = Constant<value_float = 2.0>()"
    _, units = units_of(" ".join([two, *lines, f"y = Neg(t{count - 1})"]))
    sizes = {name: float(data.draw(st.sampled_from([10, 2000, 50_000]))) for name in names}
    powers = st.sampled_from([0.0, 0.001, 0.1, 1.0])
    noise = Noise(
        {name: data.draw(powers) for name in names},
        {label(unit.node): data.draw(powers) for unit in units if unit.weight is not None},
    )
    return Field(units, sizes, scheme()), noise


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_other_placement_is_better_at_a_price(data: st.DataObject) -> None:
    field, noise = drawn_field(data)
    price = data.draw(st.sampled_from([0.0, 1e3, 1e5, 1e7]))

    def cost(chosen: Placement) -> float:
        return price * noise.total(field.units, chosen) - field.saved_ns(chosen)

    found = field.fastest(noise, price)
    best = min(
        cost(frozenset(chosen))
        for size in range(len(field.units) + 1)
        for chosen in itertools.combinations(field.units, size)
    )
    assert cost(found) <= best + 1.0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_higher_price_never_gives_more_noise(data: st.DataObject) -> None:
    field, noise = drawn_field(data)
    prices = [10.0**power for power in range(2, 9)]
    totals = [noise.total(field.units, field.fastest(noise, price)) for price in prices]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(totals))


WIDE = "a = Conv(x, w) p = Tanh(a) c = Conv(p, w) q = Tanh(c) e = Conv(q, w) y = Neg(e)"


def chain() -> Field:
    """Three Convs that pay, each alone."""
    _, units = units_of(WIDE)
    heavy = [replace_gain(unit) for unit in units if unit.node.op_type == "Conv"]
    return Field(heavy, dict.fromkeys("xapcqe", 1e5), scheme())


def replace_gain(unit, element=3.0):  # type: ignore[no-untyped-def]
    cost = unit.kernel.gain.model_copy(update={"element": element, "mac": 0.0})
    return replace(unit, kernel=unit.kernel.model_copy(update={"gain": cost}))


def trial(field: Field, noise: Noise, limit: float) -> list[Tried]:
    """A search where the real error is the predicted one."""

    def attempt(chosen: Placement) -> Tried:
        error = noise.total(field.units, chosen) ** 0.5
        outcome = Outcome(Interval(error, error, error, 8), None)
        return Tried(chosen, field.saved_ns(chosen), outcome, error <= limit)

    return search(field, noise, attempt, limit)


def names(chosen: Placement) -> set[str]:
    return {label(unit.node) for unit in chosen}


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [(0.5, {"a", "e"}), (0.05, {"e"}), (0.005, set[str]())],
)
def test_the_fastest_placement_inside_is_found(limit: float, wanted: set[str]) -> None:
    field = chain()
    noise = Noise(weights={"a": 0.1, "c": 1.0, "e": 0.001})
    fit = [one for one in trial(field, noise, limit) if one.fits]
    best = max(fit, key=lambda one: one.saved_ns, default=None)
    assert (names(best.chosen) if best else set()) == wanted


def test_a_placement_that_is_as_fast_ends_the_search() -> None:
    _, units = units_of(WIDE)
    convs = [unit for unit in units if unit.node.op_type == "Conv"]
    heavy = [replace_gain(unit, gain) for unit, gain in zip(convs, (100, 1, 1), strict=True)]
    field = Field(heavy, dict.fromkeys("xapcqe", 1e5), scheme())
    tried = trial(field, Noise(weights={"a": 1e-6, "c": 1e-3, "e": 1.0}), 0.05)
    assert [names(one.chosen) for one in tried] == [{"a"}]  # with c it would fit as well
    assert tried[0].fits


def test_what_saves_most_goes_last() -> None:
    field = chain()
    assert names(field.fastest()) == {"a", "c", "e"}
    assert saved_ns(field.units, field.fastest(), field.sizes, scheme()) > 0
