"""Which nodes give the same outputs whenever they get the same inputs."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt import graph as edit

RANDOM_OPS = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
_KNOWN_DOMAINS = frozenset({"", "ai.onnx.ml"})
_DROPOUT_TRAINS_BY_INPUT = 12
_DROPOUT_TRAINS_BY_ATTRIBUTE = 7


class Determinism:
    """Answers for the nodes of one model; looks into model-local functions once."""

    def __init__(self, model: ir.Model) -> None:
        self._functions = model.functions
        self._verdicts: dict[ir.OperatorIdentifier, bool] = {}

    def of(self, node: ir.Node, version: int) -> bool:
        """Whether a node, in the given opset version, is known to be deterministic.

        Subgraphs are not looked into: a node that holds some does not count as deterministic.
        """
        identifier = node.op_identifier()
        if any(True for _ in edit.subgraphs(node)):
            return False
        if identifier in self._functions:
            return self._of_function(identifier)
        if node.domain not in _KNOWN_DOMAINS or node.op_type in RANDOM_OPS:
            return False
        return node.op_type != "Dropout" or not dropout_trains(node, version)

    def _of_function(self, identifier: ir.OperatorIdentifier) -> bool:
        if identifier not in self._verdicts:
            self._verdicts[identifier] = False  # for a function that calls itself
            function = self._functions[identifier]
            version = function.opset_imports.get("", 0)
            self._verdicts[identifier] = all(self.of(node, version) for node in function)
        return self._verdicts[identifier]


def dropout_trains(node: ir.Node, version: int) -> bool:
    """Whether a Dropout may drop something: in training mode, or where that is not known."""
    if version >= _DROPOUT_TRAINS_BY_INPUT:
        mode = node.inputs[2] if len(node.inputs) > 2 else None
        known = edit.constant(mode)
        return mode is not None and (known is None or bool(known.any()))
    if version >= _DROPOUT_TRAINS_BY_ATTRIBUTE:
        return False
    return not edit.attribute(node, "is_test", 0)
