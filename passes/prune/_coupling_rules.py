"""All rules of how channels pass through a node."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt_passes.prune import _coupling_layers, _coupling_layout, _coupling_pointwise
from onnxopt_passes.prune._coupling_walk import Rule

_RULES = {**_coupling_pointwise.RULES, **_coupling_layers.RULES, **_coupling_layout.RULES}
_MICROSOFT = frozenset(
    {"BiasGelu", "FastGelu", "Gelu", "QuickGelu"}
    | {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
    | {"SimplifiedLayerNormalization"}
)


def rule_of(node: ir.Node) -> Rule | None:
    """The rule of a node's op; None where its channels are not followed."""
    if node.domain == "" or (node.domain == "com.microsoft" and node.op_type in _MICROSOFT):
        return _RULES.get(node.op_type)
    return None
