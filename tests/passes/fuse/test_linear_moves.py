"""The passes that merge linear steps or let them change places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
import rewriting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxopt.graph import all_nodes, stats
from onnxopt.transform import Pass
from onnxopt_passes.fuse.fold_gate_into_conv import FoldGateIntoConv
from onnxopt_passes.fuse.merge_linear_convs import MergeLinearConvs
from onnxopt_passes.fuse.move_conv_before_resize import MoveConvBeforeResize
from onnxopt_passes.fuse.pool_before_conv import PoolBeforeConv

PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


class Net:
    """A network of one input under construction, with random weights of one type."""

    def __init__(self, shape: Sequence[int], dtype: type = np.float32) -> None:
        self.rng, self.dtype = np.random.default_rng(0), dtype
        data = self.rng.normal(size=shape).astype(dtype)
        self.type = ir.DataType.from_numpy(data.dtype)
        self.x = ir.val("x", self.type, list(shape))
        self.feeds = {"x": data}
        self.graph = ir.Graph([self.x], [], nodes=[], opset_imports={"": 17}, name="g")

    def weight(self, *shape: int, scale: float = 1.0) -> ir.Value:
        return self.constant((scale * self.rng.normal(size=shape)).astype(self.dtype))

    def constant(self, array: np.ndarray) -> ir.Value:
        name = f"k{len(self.graph.initializers)}"
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

    def node(self, op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        node = ir.node(op_type, list(inputs), attributes, num_outputs=1)
        node.outputs[0].name = f"v{len(self.graph)}"
        node.outputs[0].type = ir.TensorType(self.type)
        self.graph.append(node)
        return node.outputs[0]

    def model(self, *outputs: ir.Value) -> ir.Model:
        self.graph.outputs.extend(outputs)
        return ir.Model(self.graph, ir_version=8)


def check(net: Net, model: ir.Model, step: Pass, hits: int | None = None) -> ir.Model:
    after, notes = rewriting.apply(step, model)
    assert hits is None or rewriting.hits(notes) == hits
    rewriting.assert_same_names_mean_same_tensors(model, after, net.feeds)
    return after


@PATIENT
@given(
    channels=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4)),
    kernels=st.sampled_from([(1, 1), (1, 3), (3, 1), (2, 1), (1, 2)]),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    dilation=st.integers(1, 2),
    biases=st.tuples(st.booleans(), st.booleans()),
    rank=st.integers(1, 3),
)
def test_any_two_convs(
    channels: tuple[int, int, int],
    kernels: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int],
    dilation: int,
    biases: tuple[bool, bool],
    rank: int,
) -> None:
    net = Net([2, channels[0], *[9] * rank])
    y = net.x
    for i in range(2):
        bias = [net.weight(channels[i + 1])] if biases[i] else []
        weight = net.weight(channels[i + 1], channels[i], *[kernels[i]] * rank)
        settings = {
            "strides": [strides[i]] * rank,
            "pads": [pads[i]] * (2 * rank),
            "dilations": [dilation] * rank,
        }
        y = net.node("Conv", y, weight, *bias, **settings)
    model = net.model(y)
    after = check(net, model, MergeLinearConvs())
    merged = len(list(all_nodes(after))) == 1
    if strides[1] == 1 and not any(biases):  # then each weight is one product a position
        assert not merged or stats(after).weight_bytes < stats(model).weight_bytes


def test_same_padding_stays_with_the_first_conv() -> None:
    net = Net([1, 2, 7, 7])
    y = net.node("Conv", net.x, net.weight(6, 2, 4, 3), net.weight(6), auto_pad="SAME_UPPER")
    check(net, net.model(net.node("Conv", y, net.weight(2, 6, 1, 1))), MergeLinearConvs(), hits=1)


@pytest.mark.parametrize(("scale", "hits"), [(1.0, 1), (2.0**-12, 0), (2.0**13, 0)])
def test_float16_products_that_do_not_fit_are_refused(scale: float, hits: int) -> None:
    net = Net([1, 2, 3, 3], np.float16)
    y = net.node("Conv", net.x, net.weight(6, 2, 1, 1, scale=scale))
    model = net.model(net.node("Conv", y, net.weight(2, 6, 1, 1, scale=scale)))
    _, notes = rewriting.apply(MergeLinearConvs(), model)
    assert rewriting.hits(notes) == hits
    assert hits or "do not fit float16" in notes[0].reason


def test_weights_keep_their_type() -> None:
    net = Net([1, 2, 3, 3], np.float64)
    y = net.node("Conv", net.x, net.weight(6, 2, 1, 1), net.weight(6))
    y = net.node("Conv", y, net.weight(2, 6, 1, 1))
    after, notes = rewriting.apply(MergeLinearConvs(), net.model(y))  # no kernel to run it with
    assert rewriting.hits(notes) == 1
    assert {value.dtype for value in after.graph.initializers.values()} == {ir.DataType.DOUBLE}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("pool", ["GlobalAveragePool", "ReduceMean"])
def test_a_mean_of_linear_steps(rank: int, pool: str) -> None:
    net = Net([2, 4, *[5] * rank])
    y = net.node("Conv", net.x, net.weight(6, 2, *[1] * rank), net.weight(6), group=2)
    y = net.node("Sub", net.weight(6, *[1] * rank), y)
    y = net.node("Relu", y)
    y = net.node("Conv", y, net.weight(3, 6, *[1] * rank))
    y = net.node("BatchNormalization", y, *(net.constant(np.ones(3, np.float32)) for _ in range(4)))
    attributes = {"axes": list(range(2, 2 + rank))} if pool == "ReduceMean" else {}
    after = check(net, net.model(net.node(pool, y, **attributes)), PoolBeforeConv(), hits=2)
    assert [node.op_type for node in all_nodes(after)].index(pool) == 3


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("where", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("scale", [0.5, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("by_sizes", [False, True])
def test_a_pointwise_conv_and_any_resize(
    mode: str, where: str, scale: float, by_sizes: bool
) -> None:
    net = Net([1, 4 if scale > 1 else 2, 4, 6])
    scales = net.constant(np.array([1, 1, scale, scale], np.float32))
    settings = {"mode": mode, "coordinate_transformation_mode": where}

    def resize(x: ir.Value, channels: int) -> ir.Value:
        if not by_sizes:
            return net.node("Resize", x, None, scales, **settings)
        sizes = np.array([1, channels, 4 * scale, 6 * scale], np.int64)
        x.shape = ir.Shape([1, channels, 4, 6])
        return net.node("Resize", x, None, None, net.constant(sizes), **settings)

    if scale > 1:
        y = net.node("Conv", resize(net.x, 4), net.weight(2, 4, 1, 1), net.weight(2))
    else:
        y = resize(net.node("Conv", net.x, net.weight(4, 2, 1, 1), net.weight(4)), 4)
    check(net, net.model(y), MoveConvBeforeResize(), hits=1)


def test_extrapolation_does_not_commute_with_a_bias() -> None:
    net = Net([1, 4, 4, 4])
    roi = net.constant(np.array([0, 0, 0, 0, 1, 1, 2, 2], np.float32))
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    where = "tf_crop_and_resize"
    y = net.node("Resize", net.x, roi, scales, mode="linear", coordinate_transformation_mode=where)
    model = net.model(net.node("Conv", y, net.weight(2, 4, 1, 1), net.weight(2)))
    check(net, model, MoveConvBeforeResize(), hits=0)


@pytest.mark.parametrize("gates", [1, 6])
def test_a_gate_for_all_channels_at_once_stays(gates: int) -> None:
    net = Net([2, 3, 4, 4])
    pooled = net.node("GlobalAveragePool", net.x)
    gate = net.node("Sigmoid", net.node("Conv", pooled, net.weight(gates, 3, 1, 1)))
    y = net.node("Mul", net.node("Conv", net.x, net.weight(6, 3, 1, 1)), gate)
    check(net, net.model(y), FoldGateIntoConv(), hits=int(gates == 6))
