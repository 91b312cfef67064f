"""Weights are held once at most: the peak of a process that loads and saves a large file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt.store import content_hash, load, save

WEIGHTS, ELEMENTS = 26, 1 << 20
SIZE_MIB = WEIGHTS * ELEMENTS * 4 >> 20

PROGRAM = """
import sys
from onnxopt.timing.memory import peak_rss_bytes
from onnxopt.store import content_hash, load, save
model = load(sys.argv[1])
save(model, sys.argv[2], external_threshold_bytes=int(sys.argv[3]))
if sys.argv[4] == "hash":
    content_hash(model)
print(peak_rss_bytes())
"""


@pytest.fixture(name="large", scope="module")
def large_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weight = np.ones(ELEMENTS, np.float32)
    values = [
        ir.Value(name=f"w{i}", const_value=ir.Tensor(weight, name=f"w{i}")) for i in range(WEIGHTS)
    ]
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    nodes, last = [], x
    for value in values:
        nodes.append(ir.Node("", "Add", [last, value]))
        last = nodes[-1].outputs[0]
    graph = ir.Graph(
        [x], [last], nodes=nodes, initializers=values, opset_imports={"": 18}, name="g"
    )
    path = tmp_path_factory.mktemp("large") / "large.onnx"
    save(ir.Model(graph, ir_version=9), path)
    return path


@pytest.mark.parametrize("threshold", [1 << 40, 1])
@pytest.mark.parametrize("extra", ["none", "hash"])
def test_peak_memory(threshold: int, extra: str, large: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, large, tmp_path / "m.onnx", str(threshold), extra]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak_mib = int(done.stdout) / (1 << 20)
    assert peak_mib < 1.3 * SIZE_MIB + 250


def test_large_files_are_mapped_and_may_be_overwritten(large: Path) -> None:
    model = load(large)
    before = content_hash(model)
    save(model, large)
    assert content_hash(load(large)) == before
    owner: Any = model.graph.initializers["w3"].const_value
    array = owner.numpy()
    assert not array.flags.writeable
    while isinstance(array, np.ndarray):
        array = array.base
    assert type(array.obj).__name__ == "mmap"
