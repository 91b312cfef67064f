"""Formulas that runtimes put together themselves where the opset has no operator for them."""

from __future__ import annotations

import functools

import onnx_ir as ir

from onnxopt.graph import nodes_with_opset
from onnxopt_passes.fuse._algebra import FIRST_OPSET
from onnxopt_passes.fuse._gate import GELU, Activation, Gates
from onnxopt_passes.fuse._normalization import Normalization, Normalizations

_WHOLE = "it ends a normalization or GELU, which runtimes know only whole"


class Formulas:
    """The nodes of layer and RMS normalizations and of GELUs in a model, found when first asked.

    A runtime only knows them whole: a factor that goes from the end of one into the weights behind
    it saves one multiplication and costs all that the fused kernel saves.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model

    def __contains__(self, node: ir.Node) -> bool:
        """Whether a node is part of one."""
        return node in self._nodes

    def why_whole(self, node: ir.Node) -> str | None:
        """Why a node is not folded into what follows; None where it may be."""
        return _WHOLE if node in self else None

    @property
    def normalizations(self) -> tuple[Normalization, ...]:
        """The normalizations over the last axes, the longest at each root."""
        return self._normalizations

    @functools.cached_property
    def _normalizations(self) -> tuple[Normalization, ...]:
        finder, found = Normalizations(self._model), list[Normalization]()
        for node, version in nodes_with_opset(self._model):
            if version < FIRST_OPSET or node.graph is None:
                continue
            longest = next((n for n in finder.at(node) if isinstance(n, Normalization)), None)
            if longest is not None and longest.is_trailing:
                found.append(longest)
        return tuple(found)

    @functools.cached_property
    def _nodes(self) -> frozenset[ir.Node]:
        gates = Gates(self._model, GELU)
        nodes = {node for found in self._normalizations for node in found.nodes}
        for node, version in nodes_with_opset(self._model):
            found = gates.at(node) if version >= FIRST_OPSET and node.graph is not None else None
            if isinstance(found, Activation):
                nodes |= found.nodes
        return frozenset(nodes)
