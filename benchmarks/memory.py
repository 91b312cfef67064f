"""Peak memory: calibrating with few and many samples, and a large model from load to save."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import document
import numpy as np
import onnx_ir as ir

from onnxopt import store
from onnxopt_models import digits

_CALIBRATE = """
import sys
from onnxopt import api
from onnxopt.calibrate import collect
from onnxopt.data import in_memory, open_dataset
from onnxopt.signature import signature_of
path, spec, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = api.load(path)
data = open_dataset(spec, signature_of(model))
names = [v.name for n in model.graph for v in n.outputs if n.op_type in ("Conv", "Mul", "Add")]
data = data.take([i % len(data) for i in range(count)])
collect(model, tuple(names), data)
"""
_OPTIMIZE = """
import sys
from onnxopt import api
api.optimize(sys.argv[1], sys.argv[2], options=api.RunOptions())
"""
_REPORT = """
from onnxopt.timing.memory import peak_rss_bytes
print(peak_rss_bytes())
"""


def peak_mb(code: str, *arguments: object) -> tuple[float, float]:
    """Peak resident memory of a child that runs the code, in MB, and its seconds."""
    command = [sys.executable, "-c", code + _REPORT, *map(str, arguments)]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    return int(done.stdout.splitlines()[-1]) / 1e6, seconds


def large_model(path: Path, megabytes: int) -> int:
    """Write a chain of MatMul, Add and Relu of about this size; returns its bytes."""
    width, rng = 2048, np.random.default_rng(0)
    layers = max(1, round(megabytes * 1e6 / (width * width * 4)))
    value = ir.Value(name="x", shape=ir.Shape(["N", width]), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([value], [], nodes=[], opset_imports={"": 17}, name="large")
    current = value
    for layer in range(layers):
        weight = rng.standard_normal((width, width), dtype=np.float32) / np.float32(45)
        bias = rng.standard_normal(width, dtype=np.float32)
        for op, array in (("MatMul", weight), ("Add", bias), ("Relu", None)):
            inputs = [current]
            if array is not None:
                name = f"{op}{layer}.constant"
                constant = ir.Value(name=name, const_value=ir.tensor(array, name=name))
                constant.shape = ir.Shape(array.shape)
                constant.dtype = ir.DataType.FLOAT
                graph.register_initializer(constant)
                inputs.append(constant)
            node = ir.Node("", op, inputs, name=f"{op}{layer}")
            graph.append(node)
            current = node.outputs[0]
            current.name = f"{op}{layer}.out"
    current.shape, current.dtype = ir.Shape(["N", width]), ir.DataType.FLOAT
    graph.outputs.append(current)
    store.save(ir.Model(graph, ir_version=8), path)
    return path.stat().st_size


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=264)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for count in (16, 512):
        peak, seconds = peak_mb(_CALIBRATE, digits.MODEL, digits.CALIBRATION, count)
        case = f"calibrate digits, {count} samples"
        rows.append({"case": case, "peak RSS, MB": f"{peak:.0f}", "seconds": f"{seconds:.1f}"})
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "large.onnx", Path(folder) / "out.onnx"
        size = large_model(source, arguments.megabytes) / 1e6
        peak, seconds = peak_mb(_OPTIMIZE, source, output)
        case = f"load, optimize, verify, save {size:.0f} MB (bound {1.3 * size + 250:.0f} MB)"
        rows.append({"case": case, "peak RSS, MB": f"{peak:.0f}", "seconds": f"{seconds:.1f}"})
    document.write("memory", "Peak memory of the main process", rows, None)


if __name__ == "__main__":
    main()
