"""quantize-weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import all_nodes, is_op, stats
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.quantize._already import already_quantized
from onnxopt_passes.quantize._block_layers import BlockForm, BlockLayers
from onnxopt_passes.quantize._selection import Names


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """``x W + b ≈ x (s ∘ (q_W - z)) + b``: weights in few bits, activations in float.

    Each output channel's weights are cut into blocks with a scale each. MatMul and Gemm become
    MatMulNBits, Gathers of rows GatherBlockQuantized, both of ONNX Runtime's own domain. It is for
    size, and for the speed of products with few rows, such as a decoder's: with VNNI a row takes a
    third to a fifth of the float time, 16 rows about the same, and 128 rows up to twice as long,
    where ``quantize-dynamic`` is the better choice. float32 and float16 weights.

    Attributes:
        bits: Of each weight.
        block_size: Weights a scale.
        symmetric: Whether zero points are the middle code and not stored.
        accuracy_level: 4 lets the kernel round activations to int8, which is faster; 0 leaves the
            choice to it; 1 keeps float.
        op_types: Which ops.
        skip: Nodes to leave in float, by name (``*`` and ``?`` allowed).
        least: Nodes with fewer weights stay as they are.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY

    bits: Literal[4, 8] = 8
    block_size: Literal[16, 32, 64, 128, 256] = 64
    symmetric: bool = True
    accuracy_level: Literal[0, 1, 4] = 4
    op_types: tuple[Literal["MatMul", "Gemm", "Gather"], ...] = ("MatMul", "Gemm", "Gather")
    skip: tuple[str, ...] = ()
    least: int = 4096

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Rewrite each node with enough constant weights; ends with what that saves."""
        yield from already_quantized(model)
        skipped, before = Names(self.skip), stats(model).weight_bytes
        form = BlockForm(self.bits, self.block_size, self.symmetric, self.accuracy_level)
        layers = BlockLayers(model, form, self.least)
        nodes, hits = list(all_nodes(model)), 0
        for node in nodes:
            if not is_op(node, *self.op_types) or node.graph is None:
                continue
            note = layers.rewrite(node, is_wanted=node not in skipped)
            if note is not None:
                hits += note.kind == "applied"
                yield note
        for pattern in skipped.unused(nodes):
            yield Note.refused(pattern, "no node has a name like this")
        if hits:
            yield _saved(model, before)


def _saved(model: ir.Model, before: int) -> Note:
    after = stats(model).weight_bytes
    reason = f"{before:,} bytes of weights became {after:,}: {after / before:.0%}"
    return Note("applied", model.graph.name or "model", reason, {"before": before, "after": after})
