"""Units of small models, for tests of their placement."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from hypothesis import strategies as st

from onnxopt import store
from onnxopt.targets import Int8Scheme, Target, load_target
from onnxopt_passes.quantize._units import Unit, find_units

TARGET = load_target("x64-vnni")
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,4,4] x) => (float[1,8,4,4] y)'
CONV = "float[8,8,1,1] w = {" + ", ".join(["1"] * 64) + "}"
DEPTHWISE = "float[8,1,1,1] d = {" + ", ".join(["1"] * 8) + "}"
FACTORS = "float[4] up = {1, 1, 1, 1}"
POOL = "MaxPool<kernel_shape = [1, 1]>(a)"
OPS = [
    "Conv(a, w)",
    "Conv<group = 8>(a, d)",
    "Add(a, b)",
    "Tanh(a)",
    "HardSwish(a)",
    "Mul(a, b)",
    POOL,
    "Transpose<perm = [0, 1, 3, 2]>(a)",
    'Resize<mode = "linear">(a, , up)',
]


def scheme(target: Target = TARGET) -> Int8Scheme:
    """The target's integers."""
    assert target.int8 is not None
    return target.int8


def units_of(body: str, target: Target = TARGET) -> tuple[ir.Model, list[Unit]]:
    """A model of one input, one output and two weights, and its units."""
    model = store.from_text(f"{HEAD} <{CONV}, {DEPTHWISE}, {FACTORS}> {{ {body} }}")
    return model, [found for found in find_units(model, target) if isinstance(found, Unit)]


def drawn_body(data: st.DataObject, ops: Sequence[str]) -> tuple[list[str], str]:
    """Tensor names, and up to six ops that read some of them, with an output after the last."""
    count = data.draw(st.integers(1, 6))
    names = ["x", *(f"t{i}" for i in range(count))]
    lines = []
    for i in range(count):
        op = data.draw(st.sampled_from(ops))
        a, b = (data.draw(st.sampled_from(names[: i + 1])) for _ in range(2))
        call = op.replace("(a", f"({a}").replace(", b)", f", {b})")
        lines.append(f"t{i} = {call}")
    return names, " ".join([*lines, f"y = Neg(t{count - 1})"])
