"""From the names of ONNX Runtime's optimised graph back to the nodes of the model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from onnxopt.graph import all_graphs, all_nodes, label
from onnxopt.timing.trace import Kernel

_DECORATIONS = re.compile(
    r"_token_\d+$"  # makes a name unique
    r"|_nchwc$"  # a Conv or pool of the blocked layout, called after its output
    r"|_quant$"
    r"|/?\w+Fusion/?$"  # called after one of the fused nodes
    r"|^fused "
)


class ModelNames:
    """Finds the node of a model that a kernel stands for, as far as names tell.

    A fused kernel is called after one of its nodes or after its output, so it is found as that
    node; what ONNX Runtime added (a reorder, a transpose) is found as nothing.
    """

    def __init__(self, model: ir.Model) -> None:
        self._labels: dict[str, str] = {}
        for node in all_nodes(model):
            for value in node.outputs:
                self._labels.setdefault(value.name or "", label(node))
        for node in all_nodes(model):
            self._labels[node.name or ""] = label(node)
        self._labels.pop("", None)
        # ONNX Runtime counts nodes in the order of the file, without constants
        counted = [node for node in model.graph if node.op_type != "Constant"]
        self._by_index = counted if len(list(all_graphs(model))) == 1 else []

    @classmethod
    def of(cls, path: Path) -> ModelNames | None:
        """The names in a file; None for ONNX Runtime's own format."""
        return None if path.suffix == ".ort" else cls(ir.load(path))

    def find(self, kernel: Kernel) -> str | None:
        """The name of the node (of its first output where it has none), or None."""
        for name in _spellings(kernel.name):
            if name in self._labels:
                return self._labels[name]
        return self._unnamed(kernel)

    def _unnamed(self, kernel: Kernel) -> str | None:
        if kernel.name != f"{kernel.op}_{kernel.index}" or kernel.index >= len(self._by_index):
            return None
        node = self._by_index[kernel.index]
        return None if node.name or node.op_type != kernel.op else label(node)


def _spellings(name: str) -> Iterator[str]:
    """The name, and what is left of it without ONNX Runtime's additions, one after another."""
    yield name
    while (shorter := _DECORATIONS.sub("", name)) != name:
        name = shorter
        yield name
