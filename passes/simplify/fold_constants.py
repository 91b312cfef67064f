"""Computes ahead of time what does not depend on the inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._determinism import Determinism
from onnxopt_passes.simplify._evaluate import Evaluator, extract
from onnxopt_passes.simplify._fold_known import fold_known, reads_sizes
from onnxopt_passes.simplify._fold_plan import Limits, plan, too_large
from onnxopt_passes.simplify._foldable import foldable
from onnxopt_passes.simplify._inference import InferenceFailed, Inferred, infer
from onnxopt_passes.simplify._materialize import Materializer


@dataclass(frozen=True)
class FoldConstants(Pass):
    """f(c) → w with w = f(c), and Shape(x) → the sizes of x that are known.

    Everything constant is evaluated at once in one ONNX Runtime session without optimisations, by
    the kernels that would run it later, so the bits are the same. Constant nodes become
    initializers (except in functions and as graph outputs). Only deterministic ops of the ONNX
    standard are folded; Quantize- and DequantizeLinear stay, and so does what does not evaluate:
    in a branch that is never taken it may well be invalid. Sizes count as known when they follow
    from the model's inputs; what a file merely declares for a value in between may be stale.

    Attributes:
        max_bytes: A larger value is not stored in the model.
        max_growth_bytes: Nor is one that is larger by this than the constants it is made from.
    """

    exactness = Exactness.BITWISE
    max_bytes: int = 16 << 20
    max_growth_bytes: int = 64 << 10

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Fold until nothing is left to fold; each refusal is noted once."""
        folder = _Folder(model, Limits(self.max_bytes, self.max_growth_bytes))
        refused: dict[Note, None] = {}
        progress = True
        while progress:
            progress = False
            for note in folder.fold_once():
                if note.kind == "applied":
                    progress = True
                    yield note
                else:
                    refused[note] = None
        yield from refused


class _Folder:
    """One run over one model."""

    def __init__(self, model: ir.Model, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._materializer = Materializer(model)
        self._failed: set[ir.Node] = set()

    def fold_once(self) -> Iterator[Note]:
        """One round: Constant nodes, sizes, then all that reads only constants."""
        yield from self._lift_constants()
        yield from self._fold_sizes()
        versions: dict[int, list[ir.Node]] = {}
        for node, version in self._candidates():
            versions.setdefault(version, []).append(node)
        for version, nodes in versions.items():
            yield from self._fold_nodes(nodes, version)

    def _lift_constants(self) -> Iterator[Note]:
        for node in edit.all_nodes(self._model):
            if not edit.is_op(node, "Constant") or self._materializer.keeps_nodes(node.outputs[0]):
                continue
            tensor = edit.constant_tensor(node.outputs[0])
            if tensor is not None:
                yield Note.applied(node, "this Constant is an initializer now")
                self._materializer.put_tensor(node.outputs[0], tensor)

    def _fold_sizes(self) -> Iterator[Note]:
        if reads_sizes(self._model):
            yield from fold_known(self._model, self._materializer)

    def _candidates(self) -> Iterator[tuple[ir.Node, int]]:
        """Nodes that read nothing but constants and one another, outer graphs first."""
        determinism = Determinism(self._model)
        computed: set[ir.Value] = set()
        for node, version in edit.nodes_with_opset(self._model):
            if node not in self._failed and foldable(node, version, determinism, computed):
                computed.update(node.outputs)
                yield node, version

    def _fold_nodes(self, candidates: list[ir.Node], version: int) -> Iterator[Note]:
        imports = {"": version}
        inferred = _infer_apart(candidates, imports, self._model.ir_version)
        chosen = plan(candidates, inferred, self._limits)
        yield from chosen.notes
        evaluator = Evaluator(self._model.ir_version, imports)
        result = evaluator.evaluate(chosen.nodes, chosen.wanted)
        for node, reason in result.failures:
            self._failed.add(node)
            yield Note.refused(node, f"cannot be computed ahead of time: {reason}")
        for value in reversed(chosen.wanted):
            array, maker = result.arrays.get(value), value.producer()
            if array is None or maker is None:
                continue
            reason = too_large(array.nbytes, chosen.sources[maker], self._limits)
            if reason:
                self._failed.add(maker)
                yield Note.refused(maker, reason)
                continue
            yield Note.applied(value, f"is the constant {array.dtype}{list(array.shape)} now")
            self._materializer.put(value, array)


def _infer_apart(
    nodes: list[ir.Node], imports: Mapping[str, int], ir_version: int
) -> dict[ir.Value, Inferred]:
    """Types and shapes of constant expressions, inferred with their constants at hand."""
    outputs = [value for node in nodes for value in node.outputs if value.name]
    model, names = extract(nodes, outputs, imports, ir_version, {})
    try:
        by_name = {value.name: known for value, known in infer(model).items()}
    except InferenceFailed:
        return {}
    return {value: by_name[name] for value, name in names.items() if name in by_name}
