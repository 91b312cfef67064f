"""Measured noise: gates let through what codes lose; the rest of a model is like the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.calibrate import Range, collect
from onnxopt.comparing import compare_outputs
from onnxopt.comparing.fidelity import worst_output
from onnxopt.data import Dataset, in_memory
from onnxopt.progress import no_progress
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.targets import Int8Scheme, load_target
from onnxopt_passes._trial import Drawn
from onnxopt_passes.quantize import _sensitivity
from onnxopt_passes.quantize._bench import Bench, gate
from onnxopt_passes.quantize._checkpoints import rests_of
from onnxopt_passes.quantize._placement import tensor_names
from onnxopt_passes.quantize._ranges import expected_error, least_error_range, ranges_of
from onnxopt_passes.quantize._units import Unit, find_units

TARGET = load_target("x64-vnni")
CONFIG = SessionConfig(spinning=False)
WEIGHT = ", ".join(f"{0.01 * (7 * i % 13) - 0.05:.2f}" for i in range(64))


def scheme() -> Int8Scheme:
    assert TARGET.int8 is not None
    return TARGET.int8


def model() -> ir.Model:
    return store.from_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,6,6] x) => (float[1,8,6,6] y) '
        f"<float[8,8,1,1] w = {{{WEIGHT}}}> {{"
        "a = Conv(x, w) b = Relu(a) c = Conv(b, w) d = Sin(c) e = Conv(d, w) y = Add(e, b) }"
    )


def samples(count: int = 3) -> Dataset:
    draw = np.random.default_rng(0).standard_normal((count, 1, 8, 6, 6)).astype(np.float32)
    return in_memory({"x": x} for x in draw)


@pytest.fixture
def bench() -> Bench:
    whole = model()
    units = [found for found in find_units(whole, TARGET) if isinstance(found, Unit)]
    statistics = collect(whole, tensor_names(units), samples())
    return Bench(whole, units, ranges_of(statistics, "minmax", 99.99, scheme()), scheme())


def outputs(found: ir.Model, gates: dict[str, float]) -> np.ndarray:
    extra = {name: np.array(value, np.float32) for name, value in gates.items()}
    with open_session(found, CONFIG) as session:
        return np.stack([session.run({**s.feeds, **extra})["y"] for s in samples()])


def error(expected: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    return worst_output(compare_outputs(expected, found, None)) or 0.0


def test_closed_gates_change_nothing_and_open_ones_do(bench: Bench) -> None:
    sources = bench.sources()
    gated = bench.gated(bench.model, sources)
    plain = outputs(bench.model, {})
    closed = {gate(number): 0.0 for number in range(len(sources))}
    np.testing.assert_allclose(outputs(gated, closed), plain, rtol=1e-4, atol=1e-5)
    for number in range(len(sources)):
        noisy = outputs(gated, {**closed, gate(number): 1.0})
        error = np.linalg.norm(noisy - plain) / np.linalg.norm(plain)
        assert 1e-5 < error < 0.05, sources[number]


def test_sources_are_tensors_and_weights_in_graph_order(bench: Bench) -> None:
    found = [f"{source.kind} {source.name}" for source in bench.sources()]
    wanted = ["tensor x", "weight a", "tensor b", "weight c", "tensor c", "tensor d", "weight e"]
    assert [name for name in found if name in wanted] == wanted
    assert "tensor y" in found  # a graph output


def test_noise_is_measured_alike_with_and_without_checkpoints(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [Drawn(sample, 1.0) for sample in samples()]
    with_rests = _sensitivity.measure_noise(bench, drawn, CONFIG, 0.0, no_progress, error)
    monkeypatch.setattr(_sensitivity, "rests_of", lambda *args: rests_of(*args)[:1])
    whole = _sensitivity.measure_noise(bench, drawn, CONFIG, 0.0, no_progress, error)
    assert len(rests_of(bench.model, list(samples()), CONFIG)) > 1
    assert with_rests.tensors == pytest.approx(whole.tensors, rel=1e-2)
    assert with_rests.weights == pytest.approx(whole.weights, rel=1e-2)


def test_many_sources_are_measured_in_stretches(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sensitivity, "MOST_RUNS", 4)
    drawn = [Drawn(sample, 1.0) for sample in samples()]
    noise = _sensitivity.measure_noise(bench, drawn, CONFIG, 0.0, no_progress, error)
    powers = [*noise.tensors.values(), *noise.weights.values()]
    assert all(power > 0 for power in powers)
    assert len(set(powers)) < len(bench.sources())


def test_a_source_of_a_rest_is_in_it(bench: Bench) -> None:
    rests = rests_of(bench.model, list(samples()), CONFIG)
    for rest in rests:
        with open_session(rest.model, CONFIG) as session:
            for feeds, expected in rest.runs:
                found = session.run(feeds)
                assert list(found) == list(expected)
                for name, value in expected.items():
                    np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)


def test_auto_cuts_rare_outliers_off_and_keeps_honest_ranges_whole() -> None:
    generator = np.random.default_rng(0)
    honest = generator.uniform(-1, 1, (1, 8, 6, 6)).astype(np.float32)
    rare = generator.standard_normal((1, 1, 1000, 1000)).astype(np.float32)
    rare[0, 0, 0, 0] = 16.0
    for values, is_cut in ((honest, False), (rare, True)):
        data = in_memory([{"x": values}])
        text = (
            '<ir_version: 8, opset_import: ["" : 17]> g (float[N,C,H,W] x) => (float[N,C,H,W] y) '
            "{ y = Neg(x) }"
        )
        found = collect(store.from_text(text), ["x"], data)["x"]
        whole = Range(found.minimum, found.maximum)
        best = least_error_range(found, scheme())
        kept = (best.high - best.low) / (whole.high - whole.low)
        assert (kept < 0.5) if is_cut else (kept > 0.98)
        assert expected_error(found, best, scheme()) <= expected_error(found, whole, scheme())


def test_expected_error_is_close_to_the_real_one() -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Neg(x) }'
    found = collect(store.from_text(text), ["x"], in_memory([{"x": values}]))["x"]
    step = (found.maximum - found.minimum) / 255
    real = np.mean((np.rint(values / step) * step - values) ** 2)
    whole = Range(found.minimum, found.maximum)
    assert expected_error(found, whole, scheme()) == pytest.approx(real, rel=0.02)
