"""Takes weights out of the list of graph inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.transform import Context, Exactness, Note, Pass

_IR_OF_FREE_WEIGHTS = 4


@dataclass(frozen=True)
class FreezeDefaultInputs(Pass):
    """f(x, w=w0) → f(x), for each graph input w that the model itself gives a value.

    Holds for every caller that leaves such inputs alone. ONNX Runtime neither folds nor fuses a
    weight that a caller may override. Below IR version 4 every weight has to be an input, so a
    model where one is taken out is stamped IR version 4, which changes nothing else.

    Attributes:
        keep: Names of inputs that callers do override.
    """

    exactness = Exactness.BITWISE
    keep: tuple[str, ...] = ()

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Freeze the inputs of the main graph; those of subgraphs are fed by their node."""
        graph = model.graph
        names = {value.name for value in graph.inputs}
        for name in self.keep:
            if name not in names or name not in graph.initializers:
                yield Note.refused(name, "not kept: no graph input of this name has a default")
        frozen = [
            value
            for value in graph.inputs
            if value.name in graph.initializers and value.name not in self.keep
        ]
        gone = set(frozen)
        graph.inputs[:] = [value for value in graph.inputs if value not in gone]
        for value in frozen:
            yield Note.applied(value, "is a constant now; callers can no longer override it")
        if frozen and model.ir_version < _IR_OF_FREE_WEIGHTS:
            yield Note.applied(
                graph.name or "graph", f"IR version {model.ir_version} raised to 4 for that"
            )
            model.ir_version = _IR_OF_FREE_WEIGHTS
