"""How many units stay: of each group, of all, and for a share of the foreseen time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.data import synthesize
from onnxopt.errors import UsageError
from onnxopt.signature import signature_of
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_passes.prune._choice import (
    Grain,
    best_units,
    counts_in_time,
    counts_overall,
    counts_per_group,
)
from onnxopt_passes.prune._coupling import Group, couplings
from onnxopt_passes.prune._latency import Forecast, forecast_of, sizes_of
from onnxopt_passes.prune.prune_channels import PruneChannels


def chain(*channels: int, size: int = 8) -> ir.Model:
    """1x1 Convs, one after the other, between them a Relu."""
    random = np.random.default_rng(0)
    weights, body, value = [], [], "x"
    for number, (inputs, outputs) in enumerate(pairwise(channels)):
        numbers = ", ".join(f"{v:.3f}" for v in random.normal(size=inputs * outputs))
        weights.append(f"float[{outputs},{inputs},1,1] w{number} = {{{numbers}}}")
        body.append(f"c{number} = Conv({value}, w{number}) r{number} = Relu(c{number})")
        value = f"r{number}"
    shape = f"[1,{channels[0]},{size},{size}]"
    result = f"[1,{channels[-1]},{size},{size}]"
    return store.from_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float{shape} x) => (float{result} {value}) '
        f"<{', '.join(weights)}> {{ {' '.join(body)} }}"
    )


def context_of(model: ir.Model) -> Context:
    data = synthesize(signature_of(model), dims={}, seed=0, samples=4)
    return Context(target=load_target("x64-vnni"), calibration=data, teacher=model)


def groups_of(model: ir.Model) -> tuple[Group, ...]:
    return couplings(model)[0]


def test_counts_are_multiples_and_not_far_below_the_share() -> None:
    (group,) = groups_of(chain(3, 40, 2))
    grain = Grain(multiple=8, least=8)
    assert [grain.nearest(group, share * 40) for share in (0.01, 0.4, 0.65, 0.7, 1)] == [
        8,
        16,
        24,
        32,
        40,
    ]
    assert list(grain.below(group, 40)) == [32, 24, 16, 8]
    assert counts_per_group([group], 0.4, grain) == {"c0": 16}


def test_a_small_group_stays_whole() -> None:
    (group,) = groups_of(chain(3, 6, 2))
    assert Grain().nearest(group, 3) == 6
    assert list(Grain().below(group, 6)) == []


def test_one_threshold_takes_from_where_least_is_lost() -> None:
    groups = groups_of(chain(3, 16, 16, 2))
    scores = {"c0": np.full(16, 5.0), "c1": np.r_[np.full(8, 1.0), np.full(8, 9.0)]}
    counts = counts_overall(groups, scores, 0.75, Grain(8, 8))
    assert counts == {"c0": 16, "c1": 8}
    chosen = best_units(groups, scores, counts)
    np.testing.assert_array_equal(chosen["c1"], np.arange(8, 16))
    assert "c0" not in chosen


def test_a_forecast_knows_what_smaller_layers_take() -> None:
    model = chain(32, 64, 32, size=32)
    context = context_of(model)
    forecast = forecast_of(model, groups_of(model), context)
    whole = forecast.nanoseconds({"c0": 0})
    saved = forecast.saved({"c0": 0}, "c0", 32)
    assert forecast.nanoseconds({"c0": 32}) == pytest.approx(whole - saved)
    smaller = chain(32, 32, 32, size=32)
    target = load_target("x64-vnni")
    expected = Forecast(smaller, (), sizes_of(smaller, context_of(smaller)), target)
    assert forecast.nanoseconds({"c0": 32}) == pytest.approx(expected.nanoseconds({}))


def test_channels_are_computed_in_blocks() -> None:
    model = chain(32, 64, 32, size=32)
    forecast = forecast_of(model, groups_of(model), context_of(model))
    part, block = forecast.saved({}, "c0", 8), forecast.saved({}, "c0", 16)
    assert part < 0.2 * block


def test_times_need_a_target_that_knows_them() -> None:
    model = chain(3, 16, 2)
    data = synthesize(signature_of(model), dims={}, seed=0, samples=1)
    with pytest.raises(UsageError, match="no target"):
        forecast_of(model, (), Context(calibration=data))


def test_time_is_taken_where_it_costs_least() -> None:
    model = chain(32, 128, 128, 32, size=32)
    groups = groups_of(model)
    forecast = forecast_of(model, groups, context_of(model))
    losses = {"c0": np.full(128, 1.0), "c1": np.full(128, 0.01)}
    counts = counts_in_time(groups, losses, forecast, 0.7, Grain(16, 16))
    removed = {group.name: group.units - counts[group.name] for group in groups}
    assert forecast.nanoseconds(removed) <= 0.7 * forecast.nanoseconds({})
    assert counts["c0"] == 128
    assert counts["c1"] < 80


def test_what_was_chosen_by_time_is_spelled_to_be_done_again() -> None:
    model = chain(32, 64, 64, 32, size=16)
    context = context_of(model)
    first, second = model.clone(), model.clone()
    step = PruneChannels(keep=0.6, scope="latency", multiple=16)
    notes = list(step.rewrite(first, context))
    (replay,) = [note.figures["replay"] for note in notes if "replay" in note.figures]
    from onnxopt.recipe import Recipe

    (again,) = Recipe.parse(str(replay)).steps
    assert isinstance(again, PruneChannels)
    assert again.units
    list(again.rewrite(second, context))
    assert store.same_graph(first, second, rtol=0, atol=0) is None
