"""recognize-rotary-embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, constant, label, nodes_with_opset
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes._opset import too_old
from onnxopt_passes.fuse._angles import Angles, read_angles
from onnxopt_passes.fuse._gate import import_domain
from onnxopt_passes.fuse._ramp import RUNNABLE
from onnxopt_passes.fuse._rotary import Rotation, Rotations
from onnxopt_passes.fuse._shape import element_type
from onnxopt_passes.simplify._facts import facts_of

_FIRST_OPSET = 23
_RANGE_OPSET = 11
_SLICE_OPSET = 10


@dataclass(frozen=True)
class RecognizeRotaryEmbedding(Pass):
    """``x·cos + (-x₂, x₁)·sin = RotaryEmbedding(x, cos, sin)``, pairs ``(x₁, x₂)`` of features.

    Pairs are the halves of the features or neighbours; the angles come by position, for all items
    of a batch or for each. Also where each feature of the pairs is rotated by itself, and where
    only the first features are rotated and the rest passes by. Nothing else may read what lies in
    between. The angles, if they are there for both features of a pair, have to be equal.

    Attributes:
        domain: ``onnx`` makes RotaryEmbedding of opset 23; ``microsoft`` makes that of ONNX
            Runtime's own domain at any opset.
    """

    looks_for = frozenset({"Concat"})

    domain: Literal["onnx", "microsoft"] = "onnx"

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Try each Concat."""
        facts, editor = facts_of(model), Editor(model)
        rotations = Rotations(facts)
        for node, version in list(nodes_with_opset(model)):
            found = rotations.at(node, version) if node.graph is not None else None
            if found is None:
                continue
            angles = read_angles(found, facts, version)
            reason = angles if isinstance(angles, str) else self._obstacle(found, angles, version)
            if isinstance(angles, str) or reason is not None:
                yield Note.refused(found.last, reason or "")
                continue
            yield _Writer(editor, found, angles, self.domain).write(model)

    def _obstacle(self, found: Rotation, angles: Angles, version: int) -> str | None:
        read, dtype = found.leak(), element_type([found.last])
        if read is not None:
            return f"{read.name} is read elsewhere too"
        if dtype not in RUNNABLE:
            return f"no runtime computes RotaryEmbedding in {dtype}"
        whole = angles.layout == "heads-first" and found.size == angles.head_size
        if angles.heads is None and not whole:
            return "the number of heads is unknown"
        if found.tables.doubled and version < _SLICE_OPSET:
            return too_old("Slice with computed bounds", _SLICE_OPSET, version)
        if self.domain == "onnx":
            return too_old("RotaryEmbedding", _FIRST_OPSET, version)
        return too_old("Range", _RANGE_OPSET, version) if angles.by_item else None


@dataclass(frozen=True)
class _Writer:
    """Writes one rotation as the operator."""

    editor: Editor
    found: Rotation
    angles: Angles
    domain: Literal["onnx", "microsoft"]

    def write(self, model: ir.Model) -> Note:
        """Put the operator in place of the last node."""
        found, angles = self.found, self.angles
        last, source = found.last, found.source
        joined = angles.layout == "positions-first"
        if joined:
            width = (angles.heads or 0) * angles.head_size
            source = self._reshape(source, [0, 0, width], "joined")
        cos, sin = self._table(found.tables.cos, "cos"), self._table(found.tables.sin, "sin")
        if found.tables.sign < 0:
            sin = self._add("Neg", [sin], "sin_back")
        inputs = [source, cos, sin]
        if self.domain == "microsoft":
            inputs = [source, self._positions(), cos, sin]
        new = self.editor.insert_before(
            last,
            "RotaryEmbedding",
            inputs,
            f"{label(last)}/rotary",
            self._attributes(),
            origin=sorted(found.nodes, key=label),
            domain="com.microsoft" if self.domain == "microsoft" else "",
        )
        if joined:
            new = self._reshape(new, [0, 0, angles.heads or 0, angles.head_size], "heads")
        self.editor.replace(last.outputs[0], new)
        import_domain(model, "com.microsoft" if self.domain == "microsoft" else "")
        self.editor.sweep(last)
        return Note.applied(new, f"{len(found.nodes)} nodes became RotaryEmbedding")

    def _attributes(self) -> dict[str, int]:
        """Those that differ from their defaults."""
        found, angles = self.found, self.angles
        partial = found.size != angles.head_size
        attributes = {"interleaved": 1} if found.interleaved else {}
        if partial:
            attributes["rotary_embedding_dim"] = found.size
        if partial or angles.layout == "positions-first":
            attributes["num_heads"] = angles.heads or 0
        return attributes

    def _table(self, table: ir.Value, word: str) -> ir.Value:
        """One number for each pair: [positions, pairs], or with the batch before for ai.onnx."""
        pairs, step = self.found.size // 2, 2 if self.found.interleaved else 1
        end = pairs * step if self.found.tables.doubled else pairs
        array = constant(table)
        if array is not None and self.domain == "microsoft":
            one = array[..., :end:step] if self.found.tables.doubled else array
            name = f"{label(self.found.last)}/{word}_rows"
            return self.editor.constant(self.found.last, name, one.reshape(-1, pairs))
        if self.found.tables.doubled:
            bounds = [("starts", 0), ("ends", end), ("axes", -1), ("steps", step)]
            ints = [self._ints([number], f"{word}_{name}") for name, number in bounds]
            table = self._add("Slice", [table, *ints], f"{word}_pairs")
        if self.domain == "microsoft":
            return self._reshape(table, [-1, pairs], f"{word}_rows")
        if self.angles.by_item:
            return self._reshape(table, [0, -1, pairs], f"{word}_rows")
        rows = self._reshape(table, [1, -1, pairs], f"{word}_rows")
        batch = self._add("Shape", [self.found.source], f"{word}_batch", start=0, end=1)
        ones = self._ints([1, 1], f"{word}_ones")
        sizes = self._add("Concat", [batch, ones], f"{word}_sizes", axis=0)
        return self._add("Expand", [rows, sizes], f"{word}_items")

    def _positions(self) -> ir.Value:
        """The row of the tables for each position: from 0 on, or all of them item by item."""
        if not self.angles.by_item:
            return self._ints([0], "first")
        table = self.found.tables.cos
        sizes = self._add("Shape", [table], "angles")
        places = self._ints(list(self.angles.places), "places")
        grid = self._add("Gather", [sizes, places], "grid", axis=0)
        count = self._add("ReduceProd", [grid], "count", keepdims=0)
        zero, one = (self._number(number, word) for number, word in ((0, "zero"), (1, "one")))
        rows = self._add("Range", [zero, count, one], "rows")
        return self._add("Reshape", [rows, grid], "positions")

    def _reshape(self, value: ir.Value, sizes: list[int], word: str) -> ir.Value:
        return self._add("Reshape", [value, self._ints(sizes, f"{word}_shape")], word)

    def _add(self, op_type: str, inputs: list[ir.Value], word: str, **attributes: int) -> ir.Value:
        last = self.found.last
        return self.editor.insert_before(
            last, op_type, inputs, f"{label(last)}/{word}", dict(attributes), origin=[last]
        )

    def _ints(self, numbers: list[int], word: str) -> ir.Value:
        name = f"{label(self.found.last)}/{word}"
        return self.editor.constant(self.found.last, name, np.array(numbers, np.int64))

    def _number(self, number: int, word: str) -> ir.Value:
        name = f"{label(self.found.last)}/{word}"
        return self.editor.constant(self.found.last, name, np.array(number, np.int64))
