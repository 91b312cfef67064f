"""Two stateful models side by side: each in its own state, or both in the reference's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt.calibrate import collect, storage
from onnxopt.comparing import Criteria, Unroller, check_equivalence, compare
from onnxopt.data import Sample, SourceDataset, State, in_memory
from onnxopt.exactness import Exactness, Tolerance
from onnxopt.metrics import metric
from onnxopt.signature import signature_of

Build = Callable[..., ir.Model]
PAIRS = {"h": "hn"}
GROW = """g (float[1, 2] x, float[1, 2] h) => (float[1, 2] y, float[1, 2] hn)
<float k = {FACTOR}> { m = Mul(h, k) hn = Add(m, x) y = Identity(hn) }"""


def grow(build: Build, factor: float) -> ir.Model:
    return build(GROW.replace("FACTOR", str(factor)))


def sequences(items: int = 4, length: int = 5) -> SourceDataset:
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 1, (items * length, 1, 2)).astype(np.float32)
    labels = rng.integers(2, size=items * length)
    return in_memory(
        Sample({"x": value}, int(label), f"item{at // length}")
        for at, (value, label) in enumerate(zip(values, labels, strict=True))
    )


def unroller(model: ir.Model, pairs: dict[str, str] | None = None) -> Unroller:
    return Unroller(model, State(signature_of(model), pairs or PAIRS))


def final(factor: float, length: int = 5) -> float:
    """The first value of the last output of the first sequence, by hand."""
    total = 0.0
    for sample in list(sequences())[:length]:
        total = factor * total + float(sample.feeds["x"][0, 0])
    return total


def test_each_model_runs_in_its_own_state(build: Build) -> None:
    model, other = grow(build, 2), grow(build, 2.01)
    steps = unroller(model).unroll(sequences())
    found = compare(model, other, steps.take([4]))
    assert found.samples == 1
    assert found.outputs[0].worst_abs == pytest.approx(final(2.01) - final(2), rel=0.2)
    assert found.fidelity is not None
    assert found.fidelity.mean == pytest.approx(final(2.01) / final(2) - 1, rel=0.2)
    whole = compare(model, other, steps, Criteria(metric=metric("top1")))
    assert whole.samples == 20
    assert whole.fidelity is not None and whole.fidelity.mean < found.fidelity.mean
    assert whole.metric is not None


def test_a_tolerance_is_judged_from_the_reference_s_state(build: Build) -> None:
    model, other = grow(build, 2), grow(build, 2.01)
    steps = unroller(model).unroll(sequences(2, 12))
    one_step = Tolerance(0.0, 0.005)  # 2.01 h + x against 2 h + x
    found = compare(model, other, steps, Criteria(one_step))
    assert found.agrees
    assert found.fidelity is not None and found.fidelity.high > one_step.rtol
    assert not compare(model, grow(build, 2.1), steps, Criteria(one_step)).agrees


def test_outputs_that_nobody_reads_do_not_count(build: Build) -> None:
    body = """g (float[1, 2] x, float[1, 2] h) => (float[1, 2] y, float[1, 2] hn)
    <float k = {FACTOR}> { hn = Mul(x, k) y = Identity(x) }"""
    model, other = (build(body.replace("FACTOR", factor)) for factor in "23")
    found = compare(model, other, unroller(model).unroll(sequences()))
    assert found.fidelity is not None and found.fidelity.mean == 0
    assert found.outputs[1].worst_relative_l2 == pytest.approx(0.5)
    both = State(signature_of(model), {"x": "y", "h": "hn"})
    bare = in_memory(Sample({}, None, "a") for _ in range(8))
    assert compare(model, other, Unroller(model, both).unroll(bare)).fidelity is not None


def test_equivalence_feeds_both_the_same_state(build: Build) -> None:
    model = grow(build, 2)
    steps = unroller(model).unroll(sequences())
    assert check_equivalence(model, grow(build, 2), steps, Exactness.BITWISE).agrees
    found = check_equivalence(model, grow(build, 2.1), steps, Exactness.ROUNDING)
    assert not found.agrees
    assert found.culprit is not None
    assert set(found.culprit.feeds) == {"x", "h"}
    assert np.any(found.culprit.feeds["h"])


def test_statistics_are_those_of_real_sequences(build: Build, tmp_path: Path) -> None:
    model = grow(build, 2)
    steps = unroller(model).unroll(sequences())
    found = collect(model, ["h", "hn"], steps, cache=tmp_path)
    expected = [sample.feeds["h"] for sample in steps]
    assert found["h"].maximum == pytest.approx(float(np.max(expected)))
    assert found["h"].minimum == 0
    assert found["hn"].maximum > 10
    # the original's states, whatever the model is by now
    assert collect(grow(build, 0.1), ["h"], steps)["h"].maximum == found["h"].maximum
    paths = {
        storage.path_for(tmp_path, model, ["h"], unroller(model, pairs).unroll(sequences()))
        for pairs in ({"h": "hn"}, {"h": "y"})
    }
    assert len(paths) == 2
