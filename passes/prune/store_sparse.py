"""store-sparse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import all_graphs
from onnxopt.store import is_stored_sparsely, saved_bytes, stored_sparsely
from onnxopt.transform import Context, Note, Pass

_IR_OF_SPARSE = 6


@dataclass(frozen=True)
class StoreSparse(Pass):
    """``w`` written as the values and places of what is not zero, where that is smaller.

    The same numbers in another form in the file: ONNX Runtime makes them dense when it loads, so
    neither speed nor memory changes. The format takes 8 bytes a place, so a float32 weight gains
    where more than two thirds of it are zero, a float16 one from four fifths, int8 from eight
    ninths; compressing the file gains sooner and more. Other runtimes may not read it. A weight
    that a later step replaces is stored densely again: this belongs at a recipe's end.

    Attributes:
        least: Weights that would save fewer bytes stay as they are.
    """

    exactness: ClassVar[Exactness] = Exactness.BITWISE

    least: int = 1024

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Mark each initializer that is smaller so; ends with the bytes saved."""
        name, total = model.graph.name or "model", 0
        if model.ir_version < _IR_OF_SPARSE:
            reason = f"IR version {model.ir_version} has no sparse initializers, 6 and later have"
            yield Note.refused(name, reason)
            return
        for graph in all_graphs(model):
            for value in graph.initializers.values():
                tensor = value.const_value
                if tensor is None or value.is_graph_input() or is_stored_sparsely(tensor):
                    continue
                saved = saved_bytes(tensor)
                if saved and saved >= self.least:
                    total += saved
                    value.const_value = stored_sparsely(tensor)
                    reason = f"{tensor.nbytes:,} bytes take {tensor.nbytes - saved:,} in the file"
                    yield Note("applied", value.name or "", reason, {"saved_bytes": saved})
        if total:
            yield Note("applied", name, f"{total:,} bytes saved", {"saved_bytes": total})
        else:
            yield Note.refused(name, "no weight is smaller as values and places than as it is")
