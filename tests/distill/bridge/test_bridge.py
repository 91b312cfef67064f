"""The module itself: names, weights, intermediate tensors, control flow, refusals, writing back."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import bridging
import judging

from onnxopt import store
from onnxopt.distill import to_torch, unsupported
from onnxopt.errors import DataError, ModelError
from onnxopt.graph import constant

TWO_LAYERS = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x) => (float[2,4] y, float[2,4] z)
<float[3,4] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float[4] b = {1,2,3,4}, float half = {0.5}>
{
  h = MatMul(x, w)
  s = Add(h, b)
  t = Mul(s, half)
  y = Relu(t)
  z = Add(y, b)
}
"""
FEEDS = {"x": np.array([[1, 2, 3], [-4, 5, -6]], np.float32)}


def test_weights_have_their_names_and_are_shared() -> None:
    bridge = to_torch(store.from_text(TWO_LAYERS))
    assert list(bridge.weights) == ["w", "b", "half"]
    assert [name for name, p in bridge.weights.items() if p.requires_grad] == ["w", "b"]
    made = bridge({"x": torch.from_numpy(FEEDS["x"])})
    (made["y"].sum() + made["z"].sum()).backward()
    alive = (made["y"] > 0).sum(0) * 0.5
    torch.testing.assert_close(bridge.weights["b"].grad, 2 * alive + 2)


def test_the_caller_says_what_is_trained() -> None:
    bridge = to_torch(store.from_text(TWO_LAYERS), trainable=lambda name: name == "half")
    assert [name for name, p in bridge.weights.items() if p.requires_grad] == ["half"]


def test_any_tensor_can_be_asked_for() -> None:
    bridge = to_torch(store.from_text(TWO_LAYERS))
    made = bridging.run(bridge, FEEDS, ["s", "x", "w", "y"])
    assert list(made) == ["s", "x", "w", "y"]
    np.testing.assert_allclose(
        made["s"].numpy(), FEEDS["x"] @ made["w"].detach().numpy() + [1, 2, 3, 4], rtol=1e-6
    )
    with pytest.raises(ModelError, match=r"no tensor \['nowhere'\]"):
        bridging.run(bridge, FEEDS, ["nowhere"])


def test_only_what_is_asked_for_is_computed() -> None:
    text = TWO_LAYERS.replace("z = Add(y, b)", "z = Reshape(y, x)")
    model = store.from_text(text)
    assert set(bridging.run(to_torch(model), FEEDS, ["y"])) == {"y"}


def test_missing_and_unknown_inputs_are_named() -> None:
    bridge = to_torch(store.from_text(TWO_LAYERS))
    with pytest.raises(DataError, match=r"lacks \['x'\]"):
        bridge({})
    with pytest.raises(DataError, match=r"unknown \['X'\]"):
        bridge({"x": torch.zeros(2, 3), "X": torch.zeros(2, 3)})


def test_a_failing_node_is_named_with_its_shapes() -> None:
    bridge = to_torch(store.from_text(TWO_LAYERS))
    with pytest.raises(ModelError, match=r"MatMul 'h' failed on inputs float32\[2, 5\], float32"):
        bridge({"x": torch.zeros(2, 5)})


def test_every_unsupported_node_is_named_at_once() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[2] x) => (float[2] y)
    { a = RandomNormalLike(x)
      b = own.Thing(a)
      y = Add(a, b) }"""
    model = store.from_text(text)
    found = unsupported(model)
    assert len(found) == 2
    assert "RandomNormalLike 'a'" in found[0]
    assert "own:Thing 'b'" in found[1]
    with pytest.raises(ModelError, match=r"2 nodes .*RandomNormalLike.*own:Thing"):
        to_torch(model)


def test_old_opsets_are_refused() -> None:
    text = TWO_LAYERS.replace('"" : 17', '"" : 6')
    assert any("opset 6" in line for line in unsupported(store.from_text(text)))


def test_untrained_weights_change_nothing_when_written_back() -> None:
    model = store.from_text(TWO_LAYERS)
    before = store.content_hash(model)
    assert to_torch(model).write_back(model) == []
    assert store.content_hash(model) == before


def test_trained_weights_go_back_by_name() -> None:
    model, other = store.from_text(TWO_LAYERS), store.from_text(TWO_LAYERS)
    bridge = to_torch(model)
    with torch.no_grad():
        bridge.weights["b"].mul_(2)
    assert bridge.write_back(other) == ["b"]
    values = other.graph.initializers
    np.testing.assert_array_equal(constant(values["b"]), [2, 4, 6, 8])
    np.testing.assert_array_equal(constant(values["w"]), constant(model.graph.initializers["w"]))
    wanted = judging.compute(judging.proto_of(other).SerializeToString(), FEEDS)
    found = bridging.run(bridge, FEEDS)
    assert all(bridging.agree(found[name], wanted[name]) for name in wanted)


def test_a_model_of_other_shapes_or_bad_weights_are_refused() -> None:
    bridge = to_torch(store.from_text(TWO_LAYERS))
    other = store.from_text(TWO_LAYERS.replace("float[4] b = {1,2,3,4}", "float[1] b = {1}"))
    with pytest.raises(ModelError, match=r"no constant 'b' of shape \[4\]"):
        bridge.write_back(other)
    with torch.no_grad():
        bridge.weights["b"][0] = float("nan")
    with pytest.raises(ModelError, match="'b' holds NaN"):
        bridge.write_back(store.from_text(TWO_LAYERS))


def test_statistics_and_bounds_are_no_weights() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2,3] x) => (float[1,2,3] y)
    <float[2] s = {1,2}, float[2] b = {0,1}, float[2] m = {0,0}, float[2] v = {1,4},
     float low = {0}, float high = {6}>
    { n = BatchNormalization(x, s, b, m, v)
      y = Clip(n, low, high) }"""
    assert list(to_torch(store.from_text(text)).weights) == ["s", "b"]


LOOP = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x, int64 n, bool up) => (float[2] y, float[k,2] all)
<float[2] w = {2, 3}, bool yes = {1}>
{
  y, all = Loop (n, yes, x) <body = body (int64 i, bool c, float[2] v)
    => (bool d, float[2] made, float[2] row) {
    d = Identity(c)
    made = If (up) <
      then_branch = yes () => (float[2] a) { a = Mul(v, w) },
      else_branch = no () => (float[2] b) { b = Sub(v, x) }
    >
    row = Neg(made)
  }>
}
"""


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_nested_bodies_read_values_from_outside(count: int, up: bool) -> None:
    model = store.from_text(LOOP)
    bridge = to_torch(model)
    feeds = {"x": np.array([1, -2], np.float32), "n": np.array(count), "up": np.array(up)}
    wanted = judging.compute_fed(model, feeds)
    found = bridging.run(bridge, feeds)
    assert all(bridging.agree(found[name], wanted[name]) for name in wanted)


def test_gradients_flow_through_loops() -> None:
    bridge = to_torch(store.from_text(LOOP))
    x = torch.tensor([1.0, -2.0])
    made = bridge({"x": x, "n": torch.tensor(3), "up": torch.tensor(True)})
    made["y"].sum().backward()
    torch.testing.assert_close(bridge.weights["w"].grad, 3 * torch.tensor([4.0, 9.0]) * x)


def test_functions_are_called_with_their_attributes() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "own" : 1]>
    g (float[3] x) => (float[3] y) { t = own.leak <slope = 0.5> (x)
      y = own.leak (t) }
    <domain: "own", opset_import: ["" : 17]>
    leak <slope: float = 0.25> (a) => (b) { c = LeakyRelu <alpha: float = @slope> (a)
      one = Constant <value_float = 1.0> ()
      b = Add(c, one) }"""
    model = store.from_text(text)
    feeds = {"x": np.array([1, -2, -6], np.float32)}
    found = bridging.run(to_torch(model), feeds)
    np.testing.assert_allclose(found["y"].numpy(), [3, 1, 0.5])


def test_the_module_can_change_its_type() -> None:
    bridge = to_torch(store.from_text(LOOP)).double()
    feeds = {"x": torch.ones(2).double(), "n": torch.tensor(2), "up": torch.tensor(True)}
    assert bridge(feeds)["y"].dtype == torch.float64


def test_state_goes_into_another_bridge() -> None:
    model = store.from_text(TWO_LAYERS)
    one, other = to_torch(model), to_torch(model)
    with torch.no_grad():
        one.weights["w"].add_(1)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.weights["w"], other.weights["w"])
