"""What `--dim` builds in."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnxopt import api
from onnxopt.api import RunOptions
from onnxopt.api.specializing import Specialization

HALVES = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,W] x) => (float[N,L] y, float[N,W] z) <int64[2] two = {-1, 2}> {
  y = Reshape(x, two)
  z = Relu(x)
}"""


def shapes(path: Path) -> list[list[int | str]]:
    outputs = onnx.load(path).graph.output
    return [[d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in outputs]


def optimized(tmp_path: Path, **dims: int) -> list[list[int | str]]:
    source, result = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(onnx.parser.parse_model(HALVES), source)
    api.optimize(source, result, options=RunOptions(specialize=Specialization(dims=dims)))
    return shapes(result)


def test_sizes_of_outputs_follow_those_of_inputs(tmp_path: Path) -> None:
    assert optimized(tmp_path, N=3, W=4) == [[6, 2], [3, 4]]


def test_what_does_not_follow_stays_as_declared(tmp_path: Path) -> None:
    assert optimized(tmp_path, W=4) == [["N", "L"], ["N", 4]]


def test_without_sizes_the_signature_stays(tmp_path: Path) -> None:
    assert optimized(tmp_path) == [["N", "L"], ["N", "W"]]
