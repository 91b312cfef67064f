"""Loops over the steps of a small cell, for models in text form."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.runtime import SessionConfig, open_session

WEIGHTS = """float[2,2] w = {0.5, -1, 0.3, 0.2}, float[2,2] r = {0.1, 0.4, -0.3, 0.9},
  int64 zero = {0}, int64[1] one = {1}, int64[1] two = {2}, bool yes = {1}, float nothing = {0},
  int64[1] front = {0}, float unit = {1}"""
START = """
  shape = Shape(x)
  count = Gather <axis = 0> (shape, zero)
  batch = Gather <axis = 0> (shape, one)
  sizes = Concat <axis = 0> (batch, two)
  start = Expand(nothing, sizes)
"""
"""The number of steps of x, and a first state of zeros."""


def run(model: ir.Model, feeds: dict[str, npt.NDArray[np.generic]]) -> dict[str, Any]:
    """Outputs by name, unoptimised; feeds that the model does not take are left out."""
    with open_session(model, SessionConfig(optimization="off", threads=1)) as session:
        names = {spec.name for spec in session.inputs}
        return session.run({name: array for name, array in feeds.items() if name in names})
