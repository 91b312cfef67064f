"""A pass that breaks the model, for seeing that it is caught."""

from __future__ import annotations

import onnx_ir as ir


class FlipConv(ir.passes.InPlacePass):
    """Swaps Conv's padding: another function."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Negate what Relu sees."""
        for node in model.graph:
            if node.op_type == "Relu":
                node.op_type = "Neg"
        return ir.passes.PassResult(model, modified=True)
