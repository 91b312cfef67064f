"""Collecting: right values, bit-equal in any order, the caller's model untouched, a sound cache."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt import store
from onnxopt.calibrate import (
    Detail,
    Range,
    RangeMethod,
    Statistics,
    collect,
    collecting,
    detail_for,
    merge,
    storage,
    tensor_sizes,
    value_range,
)
from onnxopt.calibrate.spreading import spread
from onnxopt.data import Sample, in_memory
from onnxopt.errors import DataError

WEIGHT = ", ".join(f"{v:.3f}" for v in np.random.default_rng(1).standard_normal(54))
CONV_NET = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,2,H,W] x, int64[1] k) => (float[1,3,H,W] y)
<float[3,2,3,3] w = {WEIGHT}, float[3] b = {0.5, -0.25, 0}>
{
    c = Conv<pads = [1, 1, 1, 1]>(x, w, b)
    r = Relu(c)
    n = Cast<to = 7>(r)
    y = Sqrt(r)
}
""".replace("WEIGHT", WEIGHT)
SQUARE = ", ".join(f"{v:.3f}" for v in np.random.default_rng(2).standard_normal(64))
SCALED_NET = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8,9,9] x) => (float[1,8,9,9] y) <float[8,8,1,1] w = {SQUARE}, float k = {0.7}>
{ a = Conv(x, w) b = Mul(a, k) c = Add(b, k) y = Conv(c, w) }
""".replace("SQUARE", SQUARE)
BRANCH = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x, bool p) => (float[2] y)
{
    y = If (p) <
        then_branch = t () => (float[2] a) { inner = Neg(x) a = Exp(inner) },
        else_branch = e () => (float[2] b) { b = Identity(x) }
    >
}
"""


@pytest.fixture(scope="module")
def net() -> ir.Model:
    return store.from_text(CONV_NET)


def samples(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(seed)
    sizes = [(4 + i % 3, 5 + i % 2) for i in range(count)]  # ragged on purpose
    return [
        {
            "x": generator.standard_normal((1, 2, *size)).astype(np.float32),
            "k": np.array([3], np.int64),
        }
        for size in sizes
    ]


def test_values_are_those_of_the_model(net: ir.Model) -> None:
    feeds = samples(5)
    found = collect(net, ["x", "c", "r", "y"], in_memory(feeds))
    x = np.concatenate([feed["x"].ravel() for feed in feeds])
    assert (found["x"].minimum, found["x"].maximum) == (x.min(), x.max())
    assert found["r"].minimum == 0.0
    assert found["r"].maximum == found["c"].maximum
    assert found["y"].maximum == pytest.approx(np.sqrt(found["r"].maximum), rel=1e-6)
    assert found["c"].count == sum(feed["x"].size // 2 * 3 for feed in feeds)
    assert found.samples == 5


def test_the_callers_model_is_left_alone(net: ir.Model) -> None:
    before = store.content_hash(net)
    collect(net, ["c"], in_memory(samples(2)))
    assert store.content_hash(net) == before


@settings(max_examples=15, deadline=None)
@given(
    st.permutations(range(6)), st.integers(1, 5), st.sampled_from([1, 2]), st.sampled_from([1, 3])
)
def test_order_shards_threads_and_workers_change_nothing(
    order: list[int], cut: int, threads: int, workers: int
) -> None:
    model = store.from_text(CONV_NET)
    feeds = samples(6)
    shuffled = [feeds[i] for i in order]
    names = ["x", "c", "y"]
    whole = collect(model, names, in_memory(feeds))
    shards = [
        collect(model, names, in_memory(part), threads=threads, workers=workers)
        for part in (shuffled[:cut], shuffled[cut:])
    ]
    assert merge(shards[0], shards[1]) == whole


def test_groups_of_tensors_change_nothing(net: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    data, names = in_memory(samples(4)), ["x", "c", "r", "y"]
    whole = collect(net, names, data)
    monkeypatch.setattr(collecting, "_GROUP_ELEMENTS", 70)
    seen: list[int] = []
    grouped = collect(net, names, data, progress=lambda what, done, total: seen.append(total))
    assert grouped == whole
    assert seen[0] > 4  # more than one run of the data


def test_samples_run_at_once_as_far_as_memory_allows(
    net: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, names = in_memory(samples(5)), ["x", "c", "r", "y"]
    whole = collect(net, names, data)
    at_once: list[int] = []

    def noted(items: Any, states: Any, *more: Any) -> None:
        at_once.append(len(states))
        spread(items, states, *more)

    monkeypatch.setattr(collecting, "spread", noted)
    seen: list[tuple[int, int]] = []
    found = collect(
        net, names, data, workers=3, progress=lambda what, done, total: seen.append((done, total))
    )
    assert found == whole
    assert seen == [(done, 5) for done in range(1, 6)]
    elements = sum(tensor_sizes(net, ["c", "r", "y"], data).values())
    monkeypatch.setattr(collecting, "_GROUP_ELEMENTS", 2 * elements + elements // 2)
    assert collect(net, names, data, workers=3) == whole
    assert at_once == [3, 2]


def test_a_bad_sample_among_those_that_run_at_once_is_named(net: ir.Model) -> None:
    good = [Sample(feeds, None, str(n)) for n, feeds in enumerate(samples(4))]
    bad = Sample({"x": np.ones((1, 5, 4, 4), np.float32), "k": np.array([1])}, None, "picture.png")
    with pytest.raises(DataError, match=r"picture\.png"):
        collect(net, ["c"], in_memory([*good, bad, *good]), workers=2)


def test_what_cannot_be_had_is_skipped_with_a_reason(net: ir.Model) -> None:
    found = collect(net, ["c", "w", "n", "k", "nowhere"], in_memory(samples(2)))
    assert list(found) == ["c"]
    assert found.skipped["w"] == "it is a weight"
    assert found.skipped["nowhere"] == "the model has no such tensor"
    assert {"n", "k"} <= set(found.skipped)


def test_tensors_of_subgraphs_are_skipped() -> None:
    feeds = [{"x": np.ones(2, np.float32), "p": np.array(True)}]
    found = collect(store.from_text(BRANCH), ["inner", "y"], in_memory(feeds))
    assert found["y"].maximum == pytest.approx(np.exp(-1))
    assert found.skipped == {"inner": "it is inside a subgraph or function"}


def test_not_finite_values_are_counted_apart() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[3] x) => (float[3] y) { y = Log(x) }'
    feeds = [{"x": np.array([-1, 0, 1], np.float32)}]
    found = collect(store.from_text(text), ["y"], in_memory(feeds))["y"]
    assert (found.nan_count, found.inf_count, found.minimum, found.maximum) == (1, 1, 0.0, 0.0)


def test_no_samples_is_a_data_error(net: ir.Model) -> None:
    with pytest.raises(DataError, match="no samples"):
        collect(net, ["c"], in_memory([]))


def test_a_sample_that_does_not_fit_is_named(net: ir.Model) -> None:
    bad = Sample({"x": np.ones((1, 5, 4, 4), np.float32), "k": np.array([1])}, None, "picture.png")
    with pytest.raises(DataError, match=r"picture\.png"):
        collect(net, ["c"], in_memory([bad]))


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 5))
def test_extrema_and_channels_do_not_depend_on_order_either(order: list[int], cut: int) -> None:
    model = store.from_text(CONV_NET)
    feeds = samples(6)
    what = Detail(histogram=False, channels={"c": 1, "x": 1})
    whole = collect(model, ["y"], in_memory(feeds), what=what)
    parts = (in_memory([feeds[i] for i in part]) for part in (order[:cut], order[cut:]))
    shards = [collect(model, ["y"], part, what=what, threads=2) for part in parts]
    assert merge(*shards) == merge(*shards[::-1]) == whole
    assert list(whole) == ["c", "x", "y"]
    assert not whole["c"].has_histogram


def test_channels_are_those_of_the_model(net: ir.Model) -> None:
    feeds = samples(3)
    found = collect(net, ["y"], in_memory(feeds), what=Detail(channels={"x": 1, "c": 2, "k": 0}))
    x = found["x"].channels
    assert x is not None
    values = [np.concatenate([feed["x"][0, i].ravel() for feed in feeds]) for i in (0, 1)]
    assert x.maximum.tolist() == [value.max() for value in values]
    assert x.means() == pytest.approx([value.mean(dtype=float) for value in values], rel=1e-12)
    assert found["c"].channels is not None
    assert not found["c"].channels.fits  # heights are ragged
    assert found["y"].channels is None
    assert "k" in found.skipped


def test_methods_that_need_less_get_the_same_ranges(net: ir.Model) -> None:
    data = in_memory(samples(4))
    whole = collect(net, ["c", "y"], data)
    for method in ("minmax", "average"):
        part = collect(net, ["c", "y"], data, what=detail_for(method))
        assert all(value_range(part[n], method) == value_range(whole[n], method) for n in part)
        assert part.nbytes == 0 < whole.nbytes


def test_the_average_is_over_samples(net: ir.Model) -> None:
    feeds = samples(5)
    found = value_range(collect(net, ["x"], in_memory(feeds))["x"], "average")
    lows = [float(feed["x"].min()) for feed in feeds]
    assert found.low == math.fsum(lows) / 5
    assert found.high == math.fsum(float(feed["x"].max()) for feed in feeds) / 5


def test_richer_statistics_serve_poorer_requests(net: ir.Model, tmp_path: Path) -> None:
    data, seen = in_memory(samples(3)), []

    def ask(what: Detail) -> Statistics:
        return collect(
            net, ["c", "x"], data, what=what, cache=tmp_path, progress=lambda *at: seen.append(at)
        )

    poor, middle = Detail(histogram=False), Detail(histogram=False, channels={"c": 1})
    for what, runs in ((poor, 1), (middle, 2), (poor, 2), (Detail(), 3), (middle, 3), (poor, 3)):
        assert ask(what) == collect(net, ["c", "x"], data, what=what)
        assert len(seen) == 3 * runs
    assert len(list(tmp_path.rglob("*.npz"))) == 1
    assert ask(Detail(channels={"c": 0})) == collect(
        net, ["c", "x"], data, what=Detail(channels={"c": 0})
    )


def test_few_samples_are_warned_of(net: ir.Model) -> None:
    assert "3 samples" in collect(net, ["c"], in_memory(samples(3))).warnings[0]
    assert not collect(net, ["c"], in_memory(samples(16))).warnings


def test_not_finite_inputs_are_counted_and_the_ranges_stay_finite(net: ir.Model) -> None:
    feeds = samples(2)
    feeds[1]["x"][0, 0, 0, 0] = np.nan
    feeds[1]["x"][0, 1, 0, 0] = np.inf
    found = collect(net, ["c"], in_memory(feeds), what=Detail(channels={"x": 1, "c": 1}))
    assert not found["x"].is_finite
    assert (found["x"].nan_count, found["x"].inf_count) == (1, 1)
    assert found["c"].nan_count > 0
    assert not found["c"].is_finite
    channels = found["x"].channels
    assert channels is not None
    assert channels.counts.tolist() == [feeds[0]["x"].size / 2 + feeds[1]["x"].size / 2 - 1] * 2
    assert np.all(np.isfinite([channels.minimum, channels.maximum, channels.means()]))
    for name in found:
        for method in get_args(RangeMethod):
            values = value_range(found[name], method)
            assert math.isfinite(values.low)
            assert math.isfinite(values.high)


def test_constant_tensors_and_dead_channels(net: ir.Model) -> None:
    feeds = [{"x": np.zeros((1, 2, 4, 4), np.float32), "k": np.array([3], np.int64)}] * 2
    found = collect(net, ["x", "c"], in_memory(feeds), what=Detail(channels={"c": 1}))
    assert found["x"].minimum == found["x"].maximum == 0
    channels = found["c"].channels
    assert channels is not None
    assert channels.means().tolist() == [0.5, -0.25, 0.0]
    assert (channels.minimum[2], channels.maximum[2]) == (0, 0)


def test_tensors_without_elements_are_empty_not_an_error() -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,2] x) => (float[N,2] y) { y = Neg(x) }'
    )
    feeds = [{"x": np.zeros((0, 2), np.float32)}]
    found = collect(store.from_text(text), ["y"], in_memory(feeds), what=Detail(channels={"y": 1}))
    assert (found["y"].count, found["y"].is_finite) == (0, False)
    assert value_range(found["y"], "mse") == Range(0.0, 0.0)


def test_groups_leave_the_fusions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that the runtime puts into a Conv rounds otherwise than one that is looked at."""
    model = store.from_text(SCALED_NET)
    rng = np.random.default_rng(0)
    data = in_memory([{"x": rng.standard_normal((1, 8, 9, 9)).astype(np.float32)}])
    names = ["a", "b", "c", "y"]
    whole = collect(model, names, data)
    monkeypatch.setattr(collecting, "_GROUP_ELEMENTS", 8 * 81)
    assert collect(model, names, data) == whole


def test_a_second_call_reads_the_cache(net: ir.Model, tmp_path: Path) -> None:
    data, seen = in_memory(samples(3)), []

    def progress(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))

    first = collect(net, ["c", "x", "w"], data, cache=tmp_path, progress=progress)
    assert seen[-1] == ("calibrate", 3, 3)
    second = collect(net, ["x", "c", "w"], data, cache=tmp_path, progress=progress)
    assert second == first
    assert len(seen) == 3
    assert [p.suffix for p in tmp_path.rglob("*") if p.is_file()] == [".npz"]


def test_other_data_names_or_weights_have_their_own_entry(net: ir.Model, tmp_path: Path) -> None:
    collect(net, ["c"], in_memory(samples(2)), cache=tmp_path)
    collect(net, ["r"], in_memory(samples(2)), cache=tmp_path)
    collect(net, ["c"], in_memory(samples(2, seed=1)), cache=tmp_path)
    other = net.clone()
    other.graph.initializers["b"].const_value = ir.tensor(np.ones(3, np.float32), name="b")
    collect(other, ["c"], in_memory(samples(2)), cache=tmp_path)
    assert len(list(tmp_path.rglob("*.npz"))) == 4


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "rubbish", "other"])
def test_a_damaged_cache_file_is_made_again(net: ir.Model, tmp_path: Path, damage: str) -> None:
    data = in_memory(samples(2))
    first = collect(net, ["c"], data, cache=tmp_path)
    (file,) = tmp_path.rglob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    spoiled = {
        "cut": file.read_bytes()[:-40],
        "flip": bytes(content),
        "empty": b"",
        "rubbish": b"not a zip file at all",
    }
    if damage == "other":
        np.savez(file, head=np.zeros(3))
    else:
        file.write_bytes(spoiled[damage])
    assert collect(net, ["c"], data, cache=tmp_path) == first
    assert collect(net, ["c"], data, cache=tmp_path) == first


def test_sizes_are_those_of_the_first_sample(net: ir.Model) -> None:
    found = tensor_sizes(net, ["x", "c", "y", "w", "nowhere"], in_memory(samples(2)))
    assert found == {"x": 2 * 4 * 5, "c": 3 * 4 * 5, "y": 3 * 4 * 5}


def test_the_cache_is_capped_and_the_oldest_go_first(tmp_path: Path) -> None:
    import os

    for age, name in enumerate(("new", "middle", "old")):
        path = tmp_path / f"{name}.npz"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    storage.prune(tmp_path, most_bytes=250)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["middle", "new"]
