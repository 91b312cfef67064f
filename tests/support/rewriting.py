"""Runs a pass on a small model and compares every tensor that kept its name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt import store
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.transform import Context, Note, Pass

Arrays = Mapping[str, npt.NDArray[np.generic]]


def copy(model: ir.Model) -> ir.Model:
    """An independent copy, through bytes."""
    return store.load(store.serialize(model))


def apply(step: Pass, model: ir.Model) -> tuple[ir.Model, list[Note]]:
    """The rewritten copy of a model, and the notes."""
    result = copy(model)
    return result, list(step.rewrite(result, Context()))


def hits(notes: list[Note]) -> int:
    """Number of places where something was applied."""
    return sum(note.kind == "applied" for note in notes)


def tensors(model: ir.Model, feeds: Arrays) -> Arrays:
    """What the main graph's nodes compute, unoptimised; weights (Constant nodes) left out."""
    exposed = copy(model)
    outputs = exposed.graph.outputs
    for node in exposed.graph:
        if node.op_type != "Constant":
            outputs.extend(value for value in node.outputs if not value.is_graph_output())
    for value in outputs:
        value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
    with open_session(exposed, SessionConfig(optimization="off")) as session:
        return session.run(feeds)


def assert_same_names_mean_same_tensors(
    before: ir.Model, after: ir.Model, feeds: Arrays, *, rtol: float = 1e-3, atol: float = 1e-4
) -> None:
    """Outputs, and all other values whose names survive, agree within a pass's tolerance."""
    old, new = tensors(before, feeds), tensors(after, feeds)
    for value in before.graph.outputs:
        assert value.name in new
    for name in old.keys() & new.keys():
        scale = max(1.0, float(np.abs(old[name]).max(initial=0.0)))
        np.testing.assert_allclose(new[name], old[name], rtol=rtol, atol=atol * scale, err_msg=name)
