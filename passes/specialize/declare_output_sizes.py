"""Declares the sizes that outputs have once those of the inputs are fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.errors import UsageError
from onnxopt.transform import Context, Exactness, Note, Pass
from onnxopt_passes.simplify._facts import facts_of


@dataclass(frozen=True)
class DeclareOutputSizes(Pass):
    """f: float[1,3,64,64] → float[1,L] becomes f: float[1,3,64,64] → float[1,16].

    For a model whose input sizes are built in: a size of an output may have a name of its own,
    which no input has, or stand in a shape of the wrong rank; the OpenVINO provider refuses to load
    such a model. What the file says of outputs is not trusted here; where inference does not know
    every size of one, its declaration stays.

    Attributes:
        outputs: Names of the outputs; by default none, for a signature is the caller's.
    """

    exactness = Exactness.BITWISE
    outputs: tuple[str, ...] = ()

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Write the shapes down in place, one note each.

        Raises:
            UsageError: The model has no such output.
        """
        known = {value.name: value for value in model.graph.outputs}
        for name in self.outputs:
            if name not in known:
                listed = ", ".join(str(other) for other in known)
                raise UsageError(
                    f"declare-output-sizes: there is no output {name!r}", f"one of {listed}"
                )
        if not self.outputs:
            return
        facts = facts_of(model)
        for name in self.outputs:
            value = known[name]
            sizes = facts.shape(value)
            shape = [size for size in sizes or () if isinstance(size, int)]
            if sizes is None or len(shape) != len(sizes):
                yield Note.refused(value, "the sizes of the inputs do not decide its sizes")
            elif value.shape is None or list(value.shape) != shape:
                before = "without a shape" if value.shape is None else f"as {value.shape}"
                value.shape = ir.Shape(shape)
                yield Note.applied(value, f"was declared {before}, has {value.shape}")
