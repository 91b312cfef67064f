"""Errors of samples: the worst output's, and that of each kind of numbers inside an output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt.comparing import compare
from onnxopt.comparing.fidelity import Fidelity, SampleError, usual_sizes
from onnxopt.comparing.kinds import kinds_of
from onnxopt.data import in_memory

Build = Callable[..., ir.Model]

DETECTOR = """
    g (float[1,3,8,8] x) => (float[1,6,80] y) <
      float[4,3,1,1] box8 = {5, -4, 3, 7, 8, 9, -5, 4, 3, 2, 1, 5},
      float[2,3,1,1] score8 = {0.1, 0.2, -0.1, 0.3, 0.2, 0.1},
      float[4,3,1,1] box4 = {3, 4, 5, -9, 8, 7, 6, 5, -4, 1, 2, 3},
      float[2,3,1,1] score4 = {0.2, -0.3, 0.1, 0.2, 0.1, 0.4},
      int64[3] to_b8 = {1, 4, 64}, int64[3] to_s8 = {1, 2, 64},
      int64[3] to_b4 = {1, 4, 16}, int64[3] to_s4 = {1, 2, 16}
    > {
      b8 = Conv(x, box8)  s8 = Conv(x, score8)
      p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x)
      b4 = Conv(p, box4)  s4 = Conv(p, score4)
      rb8 = Reshape(b8, to_b8)  rs8 = Reshape(s8, to_s8)  c8 = Concat<axis=1>(rb8, rs8)
      rb4 = Reshape(b4, to_b4)  rs4 = Reshape(s4, to_s4)  c4 = Concat<axis=1>(rb4, rs4)
      y = Concat<axis=2>(c8, c4)
    }
"""


@pytest.fixture
def detector(build: Build) -> ir.Model:
    """Boxes and scores of two levels of a pyramid."""
    return build(DETECTOR)


def test_levels_are_of_one_kind_and_boxes_and_scores_are_not(detector: ir.Model) -> None:
    boxes, scores = kinds_of(detector)
    assert boxes.boxes == (((1, 0, 4), (2, 0, 64)), ((1, 0, 4), (2, 64, 80)))
    assert scores.boxes == (((1, 4, 6), (2, 0, 64)), ((1, 4, 6), (2, 64, 80)))
    value = np.arange(6 * 80, dtype=np.float32).reshape(1, 6, 80)
    assert sorted([*boxes.of(value), *scores.of(value)]) == list(range(480))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # behind a permutation and a function of each number
        (
            "(float[2,4] x, float[2,3] z) => (float[7,2] y) { a = Sigmoid(x) b = Exp(z)"
            " c = Concat<axis=-1>(a, b) t = Transpose<perm=[1,0]>(c) y = Tanh(t) }",
            [(((0, 0, 4),),), (((0, 4, 7),),)],
        ),
        # a reshape that keeps the last axis
        (
            "(float[2,3,4] x, float[2,3,2] z) => (float[6,6] y) <int64[2] to = {6, 6}>"
            " { a = Sigmoid(x) b = Exp(z) c = Concat<axis=2>(a, b) y = Reshape(c, to) }",
            [(((1, 0, 4),),), (((1, 4, 6),),)],
        ),
        # one kind
        ("(float[2,4] x, float[2,4] z) => (float[2,8] y) { y = Concat<axis=1>(x, z) }", []),
        # unknown sizes
        (
            "(float[2,A] x, float[2,B] z) => (float[2,C] y) { a = Sigmoid(x) b = Exp(z)"
            " y = Concat<axis=1>(a, b) }",
            [],
        ),
        # a reshape that moves the numbers
        (
            "(float[2,4] x, float[2,2] z) => (float[3,4] y) <int64[2] moved = {3, 4}>"
            " { a = Sigmoid(x) b = Exp(z) c = Concat<axis=1>(a, b) y = Reshape(c, moved) }",
            [],
        ),
        ("(float[2,4] x) => (float[2,4] y) { y = Relu(x) }", []),
    ],
)
def test_kinds_are_found_behind_what_keeps_the_layout(
    text: str, wanted: list[object], build: Build
) -> None:
    assert [kind.boxes for kind in kinds_of(build(f"g {text}"))] == wanted


def test_an_error_that_the_boxes_hide_is_seen(detector: ir.Model) -> None:
    fidelity = Fidelity(detector, {})
    rng = np.random.default_rng(0)
    value = np.concatenate([rng.uniform(50, 90, (1, 4, 80)), rng.uniform(0, 1, (1, 2, 80))], axis=1)
    wrong = value.copy()
    wrong[:, 4:] *= 0.7
    error = fidelity.of({"y": value}, {"y": wrong})
    assert error.outputs is not None
    assert error.outputs < 0.01
    assert error.worst(usual_sizes([error])) == pytest.approx(0.3)


def test_the_scores_of_an_empty_image_count_for_little() -> None:
    """Relative to what scores usually are, not to the noise that is left of them."""
    full, empty = SampleError(0.01, ((0.2, 10.0),)), SampleError(0.01, ((0.2, 0.1),))
    usual = usual_sizes([full, empty])
    assert usual == pytest.approx((np.sqrt(100.01 / 2),))
    assert full.worst(usual) == pytest.approx(0.02)
    assert empty.worst(usual) == pytest.approx(0.2 / usual[0])


def test_comparing_models_looks_into_their_outputs(detector: ir.Model) -> None:
    other = detector.clone()
    for name in ("score8", "score4"):
        value = other.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(0.5), name=name)
    rng = np.random.default_rng(1)
    data = in_memory([{"x": rng.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(4)])
    found = compare(detector, other, data)
    assert found.outputs[0].mean_relative_l2 is not None
    assert found.outputs[0].mean_relative_l2 < 0.1
    assert found.fidelity is not None
    assert 0.4 < found.fidelity.mean <= 0.5


def test_values_of_other_shapes_and_kinds_are_left_to_the_whole_output(detector: ir.Model) -> None:
    fidelity = Fidelity(detector, {})
    value = np.ones((1, 6, 80), np.float32)
    for other in (value[:, :5], value.astype(np.int64), [value]):
        error = fidelity.of({"y": value}, {"y": other})
        assert error.kinds == ((0.0, 0.0), (0.0, 0.0))
        assert error.worst(usual_sizes([error])) == error.outputs
