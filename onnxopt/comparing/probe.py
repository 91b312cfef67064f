"""Finds where two models begin to differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from onnxopt.comparing.agreement import compare_value
from onnxopt.comparing.randomness import random_values
from onnxopt.data import Feeds
from onnxopt.exactness import Tolerance
from onnxopt.graph import is_op
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.store import load

_AT_ONCE = 128
"""Tensors made outputs of one run: bounds the memory they hold."""


def first_difference(
    reference: ir.Model | Path,
    candidate: ir.Model | Path,
    feeds: Feeds,
    tolerance: Tolerance,
) -> str | None:
    """The first tensor, in the reference's order, that both models name and disagree on.

    Names are identity: two tensors of one name mean the same. Both models run with ONNX Runtime's
    optimisations off and more outputs than they declare. Inputs that the candidate no longer
    takes are left out for it.

    Args:
        reference: The model as it was.
        candidate: The model as it is now.
        feeds: One sample.
        tolerance: Of floats.

    Returns:
        The tensor's name; None where all that both have agrees.

    Raises:
        ModelError: One of them does not load with those outputs, or fails.
    """
    ours, theirs = _load(reference), _load(candidate)
    shared = _shared_names(ours, theirs)
    for names in _chunks(shared):
        expected = _run(ours, names, feeds)
        found = _run(theirs, names, feeds)
        for name in names:
            if compare_value(name, expected[name], found[name], tolerance).verdict == "differ":
                return name
    return None


def _shared_names(reference: ir.Model, candidate: ir.Model) -> list[str]:
    """What nodes of both main graphs compute, in the reference's order.

    Random values are left out, and constants too: a changed weight keeps its name.
    """
    theirs = set(_computed(candidate))
    random = random_values(reference).keys() | random_values(candidate).keys()
    return [name for name in _computed(reference) if name in theirs and name not in random]


def _computed(model: ir.Model) -> Iterator[str]:
    nodes = (node for node in model.graph if not is_op(node, "Constant"))
    return (value.name for node in nodes for value in node.outputs if value.name)


def _chunks(names: list[str]) -> Iterator[list[str]]:
    iterator = iter(names)
    while chunk := list(itertools.islice(iterator, _AT_ONCE)):
        yield chunk


def _run(model: ir.Model, names: list[str], feeds: Feeds) -> dict[str, object]:
    """The named values of the main graph."""
    probed = model.clone()
    wanted = set(names)
    values = {v.name: v for node in probed.graph for v in node.outputs if v.name in wanted}
    probed.graph.outputs[:] = [values[name] for name in names]
    config = SessionConfig(threads=1, optimization="off", spinning=False)
    with open_session(probed, config) as session:
        taken = {spec.name: feeds[spec.name] for spec in session.inputs}
        return session.run(taken, names)


def _load(model: ir.Model | Path) -> ir.Model:
    return model if isinstance(model, ir.Model) else load(model)
