"""Units of small models, for tests of their placement."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt import store
from onnxopt.targets import Int8Scheme, load_target
from onnxopt_passes.quantize._units import Unit, find_units

TARGET = load_target("x64-vnni")
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,4,4] x) => (float[1,8,4,4] y)'
CONV = "float[8,8,1,1] w = {" + ", ".join(["1"] * 64) + "}"
DEPTHWISE = "float[8,1,1,1] d = {" + ", ".join(["1"] * 8) + "}"
OPS = ["Conv(a, w)", "Conv<group = 8>(a, d)", "Add(a, b)", "Tanh(a)", "HardSwish(a)", "Mul(a, b)"]


def scheme() -> Int8Scheme:
    """The target's integers."""
    assert TARGET.int8 is not None
    return TARGET.int8


def units_of(body: str) -> tuple[ir.Model, list[Unit]]:
    """A model of one input, one output and two weights, and its units."""
    model = store.from_text(f"{HEAD} <{CONV}, {DEPTHWISE}> {{ {body} }}")
    return model, [found for found in find_units(model, TARGET) if isinstance(found, Unit)]
