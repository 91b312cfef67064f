"""Rows of the linear problem behind a layer give the layer's outputs back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt.data import synthesize
from onnxopt.graph import attribute, constant
from onnxopt.runtime import open_session
from onnxopt.signature import signature_of
from onnxopt_passes._rows import count_positions, input_rows, mean_row, output_rows
from onnxopt_passes.quantize._rounding import _upper_factor, round_jointly
from onnxopt_passes.quantize._shrinking import shrunk_mean

CONVS = {
    "pads=[0,0,0,0]": (4, 6, 3, 3),
    "pads=[1,0,2,1]": (4, 6, 3, 2),
    "strides=[2,1], dilations=[1,2], pads=[1,1,1,1]": (4, 6, 3, 3),
    'auto_pad="SAME_UPPER", strides=[2,2]': (4, 6, 3, 3),
    'auto_pad="SAME_LOWER", strides=[2,3]': (4, 6, 2, 4),
    "group=2, pads=[1,1,1,1]": (4, 3, 3, 3),
    "group=6, pads=[2,2,2,2]": (6, 1, 5, 5),
    "group=6, strides=[2,2]": (12, 1, 1, 1),
}


@pytest.mark.parametrize("attributes", CONVS)
def test_rows_of_a_conv(attributes: str, make: Callable[..., ir.Model]) -> None:
    shape = CONVS[attributes]
    model = make(
        f"(float[2,6,9,8] x) => (float[n,m,h,k] y) {{ y = Conv<{attributes}>(x, w) }}", w=shape
    )
    node = model.graph[0]
    (sample,) = synthesize(signature_of(model), dims={}, seed=0, samples=1)
    with open_session(model) as session:
        y = session.run(sample.feeds)["y"]
    x = sample.feeds["x"]
    weight, group = np.asarray(constant(node.inputs[1])), int(str(attribute(node, "group", 1)))
    grouped = weight.reshape(group, shape[0] // group, -1)
    positions = np.arange(count_positions(node, y.shape))[::3]
    rows = input_rows(node, x, y.shape, shape[2:], positions)
    made = (rows @ grouped.swapaxes(1, 2)).swapaxes(0, 1).reshape(len(positions), -1)
    np.testing.assert_allclose(made, output_rows(node, y, positions), atol=1e-4)
    mean = mean_row(node, x, y.shape, shape[2:])
    np.testing.assert_allclose(
        np.einsum("gmk,gk->gm", grouped, mean).ravel(), y.mean(axis=(0, 2, 3)), atol=1e-4
    )


def test_rows_of_a_matmul(make: Callable[..., ir.Model]) -> None:
    model = make("(float[2,3,4] x) => (float[2,3,5] y) { y = MatMul(x, w) }", w=(4, 5))
    node, x = model.graph[0], np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    rows = input_rows(node, x, (2, 3, 5), (), np.array([0, 4]))
    np.testing.assert_array_equal(rows[0], x.reshape(6, 4)[[0, 4]])
    np.testing.assert_array_equal(mean_row(node, x, (2, 3, 5), ()), [x.mean(axis=(0, 1))])


@pytest.mark.parametrize("groups", [1, 3])
def test_rounding_jointly_errs_less_than_rounding_to_nearest(groups: int) -> None:
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((groups, 40, 40))
    x = generator.standard_normal((groups, 400, 40)) @ (np.eye(40) + 0.5 * mixing)
    weight = generator.standard_normal((groups, 8, 40))
    scales = np.abs(weight).max(axis=-1) / 127
    moments = x.swapaxes(1, 2) @ x / 400
    joint = round_jointly(weight, scales, moments, 127)
    nearest = np.rint(weight / scales[..., None])

    def error(codes: np.ndarray) -> float:
        left = codes * scales[..., None] - weight
        return float(np.einsum("gmk,gkl,gml->", left, moments, left))

    assert np.abs(joint).max() <= 127
    assert np.array_equal(joint, np.rint(joint))
    assert error(joint) < 0.5 * error(nearest)


def test_rounding_takes_dead_inputs_and_dead_channels() -> None:
    weight = np.array([[[0.5, -0.25, 0.0], [0.0, 0.0, 0.0]]])
    moments = np.diag([1.0, 0.0, 2.0])[np.newaxis]
    codes = round_jointly(weight, np.array([[0.5 / 127, 1.0]]), moments, 127)
    np.testing.assert_array_equal(codes, [[[127, -64, 0], [0, 0, 0]]])


def test_a_mean_is_trusted_as_far_as_samples_agree() -> None:
    sure, unsure = np.full(8, 2.0), np.array([3.0, -3.0] * 4)
    found = shrunk_mean(np.stack([sure, unsure, unsure + 2], axis=1))
    assert found[0] == 2.0
    assert found[1] == 0.0
    assert 0 < found[2] < 2
    assert shrunk_mean(np.array([[5.0]])) == 5.0


def test_the_factor_is_of_the_inverse() -> None:
    inputs = np.random.default_rng(3).standard_normal((2, 300, 150))
    moments = inputs.swapaxes(1, 2) @ inputs / 300
    factor = _upper_factor(moments, 0.01)
    damping = 0.01 * np.diagonal(moments, axis1=1, axis2=2).mean(1)
    damped = moments + damping[:, np.newaxis, np.newaxis] * np.eye(150)
    assert not np.tril(factor, -1).any()
    found = factor.swapaxes(1, 2) @ factor @ damped
    np.testing.assert_allclose(found, [np.eye(150)] * 2, atol=1e-9)
