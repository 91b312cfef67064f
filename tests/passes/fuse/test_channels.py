"""The passes that give Convs channels in multiples of four."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import rewriting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxopt.graph import all_nodes
from onnxopt.transform import Pass
from onnxopt_passes.fuse.align_channels import AlignChannels
from onnxopt_passes.fuse.pad_odd_channels import PadOddChannels

PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LAYERS = ["Conv", "Conv", "Depthwise", "Gate", "Residual", "Scale", "PRelu", "Output"]
STAGES = st.sampled_from([*LAYERS, "Abs", "HardSwish", "MaxPool", "Relu", "Sigmoid"])


class Chain:
    """A small network whose channels change with each Conv."""

    def __init__(self, seed: int, channels: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": 17}, name="g")
        self.value = ir.val("x", ir.DataType.FLOAT, [1, channels, "h", "w"])
        self.graph.inputs.append(self.value)
        self.feeds = {"x": self._numbers(1, channels, 5, 6)}
        self.channels = channels

    def _numbers(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape).astype(np.float32)

    def weight(self, *shape: int) -> ir.Value:
        name = f"k{len(self.graph.initializers)}"
        value = ir.val(name, const_value=ir.tensor(self._numbers(*shape), name=name))
        self.graph.register_initializer(value)
        return value

    def node(self, op_type: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        node = ir.node(op_type, list(inputs), attributes, num_outputs=1)
        node.outputs[0].name = f"v{len(self.graph)}"
        self.graph.append(node)
        return node.outputs[0]

    def conv(self, outputs: int, window: int, value: ir.Value | None = None) -> ir.Value:
        weight = self.weight(outputs, self.channels, window, window)
        pads = [window // 2] * 4
        return self.node("Conv", value or self.value, weight, self.weight(outputs), pads=pads)

    def output(self, value: ir.Value) -> None:
        value.type = ir.TensorType(ir.DataType.FLOAT)
        if not value.is_graph_output():
            self.graph.outputs.append(value)

    def add(self, stage: str, outputs: int) -> None:
        """Let the chain go on by one stage."""
        x, channels = self.value, self.channels
        if stage == "Conv":
            self.value, self.channels = self.conv(outputs, 1 + 2 * (outputs % 2)), outputs
        elif stage == "Depthwise":
            weight = self.weight(channels, 1, 3, 3)
            self.value = self.node("Conv", x, weight, pads=[1] * 4, group=channels)
        elif stage == "Gate":
            few = self.conv(outputs, 1, self.node("GlobalAveragePool", x))
            back = self.node("Conv", few, self.weight(channels, outputs, 1, 1))
            self.value = self.node("Mul", x, self.node("Sigmoid", back))
        elif stage == "Residual":
            self.value = self.node("Add", x, self.conv(channels, 3))
        elif stage in ("Scale", "PRelu"):
            op_type = "Mul" if stage == "Scale" else "PRelu"
            self.value = self.node(op_type, x, self.weight(channels, 1, 1))
        elif stage == "MaxPool":
            self.value = self.node("MaxPool", x, kernel_shape=[2, 2], pads=[1, 1, 0, 0])
        elif stage == "Output" and not x.is_graph_input():
            self.output(x)
        elif stage != "Output":
            self.value = self.node(stage, x)

    def model(self) -> ir.Model:
        self.output(self.conv(4, 1))
        return ir.Model(self.graph, ir_version=8)


def odd_convs(model: ir.Model) -> int:
    """Number of Convs whose input channels come in no multiple of four, depthwise ones included."""
    weights = [node.inputs[1] for node in all_nodes(model) if node.op_type == "Conv"]
    shapes = [w.shape.numpy() for w in weights if w is not None and w.shape is not None]
    groups = [shape[0] if shape[1] == 1 else shape[1] for shape in shapes]
    return sum(group % 4 != 0 for group in groups)


def checked(model: ir.Model, feeds: rewriting.Arrays, *steps: Pass) -> ir.Model:
    after = model
    for step in steps:
        after, _ = rewriting.apply(step, after)
        _, again = rewriting.apply(step, after)
        assert not rewriting.hits(again), "not idempotent"
    rewriting.assert_same_names_mean_same_tensors(model, after, feeds, atol=1e-5)
    return after


@PATIENT
@given(
    seed=st.integers(0, 1000),
    channels=st.integers(3, 9),
    stages=st.lists(st.tuples(STAGES, st.integers(3, 11)), min_size=2, max_size=9),
)
def test_any_chain(seed: int, channels: int, stages: list[tuple[str, int]]) -> None:
    chain = Chain(seed, channels)
    for stage, outputs in stages:
        chain.add(stage, outputs)
    model = chain.model()
    align, pad = (
        AlignChannels(above=2, outputs=1, block=1),
        PadOddChannels(above=2, block=1, least=-(10**9)),
    )
    after = checked(model, chain.feeds, align, pad)
    assert odd_convs(after) <= odd_convs(model)


def test_a_chain_without_outputs_in_between_is_aligned_whole() -> None:
    chain = Chain(0, 8)
    for stage in ("Conv", "Depthwise", "Relu", "Gate", "Residual", "Scale", "MaxPool", "PRelu"):
        chain.add(stage, 7)
    after = checked(chain.model(), chain.feeds, AlignChannels(above=2, outputs=1, block=1))
    assert odd_convs(after) == 0
