"""The passes that compute upsampled maps and transposed convolutions by phases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
import rewriting
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from onnxopt import store
from onnxopt.errors import OnnxoptError
from onnxopt.graph import all_nodes
from onnxopt.transform import Pass
from onnxopt_passes.fuse.merge_conv_transposes import MergeConvTransposes
from onnxopt_passes.fuse.spell_depth_to_space import SpellDepthToSpace
from onnxopt_passes.fuse.split_conv_over_sum import SplitConvOverSum
from onnxopt_passes.fuse.split_conv_over_upsample import SplitConvOverUpsample
from onnxopt_passes.fuse.split_conv_transpose import SplitConvTranspose

PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
PAIR = st.tuples(st.integers(0, 2), st.integers(0, 2))


class Net:
    """A small network under construction, with random weights."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(seed)
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": opset}, name="g")
        self.feeds: dict[str, np.ndarray] = {}

    def input(
        self, name: str, *shape: int, declared: Sequence[int | str] | None = None
    ) -> ir.Value:
        value = ir.val(name, ir.DataType.FLOAT, list(declared or shape))
        self.graph.inputs.append(value)
        self.feeds[name] = self.rng.normal(size=shape).astype(np.float32)
        return value

    def weight(self, *shape: int) -> ir.Value:
        return self.constant(self.rng.normal(size=shape).astype(np.float32))

    def constant(self, array: np.ndarray) -> ir.Value:
        name = f"k{len(self.graph.initializers)}"
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

    def node(self, op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        node = ir.node(op_type, list(inputs), attributes, num_outputs=1)
        node.outputs[0].name = f"v{len(self.graph)}"
        self.graph.append(node)
        return node.outputs[0]

    def nearest(self, x: ir.Value, factor: int, **attributes: str) -> ir.Value:
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        roi = self.constant(np.zeros(0, np.float32)) if self.opset < 13 else None
        settings = attributes or {
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        return self.node("Resize", x, roi, scales, mode="nearest", **settings)

    def model(self, output: ir.Value) -> ir.Model:
        output.type = ir.TensorType(ir.DataType.FLOAT)
        self.graph.outputs.append(output)
        return ir.Model(self.graph, ir_version=8)


def check(net: Net, model: ir.Model, *steps: Pass, hits: int | None = None) -> ir.Model:
    """Apply passes; all tensors that keep their names stay equal."""
    after, count = model, 0
    for step in steps:
        after, notes = rewriting.apply(step, after)
        count += rewriting.hits(notes)
        _, notes = rewriting.apply(step, after)
        assert not rewriting.hits(notes), "not idempotent"
    if hits is not None:
        assert count == hits
    rewriting.assert_same_names_mean_same_tensors(model, after, net.feeds, atol=1e-5)
    return after


@PATIENT
@given(
    factor=st.integers(2, 4),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    begin=PAIR,
    end=PAIR,
    extra=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    bias=st.booleans(),
)
def test_any_transposed_convolution_by_phases(
    factor: int,
    kernel: tuple[int, int],
    begin: tuple[int, int],
    end: tuple[int, int],
    extra: tuple[int, int],
    bias: bool,
) -> None:
    size = (3, 4)
    spans = zip(size, kernel, begin, end, extra, strict=True)
    assume(all((n - 1) * factor + k - a - b + e > 0 for n, k, a, b, e in spans))
    net = Net()
    x = net.input("x", 2, 3, *size, declared=["n", 3, "h", "w"])
    inputs = [x, net.weight(3, 2, *kernel), *([net.weight(2)] if bias else [])]
    attributes = {
        "strides": [factor, factor],
        "pads": [*begin, *end],
        "output_padding": list(extra),
    }
    model = net.model(net.node("ConvTranspose", *inputs, **attributes))
    try:
        rewriting.tensors(model, net.feeds)
    except OnnxoptError:
        assume(False)
    after = check(net, model, SplitConvTranspose(), SpellDepthToSpace())
    crops_taps = any(a // factor >= -(-k // factor) for k, a in zip(kernel, begin, strict=True))
    if not crops_taps and not any(end):
        assert "ConvTranspose" not in {node.op_type for node in all_nodes(after)}


@PATIENT
@given(
    factor=st.integers(2, 4),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    begin=PAIR,
    end=PAIR,
    bias=st.booleans(),
)
def test_any_conv_over_an_upsampled_image(
    factor: int,
    kernel: tuple[int, int],
    begin: tuple[int, int],
    end: tuple[int, int],
    bias: bool,
) -> None:
    net = Net()
    x = net.input("x", 2, 3, 3, 4, declared=["n", 3, "h", "w"])
    inputs = [net.weight(2, 3, *kernel), *([net.weight(2)] if bias else [])]
    y = net.node("Conv", net.nearest(x, factor), *inputs, pads=[*begin, *end])
    check(net, net.model(y), SplitConvOverUpsample(least=-99), SpellDepthToSpace())


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
@pytest.mark.parametrize("where", ["asymmetric", "half_pixel", "pytorch_half_pixel"])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_only_resizes_that_repeat_positions(factor: int, where: str, rounding: str) -> None:
    net = Net()
    x = net.input("x", 1, 1, 3, 3)
    modes = {"coordinate_transformation_mode": where, "nearest_mode": rounding}
    upsampled = net.nearest(x, factor, **modes)
    model = net.model(net.node("Conv", upsampled, net.weight(1, 1, 3, 3), pads=[1] * 4))
    after = check(net, model, SplitConvOverUpsample())
    (values,) = (v for k, v in rewriting.tensors(model, net.feeds).items() if k == "v0")
    repeats = np.array_equal(values, net.feeds["x"].repeat(factor, 2).repeat(factor, 3))
    split = "DepthToSpace" in {node.op_type for node in all_nodes(after)}
    assert split <= repeats
    assert split or where == "asymmetric" or not rounding.startswith("round")


@pytest.mark.parametrize("declared", [None, ["n", "c", "h", "w"]])
def test_parts_of_a_concat_at_three_resolutions(declared: list[str] | None) -> None:
    net = Net()
    parts = [net.input(f"x{i}", 2, 3, 8 // f, 8 // f) for i, f in enumerate((1, 4, 2, 1))]
    ups = [net.nearest(x, f) if f > 1 else x for x, f in zip(parts, (1, 4, 2, 1), strict=True)]
    y = net.node("Concat", *ups, axis=-3)
    y = net.node("Conv", y, net.weight(4, 12, 3, 3), net.weight(4), pads=[1] * 4)
    check(net, net.model(y), SplitConvOverUpsample(), hits=1)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_three_transposed_convolutions_with_activations(channels: int) -> None:
    net = Net()
    y = net.input("x", 2, 4, 2, 3, declared=["n", 4, "h", "w"])
    for inputs, outputs in ((4, 3), (3, 2)):
        y = net.node(
            "ConvTranspose",
            y,
            net.weight(inputs, outputs, 2, 2),
            net.weight(outputs),
            strides=[2, 2],
        )
        y = net.node("LeakyRelu", net.node("Tanh", y), alpha=0.5)
    y = net.node("Conv", y, net.weight(channels, 2, 1, 1))
    after = check(net, net.model(y), MergeConvTransposes(), SpellDepthToSpace(), hits=2)
    assert sum(node.op_type == "Conv" for node in all_nodes(after)) == 3


def pyramid(net: Net, batch: int, declared: bool, gate: bool, sizes: tuple[int, int]) -> ir.Model:
    """A Conv over the gated low-rank map of one level and the upsampled one above it."""
    names = {"declared": ["n", 2, "h", "w"]} if declared else {}
    above = {"declared": ["n", 8, "hh", "ww"]} if declared else {}
    v = net.input("v", batch, 2, sizes[0], sizes[0], **names)
    x = net.input("x", batch, 8, sizes[1], sizes[1], **above)
    image = net.node("Conv", v, net.weight(8, 2, 1, 1))
    if gate:
        pooled = net.node("GlobalAveragePool", image)
        squeezed = net.node("Relu", net.node("Conv", pooled, net.weight(4, 8, 1, 1), net.weight(4)))
        factor = net.node("Sigmoid", net.node("Conv", squeezed, net.weight(8, 4, 1, 1)))
        image = net.node("Mul", image, factor)
    total = net.node("Add", image, net.nearest(x, 2))
    return net.model(net.node("Conv", total, net.weight(3, 8, 3, 3), net.weight(3), pads=[1] * 4))


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize(("batch", "sizes"), [(1, (4, 2)), (3, (4, 2)), (2, (1, 1)), (1, (1, 2))])
def test_a_feature_pyramid_level(
    gate: bool, declared: bool, batch: int, sizes: tuple[int, int]
) -> None:
    """With sizes (1, …) the sum broadcasts, which the Conv of one operand must follow."""
    net = Net()
    check(net, pyramid(net, batch, declared, gate, sizes), SplitConvOverSum(), hits=1)


@pytest.mark.parametrize("opset", [11, 12, 13, 21])
def test_a_scan_over_samples_at_every_opset(opset: int) -> None:
    net = Net(opset)
    after = check(net, pyramid(net, 2, True, True, (4, 2)), SplitConvOverSum(), hits=1)
    assert "Scan" in {node.op_type for node in all_nodes(after)}
    assert store.serialize(after)


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_of_open_and_empty_sizes(batch: int, size: int, mode: str) -> None:
    net = Net()
    x = net.input("x", batch, 2 * size * size, 3, 5, declared=["n", 2 * size * size, "h", "w"])
    model = net.model(net.node("DepthToSpace", x, blocksize=size, mode=mode))
    after, notes = rewriting.apply(SpellDepthToSpace(), model)
    assert rewriting.hits(notes) == 1
    old, new = rewriting.tensors(model, net.feeds), rewriting.tensors(after, net.feeds)
    np.testing.assert_array_equal(new["v0"], old["v0"])
