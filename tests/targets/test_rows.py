"""Every kernel row of the x64 targets: ONNX Runtime does turn such a node into that kernel.

A tiny float model whose one node falls under the row is quantized; the graph as the runtime
optimised it must hold the promised kernel, with no other Q/DQ than at the model's ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.data import in_memory
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.targets import Kernel, Target, load_target
from onnxopt.transform import Context
from onnxopt_passes.quantize.quantize_static import QuantizeStatic

X64 = ("x64-vnni", "x64-amx", "x64-avx2")
IMAGE = (1, 8, 6, 6)
ROWS = (3, 8)
CONV = ("const-weight", "const-bias")
BODIES: dict[
    tuple[str, tuple[str, ...]], tuple[str, tuple[int, ...], dict[str, tuple[int, ...]]]
] = {
    ("Conv", (*CONV, "depthwise", "weight-rank-3")): (
        "y = Conv<group = 8>(x, w, b)",
        (1, 8, 9),
        {"w": (8, 1, 3), "b": (8,)},
    ),
    ("Conv", (*CONV, "depthwise", "channels-of-16")): (
        "y = Conv<group = 16>(x, w, b)",
        (1, 16, 6, 6),
        {"w": (16, 1, 3, 3), "b": (16,)},
    ),
    ("Conv", (*CONV, "depthwise", "channels-of-4")): (
        "y = Conv<group = 8>(x, w, b)",
        IMAGE,
        {"w": (8, 1, 3, 3), "b": (8,)},
    ),
    ("Conv", (*CONV, "depthwise")): (
        "y = Conv<group = 6>(x, w, b)",
        (1, 6, 6, 6),
        {"w": (6, 1, 3, 3), "b": (6,)},
    ),
    ("Conv", (*CONV, "dense", "fewer-than-8-channels")): (
        "y = Conv(x, w)",
        (1, 3, 6, 6),
        {"w": (4, 3, 3, 3)},
    ),
    ("Conv", (*CONV, "dense")): (
        "c = Conv(x, w, b) y = Clip(c, lo, hi)",
        IMAGE,
        {"w": (4, 8, 3, 3), "b": (4,), "lo": (), "hi": ()},
    ),
    ("Conv", (*CONV, "groups-of-16-channels")): (
        "c = Conv<group = 2>(x, w, b) y = Relu(c)",
        (1, 32, 4, 4),
        {"w": (32, 16, 1, 1), "b": (32,)},
    ),
    ("Conv", CONV): (
        "c = Conv<group = 2>(x, w, b) y = Relu(c)",
        IMAGE,
        {"w": (8, 4, 3, 3), "b": (8,)},
    ),
    ("MatMul", ("const-weight", "weight-rank-2")): (
        "m = MatMul(x, w) y = Sigmoid(m)",
        (2, 3, 8),
        {"w": (8, 4)},
    ),
    ("Gemm", ("const-weight", "const-bias", "plain-gemm", "bias-per-column")): (
        "c = Gemm<transB = 1>(x, w, b) r = Relu(c) y = Sigmoid(r)",
        ROWS,
        {"w": (4, 8), "b": (4,)},
    ),
    ("Add", ("no-constant-operand",)): ("y = Add(x, x)", IMAGE, {}),
    ("Add", ()): ("y = Add(x, c)", IMAGE, {"c": (8, 1, 1)}),
    ("Mul", ("no-constant-operand",)): ("y = Mul(x, x)", IMAGE, {}),
    ("Mul", ()): ("y = Mul(x, c)", IMAGE, {"c": (8, 1, 1)}),
    ("HardSigmoid", ("rising",)): ("y = HardSigmoid(x)", IMAGE, {}),
    ("HardSwish", ()): ("y = HardSwish(x)", IMAGE, {}),
    ("Sigmoid", ()): ("y = Sigmoid(x)", IMAGE, {}),
    ("Sigmoid", ("of-silu",)): ("s = Sigmoid(x) y = Mul(s, x)", IMAGE, {}),
    ("LeakyRelu", ()): ("y = LeakyRelu(x)", IMAGE, {}),
    ("GlobalAveragePool", ()): ("y = GlobalAveragePool(x)", IMAGE, {}),
    ("AveragePool", ()): ("y = AveragePool<kernel_shape = [2, 2]>(x)", IMAGE, {}),
    ("MaxPool", ("one-output",)): ("y = MaxPool<kernel_shape = [2, 2]>(x)", IMAGE, {}),
    ("Concat", ()): ("s = Sigmoid(x) y = Concat<axis = 1>(x, s)", IMAGE, {}),
    ("Resize", ("nearest",)): (
        "k = Constant<value_floats = [1.0, 1.0, 2.0, 2.0]>() y = Resize(x, , k)",
        IMAGE,
        {},
    ),
    ("Transpose", ()): ("y = Transpose<perm = [0, 2, 3, 1]>(x)", IMAGE, {}),
    ("Reshape", ()): ("k = Constant<value_ints = [2, -1]>() y = Reshape(x, k)", IMAGE, {}),
    ("Flatten", ()): ("y = Flatten(x)", IMAGE, {}),
    ("Squeeze", ()): ("k = Constant<value_ints = [0]>() y = Squeeze(x, k)", IMAGE, {}),
    ("Unsqueeze", ()): ("k = Constant<value_ints = [0]>() y = Unsqueeze(x, k)", IMAGE, {}),
    ("Slice", ()): (
        "i = Constant<value_ints = [1]>() j = Constant<value_ints = [5]>() y = Slice(x, i, j, i)",
        IMAGE,
        {},
    ),
    ("Gather", ()): (
        "k = Constant<value_ints = [2, 0]>() y = Gather<axis = 1>(x, k)",
        IMAGE,
        {},
    ),
    ("Split", ()): (
        "a, b = Split<axis = 1>(x) y = Add(a, b)",
        IMAGE,
        {},
    ),
    ("Expand", ()): (
        "k = Constant<value_ints = [2, 8, 6, 6]>() y = Expand(x, k)",
        IMAGE,
        {},
    ),
    ("DepthToSpace", ()): ("y = DepthToSpace<blocksize = 2>(x)", IMAGE, {}),
    **{
        (op, needs): (f"y = {op}(x, c)", shape, {"c": ()})
        for op in ("Add", "Sub", "Mul", "Div")
        for needs, shape in ((("rising-line", "rank-4"), IMAGE), (("rising-line",), (3, 4)))
    },
}


def rows() -> Iterator[tuple[Target, Kernel]]:
    for name in X64:
        target = load_target(name)
        yield from ((target, kernel) for kernel in target.kernels)


def model_for(kernel: Kernel) -> tuple[ir.Model, tuple[int, ...]]:
    """A float model with a node under the row, and its input's shape."""
    body, shape, constants = BODIES[kernel.op, kernel.needs]
    weights = [constant_text(name, dims) for name, dims in constants.items()]
    declared = f"<{', '.join(weights)}>" if weights else ""
    text = (
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[{','.join(map(str, shape))}] x) => (float y) {declared} {{ {body} }}"
    )
    model = store.from_text(text)
    model.graph.outputs[0].shape = None
    return model, shape


def constant_text(name: str, dims: tuple[int, ...]) -> str:
    """A constant in ONNX text: random, a positive number where it is one."""
    fixed = {"lo": 0.0, "hi": 2.0, "c": 1.5}
    values = [fixed[name]] if not dims else np.random.default_rng(0).standard_normal(dims).ravel()
    numbers = ", ".join(f"{value:.4f}" for value in values)
    return f"float{list(dims) or ''} {name} = {{{numbers}}}"


@pytest.mark.parametrize(
    ("target", "kernel"),
    list(rows()),
    ids=lambda thing: thing.name if isinstance(thing, Target) else f"{thing.op}-{thing.needs[-1:]}",
)
def test_the_runtime_has_the_kernel(target: Target, kernel: Kernel, tmp_path: Path) -> None:
    model, shape = model_for(kernel)
    node = next(n for n in model.graph if n.op_type == kernel.op)
    assert target.kernel_for(node) in (kernel, *shadowing(target, kernel))
    samples = [{"x": np.random.default_rng(i).standard_normal(shape, np.float32)} for i in range(2)]
    context = Context(target=target, calibration=in_memory(samples))
    notes = list(QuantizeStatic(placement="all").rewrite(model, context))
    assert any(note.kind == "applied" for note in notes), notes

    found = optimized_ops(model, tmp_path / "optimized.onnx")

    for op in kernel.runs_as:
        assert found[op] >= 1, found
    if not kernel.runs_as:
        assert not found[kernel.op], found
    assert found["QuantizeLinear"] == 1, found
    assert found["DequantizeLinear"] <= 1, found


def shadowing(target: Target, kernel: Kernel) -> list[Kernel]:
    """Rows of a target that extends this row's own and says more."""
    return [row for row in target.kernels if (row.op, row.needs) == (kernel.op, kernel.needs)]


def optimized_ops(model: ir.Model, path: Path) -> Counter[str]:
    """Op types of the graph as ONNX Runtime runs it."""
    with open_session(model, SessionConfig(optimized_model_path=path)):
        pass
    nodes = ir.load(path).graph
    names = {"": "", "ai.onnx": ""}
    return Counter(names.get(node.domain, f"{node.domain}:") + node.op_type for node in nodes)
