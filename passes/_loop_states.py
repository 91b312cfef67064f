"""The states of a Loop or Scan, which its body hands from one iteration to the next."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import attribute, is_op

_BEFORE = {"Loop": (2, 1), "Scan": (0, 0)}
"""What stands before the states: inputs of node and body, outputs of the body."""


@dataclass(frozen=True)
class States:
    """A loop with its body and its states.

    Attributes:
        first: Position of the first state among the inputs of node and body.
        first_result: The same among the outputs of the body.
        count: Their number.
    """

    node: ir.Node
    body: ir.Graph
    first: int
    first_result: int
    count: int

    @property
    def invariant(self) -> list[int]:
        """The numbers of the states that the body hands on as they are."""
        return [
            k
            for k in range(self.count)
            if self.node.inputs[self.first + k] is not None
            and behind_identities(self.body.outputs[self.first_result + k])
            is self.body.inputs[self.first + k]
        ]


def states_of(node: ir.Node) -> States | None:
    """The states of a loop; None for other nodes and where the body is not known.

    A Scan of opset 8, whose inputs begin with the lengths, has none that are read.
    """
    attr = node.attributes.get("body")
    if not is_op(node, *_BEFORE) or attr is None or attr.is_ref():
        return None
    body, (first, first_result) = attr.as_graph(), _BEFORE[node.op_type]
    scanned = attribute(node, "num_scan_inputs", 0)
    if len(body.inputs) != len(node.inputs) or not isinstance(scanned, int):
        return None
    return States(node, body, first, first_result, len(node.inputs) - first - scanned)


def behind_identities(value: ir.Value) -> ir.Value:
    """What a value is a copy of."""
    node = value.producer()
    while node is not None and is_op(node, "Identity") and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value
