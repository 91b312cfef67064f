"""All rules of how channels pass through a node."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxopt_passes.prune import (
    _coupling_layers,
    _coupling_layout,
    _coupling_lookup,
    _coupling_pointwise,
)
from onnxopt_passes.prune._coupling_dims import freeze
from onnxopt_passes.prune._coupling_walk import Axes, Rule, Walk

_RULES = {
    **_coupling_pointwise.RULES,
    **_coupling_layers.RULES,
    **_coupling_layout.RULES,
    **_coupling_lookup.RULES,
}
_MICROSOFT = frozenset(
    {"BiasGelu", "FastGelu", "Gelu", "QuickGelu"}
    | {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
    | {"SimplifiedLayerNormalization", "RotaryEmbedding"}
)
_PER_FEATURE = frozenset({"Scaler", "Imputer", "Normalizer", "Binarizer"})


def rule_of(node: ir.Node) -> Rule | None:
    """The rule of a node's op; None where its channels are not followed."""
    if node.domain == "" or (node.domain == "com.microsoft" and node.op_type in _MICROSOFT):
        return _RULES.get(node.op_type)
    if node.domain == "ai.onnx.ml" and node.op_type in _PER_FEATURE:
        return _whole
    return None


def _whole(walk: Walk, node: ir.Node) -> Sequence[Axes]:
    """Numbers a feature that are attributes: all features stay."""
    axes = walk.axes(node, 0)
    for dim in axes[-1:]:
        freeze(dim, walk.why(node, "has numbers for all of them"))
    return [axes]
