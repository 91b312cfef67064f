"""Training through Q/DQ: codes, straight-through gradients, learned scales, writing back."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import bridging
import judging

from onnxopt import store
from onnxopt.distill import to_torch
from onnxopt.errors import ModelError
from onnxopt.graph import constant

ROUND = """<ir_version: 8, opset_import: ["" : 17]>
g (float[4] x) => (float[4] y) <float s = {0.5}, int8 z = {3}>
{ q = QuantizeLinear(x, s, z)
  y = DequantizeLinear(q, s, z) }"""

LAYER = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x) => (float[2,2] y)
<float xs = {0.1}, uint8 xz = {100}, int8[2,3] w = {10,-20,30,40,0,-128},
 float[2] ws = {0.5, 0.25}, int8[2] wz = {0, 0}, int32[2] b = {8, -10}, float[2] bs = {0.05, 0.025}>
{ xq = QuantizeLinear(x, xs, xz)
  xd = DequantizeLinear(xq, xs, xz)
  wd = DequantizeLinear<axis=0>(w, ws, wz)
  bd = DequantizeLinear<axis=0>(b, bs)
  y = Gemm<transB=1>(xd, wd, bd) }"""
FEEDS = {"x": np.array([[0.31, -2, 7], [0.5, 12, -11]], np.float32)}


def test_gradients_pass_where_nothing_is_clipped() -> None:
    bridge = to_torch(store.from_text(ROUND))
    x = torch.tensor([0.3, 61.0, 63.0, -66.0], requires_grad=True)
    y = bridge({"x": x})["y"]
    assert y.tolist() == [0.5, 61.0, 62.0, -65.5]
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 0, 0]


def test_a_learned_scale_gets_its_published_gradient() -> None:
    bridge = to_torch(store.from_text(ROUND), trainable=lambda name: name == "s")
    assert bridge.scales == {"s"}
    x = torch.tensor([0.3, 61.0, 63.0, -66.0])
    bridge({"x": x})["y"].sum().backward()
    inside = (x[:2] / 0.5).round() - x[:2] / 0.5
    wanted = (float(inside.sum()) + 124 - 131) / math.sqrt(1 * 127)
    assert float(bridge.weights["s"].grad) == pytest.approx(wanted, rel=1e-5)


def test_integer_weights_are_trained_as_what_they_stand_for() -> None:
    model = store.from_text(LAYER)
    bridge = to_torch(model)
    assert [name for name, p in bridge.weights.items() if p.requires_grad] == ["w", "b"]
    np.testing.assert_allclose(
        bridge.weights["w"].detach().numpy(), [[5, -10, 15], [10, 0, -32]], rtol=1e-6
    )
    wanted = judging.compute_fed(model, FEEDS)["y"]
    assert bridging.agree(bridging.run(bridge, FEEDS)["y"], wanted)


def test_untrained_codes_stay_to_the_bit() -> None:
    model = store.from_text(LAYER)
    before = store.content_hash(model)
    assert to_torch(model, trainable=lambda name: True).write_back(model) == []
    assert store.content_hash(model) == before


def test_trained_codes_are_written_back_rounded() -> None:
    model = store.from_text(LAYER)
    bridge = to_torch(model)
    with torch.no_grad():
        bridge.weights["w"] += torch.tensor([[0.3, 0.2, 500.0], [0.0, 0.2, 0.0]])
    found = bridging.run(bridge, FEEDS)["y"]
    assert bridge.write_back(model) == ["w"]
    codes = constant(model.graph.initializers["w"])
    assert codes is not None and codes.dtype == np.int8
    np.testing.assert_array_equal(codes, [[11, -20, 127], [40, 1, -128]])
    assert bridging.agree(found, judging.compute_fed(model, FEEDS)["y"])


def test_biases_follow_the_scales_of_their_layer() -> None:
    model = store.from_text(LAYER)
    bridge = to_torch(model, trainable=lambda name: True)
    with torch.no_grad():
        bridge.weights["xs"].mul_(2)
    found = bridging.run(bridge, FEEDS)["y"]
    assert set(bridge.write_back(model)) == {"xs", "bs", "b"}
    values = model.graph.initializers
    np.testing.assert_allclose(constant(values["bs"]), [0.1, 0.05], rtol=1e-6)
    np.testing.assert_array_equal(constant(values["b"]), [4, -5])
    wanted = judging.compute_fed(model, FEEDS)["y"]
    np.testing.assert_allclose(found.numpy(), wanted, atol=0.06)


def test_a_scale_that_is_not_positive_is_refused() -> None:
    model = store.from_text(LAYER)
    bridge = to_torch(model, trainable=lambda name: True)
    with torch.no_grad():
        bridge.weights["ws"][0] = -1.0
    with pytest.raises(ModelError, match="scale 'ws' is not positive"):
        bridge.write_back(model)


def test_codes_are_integers_at_the_outputs_only() -> None:
    text = ROUND.replace("(float[4] y)", "(float[4] y, int8[4] q)")
    bridge = to_torch(store.from_text(text))
    x = torch.tensor([0.3, 61.0, 63.0, -66.0])
    assert bridge({"x": x})["q"].dtype == torch.int8
    inside = to_torch(store.from_text(ROUND))({"x": x}, ["q"])["q"]
    assert inside.dtype == torch.float32
    assert inside.tolist() == [4, 125, 127, -128]
