from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.comparing import Criteria, compare
from onnxopt.data import Sample, SourceDataset, in_memory, synthesize
from onnxopt.errors import DataError, OnnxoptError
from onnxopt.exactness import Exactness, Tolerance
from onnxopt.metrics import metric
from onnxopt.signature import signature_of

Build = Callable[..., ir.Model]

KEEP = "g (float[1, 3] x) => (float[1, 3] y) { y = Identity(x) }"
SHIFT = "g (float[1, 3] x) => (float[1, 3] y) <float[3] w = {1.1, 1, 1}> { y = Mul(x, w) }"


def labelled(count: int) -> SourceDataset:
    generator = np.random.default_rng(0)
    samples = []
    for index in range(count):
        x = generator.uniform(0.5, 1, (1, 3)).astype(np.float32)
        samples.append(Sample({"x": x}, int(x.argmax()), str(index)))
    return in_memory(samples)


def test_metric_fidelity_and_verdict(build: Build) -> None:
    top1 = metric("top1")
    found = compare(build(KEEP), build(SHIFT), labelled(200), Criteria(metric=top1, limit=0.4))
    assert found.samples == 200
    assert found.metric is not None
    assert found.metric.before == 1
    assert 0.7 < found.metric.after < 1
    assert found.metric.change.mean == pytest.approx(found.metric.after - 1)
    assert found.metric.loss.low < -found.metric.change.mean < found.metric.loss.high
    assert found.verdict is not None
    assert found.verdict.status == "inside"
    assert found.fidelity is not None
    assert 0.02 < found.fidelity.low < found.fidelity.mean < found.fidelity.high < 0.09
    (output,) = found.outputs
    assert output.verdict == "agree"  # no tolerance was given
    assert output.worst_abs < 0.1001
    assert output.mean_cosine is not None
    assert 0.99 < output.mean_cosine < 1
    assert output.argmax_agreement == pytest.approx(found.metric.after)
    assert not found.warnings
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["metric"]["name"] == "top1"
    assert document["reference_run"]["threads"] == 1
    strict = compare(build(KEEP), build(SHIFT), labelled(200), Criteria(metric=top1, limit=0.01))
    assert strict.verdict is not None
    assert strict.verdict.status == "outside"


def test_without_a_metric_fidelity_decides(build: Build) -> None:
    found = compare(build(KEEP), build(SHIFT), labelled(50), Criteria(limit=0.2))
    assert found.verdict is not None
    assert found.verdict.loss == found.fidelity
    assert found.verdict.status == "inside"


def test_tolerance(build: Build) -> None:
    rounding = Criteria(Exactness.ROUNDING.tolerance)
    assert compare(build(KEEP), build(KEEP), labelled(3), Criteria(Tolerance(0, 0))).agrees
    found = compare(build(KEEP), build(SHIFT), labelled(3), rounding)
    assert not found.agrees
    assert found.outputs[0].first_bad_item == "0"
    strict = compare(build(KEEP), build(KEEP), labelled(3), Criteria(Tolerance(0, 0)))
    assert strict.reference_run.optimization == "off"
    assert found.reference_run.optimization == "all"


def test_few_samples_are_no_ground_for_claims(build: Build) -> None:
    found = compare(build(KEEP), build(KEEP), labelled(7), Criteria(limit=0.05))
    assert "7 samples are too few" in found.warnings[0]
    assert found.verdict is not None
    assert found.verdict.status == "undecided"


def test_random_data_and_random_outputs_are_said(build: Build) -> None:
    model = build("g (float[2] x) => (float[2] y) { y = RandomNormalLike(x) }")
    found = compare(model, model, synthesize(signature_of(model), samples=8))
    assert found.agrees
    assert found.fidelity is None
    assert found.warnings[0].startswith("y depends on the random op")
    assert "inputs are random" in found.warnings[1]


def test_integer_outputs_have_a_fidelity_too(build: Build) -> None:
    one = build("g (float[4] x) => (int64[4] y) { y = Cast<to=7>(x) }")
    other = build("g (float[4] x) => (int64[4] y) { r = Round(x) y = Cast<to=7>(r) }")
    data = in_memory([{"x": np.array([0.1, 0.2, 0.7, 0.3], np.float32)}] * 8)
    found = compare(one, other, data)
    assert found.fidelity is not None
    assert found.fidelity.mean == 0.25


def test_an_infinite_error_is_outside_any_budget(build: Build) -> None:
    one = build("g (float[1] x) => (float[1] y) { y = Identity(x) }")
    other = build("g (float[1] x) => (float[1] y) { y = Log(x) }")
    data = in_memory([{"x": np.zeros(1, np.float32)}] * 8)
    found = compare(one, other, data, Criteria(limit=0.5))
    assert found.verdict is not None
    assert found.verdict.status == "outside"
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["fidelity"]["mean"] == "inf"


def test_errors_name_the_sample(build: Build) -> None:
    with pytest.raises(DataError, match="sample 0 has no label"):
        compare(
            build(KEEP),
            build(KEEP),
            in_memory([{"x": np.ones((1, 3), np.float32)}]),
            Criteria(metric=metric("top1")),
        )
    with pytest.raises(OnnxoptError, match="reference, sample 1"):
        wrong = [{"x": np.ones((1, 3), np.float32)}, {"x": np.ones((2, 3), np.float32)}]
        compare(build(KEEP), build(KEEP), in_memory(wrong))
    with pytest.raises(DataError, match="holds no samples"):
        compare(build(KEEP), build(KEEP), in_memory([]))


def test_progress_and_bytes(build: Build) -> None:
    heard: list[tuple[str, int, int]] = []
    compare(
        store.serialize(build(KEEP)),
        build(KEEP),
        labelled(3),
        progress=lambda *step: heard.append(step),
    )
    assert heard == [("compare", done, 3) for done in range(4)]
