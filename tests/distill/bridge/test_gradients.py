"""Gradients are those of the function itself, by finite differences in double precision."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from onnxopt import store
from onnxopt.distill import to_torch

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]>\n'
CASES = {
    "conv": (17, "float[2,4,6] x, float[4,2,3] w", "Conv<group=2, pads=[1,0]>(x, w)"),
    "conv-same": (17, "float[1,2,5,5] x, float[3,2,3,3] w", 'Conv<auto_pad="SAME_UPPER">(x, w)'),
    "conv-transpose": (
        17,
        "float[1,2,4,4] x, float[2,3,3,3] w",
        "ConvTranspose<strides=[2,2], pads=[1,0,0,1], output_padding=[1,1]>(x, w)",
    ),
    "gemm": (17, "float[3,4] x, float[5,4] w", "Gemm<alpha=0.5, transB=1>(x, w)"),
    "layer-norm": (17, "float[3,4] x, float[4] w", "LayerNormalization<axis=1>(x, w)"),
    "group-norm": (
        21,
        "float[2,4,3] x, float[4] w, float[4] b",
        "GroupNormalization<num_groups=2>(x, w, b)",
    ),
    "average-pool": (19, "float[1,2,5,5] x", "AveragePool<kernel_shape=[2,2], ceil_mode=1>(x)"),
    "lrn": (17, "float[1,5,2,2] x", "LRN<size=4>(x)"),
    "softmax-coerced": (11, "float[2,3,4] x", "Softmax<axis=1>(x)"),
    "reduce": (17, "float[2,3,4] x", "ReduceLogSumExp<axes=[0,2]>(x)"),
    "hard-swish": (17, "float[7] x", "HardSwish(x)"),
    "lstm": (
        17,
        "float[3,2,4] x, float[1,12,4] w, float[1,12,3] r, float[1,24] b",
        "LSTM<hidden_size=3>(x, w, r, b)",
    ),
    "gru-before": (
        17,
        "float[3,2,4] x, float[1,9,4] w, float[1,9,3] r, float[1,18] b",
        'GRU<hidden_size=3, direction="reverse">(x, w, r, b)',
    ),
    "attention": (
        23,
        "float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v",
        "Attention<is_causal=1>(q, k, v)",
    ),
    "einsum": (17, "float[2,3] x, float[3,4] w", 'Einsum<equation="ij, jk -> ik">(x, w)'),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_function(name: str) -> None:
    opset, inputs, call = CASES[name]
    text = f"{HEAD.format(opset=opset)}g ({inputs}) => (float y) {{ y = {call} }}"
    model = store.from_text(text)
    bridge = to_torch(model).double()
    torch.manual_seed(0)
    shapes = [[int(str(size)) for size in value.shape or ()] for value in model.graph.inputs]
    values = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def run(*values: torch.Tensor) -> torch.Tensor:
        return bridge(dict(zip(bridge.inputs, values, strict=True)))["y"]

    assert torch.autograd.gradcheck(run, values)
