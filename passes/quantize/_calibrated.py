"""Which tensors need a range of their own, and whether the data gives them one.

The output of a shape op has the scale of its input, a line is another reading of codes, the range
of a HardSwish follows from that of its input, and a product that leaves in float needs none.
Measuring fewer tensors is most of what makes calibration fast.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import onnx_ir as ir

from onnxopt.calibrate import NOT_FLOAT, Statistics
from onnxopt.graph import rank
from onnxopt.transform import Need, Note
from onnxopt_passes.quantize._float_outputs import leaves_float
from onnxopt_passes.quantize._reach import follows_operand
from onnxopt_passes.quantize._units import Unit

DATA = Need.DATA.value
"""What notes on the data as a whole are about."""


def calibrated_values(units: Sequence[Unit]) -> tuple[ir.Value, ...]:
    """The tensors whose range decides how these units are quantized, in graph order."""
    read = {value for unit in units for value in unit.inputs}
    derived = {out for unit in units if _derives(unit, read) for out in unit.outputs}
    values = dict.fromkeys(v for unit in units for v in (*unit.inputs, *unit.outputs))
    return tuple(value for value in values if value not in derived)


def fitting(units: Iterable[Unit], statistics: Statistics) -> Generator[Note, None, list[Unit]]:
    """The units whose tensors can be quantized; notes on what is wrong with the data."""
    yield from (Note.refused(DATA, warning) for warning in statistics.warnings)
    fit = list(units)
    while True:
        reasons = {v: _why_unfit(v.name or "", statistics) for v in calibrated_values(fit)}
        bad = {unit: _first_reason(unit, reasons) for unit in fit}
        for unit, reason in bad.items():
            if reason and reason != NOT_FLOAT:
                yield Note.refused(unit.node, reason)
        left = [unit for unit in fit if not bad[unit]]
        if len(left) == len(fit):
            return fit
        fit = left


def output_rank(unit: Unit, statistics: Statistics | None = None) -> int | None:
    """Number of axes of a unit's output: as declared, or as its input had on the data."""
    node = unit.node
    declared = rank(node.outputs[0]) or rank(node.inputs[0])
    name = "" if node.inputs[0] is None else node.inputs[0].name or ""
    if declared is not None or statistics is None or name not in statistics:
        return declared
    found = statistics[name].ranks
    return found[0] if len(found) == 1 else None


def _derives(unit: Unit, read: set[ir.Value]) -> bool:
    kernel = unit.kernel
    if kernel.shares_scale or kernel.shares_codes or follows_operand(unit.node):
        return True
    return read.isdisjoint(unit.outputs) and leaves_float(unit, read, output_rank(unit))


def _why_unfit(name: str, statistics: Statistics) -> str:
    """Why a tensor cannot be quantized; empty where it can."""
    if name not in statistics:
        reason = statistics.skipped.get(name, "it was not measured")
        return reason if reason == NOT_FLOAT else f"{name} could not be calibrated: {reason}"
    found = statistics[name]
    if found.dtype != "float32":
        return f"{name} is {found.dtype}, the integer kernels want float32"
    return "" if found.is_finite else f"{name} is empty or not finite on the calibration data"


def _first_reason(unit: Unit, reasons: dict[ir.Value, str]) -> str:
    found = (reasons.get(value, "") for value in (*unit.inputs, *unit.outputs))
    return next((reason for reason in found if reason), "")
