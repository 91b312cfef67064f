"""Every kernel row of the OpenVINO targets: the provider does compute such a node in integers.

A tiny float model whose one node falls under the row is quantized for the target and run by a
process that lets the provider's kernels report themselves; among them must be an integer one, with
nothing but a conversion of the input before it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.data import in_memory
from onnxopt.targets import Kernel, Target, load_target
from onnxopt.transform import Context
from onnxopt_passes.quantize.quantize_static import QuantizeStatic

TARGETS = ("x64-openvino", "x64-openvino-vnni")
BODIES = {
    ("Conv", "depthwise"): ("y = Conv<group = 16, pads = [1, 1, 1, 1]>(x, w, b)", (16, 1, 3, 3)),
    ("Conv", "before-a-curve"): ("c = Conv(x, w, b) y = HardSwish(c)", (16, 16, 1, 1)),
    ("Conv", "dense"): ("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) y = Relu(c)", (16, 16, 3, 3)),
    ("Conv", "const-weight"): ("y = Conv<group = 2>(x, w, b)", (16, 8, 1, 1)),
    ("Conv", "groups-at-least-64-channels"): ("y = Conv<group = 2>(x, w, b)", (16, 64, 1, 1)),
    ("MatMul", "weight-rank-2"): ("m = MatMul(x, w) y = Add(m, b)", (32, 16)),
    ("Gemm", "plain-gemm"): ("y = Gemm<transB = 1>(x, w, b)", (16, 32)),
    ("Add", "one-product"): ("c = Conv(x, w, b) a = Add(c, x) y = Relu(a)", (16, 16, 1, 1)),
}
RUN = """
import sys
import numpy as np
from onnxopt.runtime import SessionConfig, open_session
with open_session(sys.argv[1], SessionConfig(provider="openvino")) as session:
    shape = [int(dim) for dim in session.inputs[0].shape]
    session.run({"x": np.random.default_rng(0).standard_normal(shape, np.float32)})
"""
PRODUCT = re.compile(r"exec,cpu,(?:convolution|inner_product|matmul),.*\bsrc:[us]8.* wei:s8")
"""A line of oneDNN's report on a product whose operands are both integers."""


def rows() -> Iterator[tuple[Target, Kernel]]:
    for name in TARGETS:
        target = load_target(name)
        first = {(kernel.op, kernel.needs): kernel for kernel in reversed(target.kernels)}
        yield from ((target, kernel) for kernel in reversed(first.values()))


def key(target: Target, kernel: Kernel) -> str:
    return f"{target.name}-{kernel.op}-{kernel.needs[-1]}"


def quantized(target: Target, kernel: Kernel) -> ir.Model:
    """A model whose node under the row is in integers."""
    body, dims = BODIES[kernel.op, kernel.needs[-1]]
    groups = re.search(r"group = (\d+)", body)
    channels = dims[1] * int(groups.group(1)) if groups else dims[1]
    shape = {"MatMul": (1, 8, dims[0]), "Gemm": (8, dims[1])}.get(kernel.op, (1, channels, 8, 8))
    random = np.random.default_rng(0)
    constants = {"w": dims, "b": (16,)}
    declared = ", ".join(
        f"float{list(size)} {name} = {{{numbers(random.standard_normal(size))}}}"
        for name, size in constants.items()
    )
    model = store.from_text(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[{','.join(map(str, shape))}] x) => (float y) <{declared}> {{ {body} }}"
    )
    model.graph.outputs[0].shape = None
    node = next(n for n in model.graph if n.op_type == kernel.op)
    found = target.kernel_for(node)
    assert isinstance(found, Kernel), found
    assert (found.op, found.output) == (kernel.op, kernel.output)
    samples = [{"x": random.standard_normal(shape, np.float32)} for _ in range(2)]
    context = Context(target=target, calibration=in_memory(samples))
    notes = list(QuantizeStatic(placement="all").rewrite(model, context))
    assert any(note.kind == "applied" for note in notes), notes
    return model


def numbers(array: np.ndarray) -> str:
    return ", ".join(f"{value:.4f}" for value in array.ravel())


def report_on(path: Path) -> str:
    """What the provider's kernels say of themselves; each model in a process of its own, because
    the report of several crashes now and then.
    """
    told = {**os.environ, "ONEDNN_VERBOSE": "1"}
    command = [sys.executable, "-c", RUN, str(path)]
    return subprocess.run(command, env=told, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("target", "kernel"), [pytest.param(*row, id=key(*row)) for row in rows()])
def test_the_provider_has_the_kernel(target: Target, kernel: Kernel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_ep_openvino")
    store.save(quantized(target, kernel), tmp_path / "model.onnx")
    report = report_on(tmp_path / "model.onnx")
    products = [line for line in report.splitlines() if PRODUCT.search(line)]
    assert len(products) == 1, report
    if kernel.op == "Add":
        assert "attr-post-ops" in products[0], report


def test_the_report_tells_floats_from_integers() -> None:
    line = "onednn_verbose,v1,primitive,exec,cpu,convolution,jit,x,src:f32::a wei:f32::b dst:f32::c"
    assert not PRODUCT.search(line)
