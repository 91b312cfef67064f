"""Which arithmetic a target's provider may use for float32 models without breaking the budget."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.api.budget import allows
from onnxopt.api.crafting import held_out_comparison
from onnxopt.api.options import Budget
from onnxopt.api.workbench import Workbench
from onnxopt.comparing import Comparison
from onnxopt.errors import BackendMissingError
from onnxopt.runtime import check_config


@dataclass(frozen=True, eq=False)
class Settled:
    """The precision that quantizing starts from.

    Attributes:
        bench: The bench with that precision in force.
        comparison: The float model at the target's own precision against the original; None
            where that is fp32, or where this machine has no such arithmetic.
        fits: Whether that is inside the budget.
        why: The reason in a sentence.
    """

    bench: Workbench
    comparison: Comparison | None
    fits: bool
    why: str


def settle_precision(bench: Workbench, model: ir.Model, budget: Budget) -> Settled:
    """The target's own precision where a float model keeps the budget at it, else fp32.

    It costs no calibration, so it is what integers have to beat.
    """
    asked = bench.target.session.precision
    if asked == "fp32":
        return Settled(bench, None, fits=True, why="the target computes in fp32")
    try:
        check_config(bench.session)
    except BackendMissingError as error:
        return Settled(bench.at(precision="fp32"), None, fits=False, why=str(error))
    found = held_out_comparison(bench, model, budget)
    fits, why = allows(found, budget)
    used = bench if fits else bench.at(precision="fp32")
    return Settled(used, found, fits, f"{asked}: {why}")
