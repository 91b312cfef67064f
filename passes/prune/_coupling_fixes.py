"""What besides weights says how many channels there are, and how it is adapted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.graph import Editor, constant, drop_if_unread, label, rewrite_constant, use_count
from onnxopt_passes.prune._coupling_dims import Dim, normal
from onnxopt_passes.prune._coupling_places import Remains


class Fix(Protocol):
    """Adapts a node to axes that have shrunk."""

    def apply(self, remains: Remains, editor: Editor) -> None:
        """Edit in place; nothing where no axis concerned has shrunk."""


@dataclass(frozen=True, eq=False)
class AttributeFix:
    """An attribute that is the size of an axis: ``group``, ``hidden_size``."""

    node: ir.Node
    name: str
    dim: Dim

    def apply(self, remains: Remains, editor: Editor) -> None:
        """Write the new size."""
        if remains.touches(self.dim):
            self.node.attributes[self.name] = ir.AttrInt64(self.name, remains.size(self.dim) or 1)


@dataclass(frozen=True, eq=False)
class ScaleFix:
    """An attribute that is one over the root of an axis' size unless it is given."""

    node: ir.Node
    name: str
    dim: Dim

    def apply(self, remains: Remains, editor: Editor) -> None:
        """Keep the scale of the original size."""
        size = normal(self.dim).size
        if self.name not in self.node.attributes and remains.touches(self.dim) and size:
            scale = ir.AttrFloat32(self.name, 1 / math.sqrt(size))
            self.node.attributes[self.name] = scale


@dataclass(frozen=True, eq=False)
class ShapeFix:
    """An input that is the shape of a result; numbers in it that are the size of an axis change.

    Attributes:
        numbers: Those that are known; None for others.
        dims: Axes they are the sizes of.
        parts: Where a Concat makes the input for this node alone, how many numbers each of its
            own inputs has.
    """

    node: ir.Node
    index: int
    numbers: Sequence[int | None]
    dims: Sequence[Dim]
    parts: Sequence[int] = ()

    def apply(self, remains: Remains, editor: Editor) -> None:
        """Change a constant, or a constant part; let chosen numbers of others be others."""
        made = [
            remains.size(dim) if number and number > 0 and remains.touches(dim) else number
            for number, dim in zip(self.numbers, self.dims, strict=True)
        ]
        changed = [place for place, size in enumerate(made) if size != self.numbers[place]]
        if not changed:
            return
        old = self.node.inputs[self.index]
        array = constant(old)
        if array is not None:
            new = array.copy()
            new.reshape(-1)[changed] = [made[place] or 0 for place in changed]
            replace_input(self.node, self.index, new, editor)
        elif not self._change_parts(old, made, changed, editor):
            self._override(old, made, changed, editor)

    def _change_parts(
        self, old: ir.Value | None, made: Sequence[int | None], changed: list[int], editor: Editor
    ) -> bool:
        """Change what a Concat reads, where each of these parts is known as a whole."""
        joiner = old.producer() if old is not None else None
        stops = np.cumsum(self.parts).tolist()
        rows = [made[stop - count : stop] for stop, count in zip(stops, self.parts, strict=True)]
        hit = {int(np.searchsorted(stops, place, side="right")) for place in changed}
        if joiner is None or not stops or any(None in rows[place] for place in hit):
            return False
        for place in hit:
            part = joiner.inputs[place]
            known = part.dtype if part is not None else None
            dtype = np.int64 if known is None else known.numpy()
            replace_input(joiner, place, np.array(rows[place], dtype), editor)
        return True

    def _override(
        self, old: ir.Value | None, made: Sequence[int | None], changed: list[int], editor: Editor
    ) -> None:
        mask = np.isin(np.arange(len(made)), changed)
        full = np.array([made[i] if mask[i] else 1 for i in range(len(made))], np.int64)
        name = f"{label(self.node)}/shape"
        inputs = [
            editor.constant(self.node, f"{name}/kept", mask),
            editor.constant(self.node, f"{name}/sizes", full),
            old,
        ]
        found = editor.insert_before(self.node, "Where", inputs, name, origin=[self.node])
        found.type, found.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([len(made)])
        self.node.replace_input_with(self.index, found)


@dataclass(frozen=True, eq=False)
class SplitFix:
    """A Split whose parts shrink.

    Attributes:
        by_input: Whether the opset has sizes as an input.
    """

    node: ir.Node
    dims: Sequence[Dim]
    by_input: bool

    def apply(self, remains: Remains, editor: Editor) -> None:
        """Write the new sizes of the parts."""
        if not any(remains.touches(dim) for dim in self.dims):
            return
        sizes = [remains.size(dim) or 0 for dim in self.dims]
        if not self.by_input:
            self.node.attributes["split"] = ir.AttrInt64s("split", sizes)
            return
        self.node.attributes.pop("num_outputs", None)
        replace_input(self.node, 1, np.array(sizes, np.int64), editor)


@dataclass(frozen=True, eq=False)
class SliceFix:
    """A Slice along channels with step 1.

    Attributes:
        bounds: Place among the starts → the axis, its first place and the one after its last.
    """

    node: ir.Node
    bounds: dict[int, tuple[Dim, int, int]]

    def apply(self, remains: Remains, editor: Editor) -> None:
        """Count bounds in places left."""
        moved = {
            place: (int(mask[:start].sum()), int(mask[:stop].sum()))
            for place, (dim, start, stop) in self.bounds.items()
            if remains.touches(dim)
            for mask in (remains.mask(dim),)
        }
        if not moved:
            return
        for which, name in enumerate(("starts", "ends")):
            attr = self.node.attributes.get(name)
            old = np.array(attr.as_ints()) if attr else constant(self.node.inputs[which + 1])
            made = np.array(old)
            for place, pair in moved.items():
                made[place] = pair[which]
            if attr:
                self.node.attributes[name] = ir.AttrInt64s(name, made.tolist())
            else:
                replace_input(self.node, which + 1, made, editor)


@dataclass(frozen=True, eq=False)
class GatherFix:
    """A Gather of constant places of an axis.

    Attributes:
        places: int64 [n] or [].
        source: The axis gathered from.
        result: The axis of what is gathered; None where it is a single place.
    """

    node: ir.Node
    places: npt.NDArray[np.int64]
    source: Dim
    result: Dim | None

    def apply(self, remains: Remains, editor: Editor) -> None:
        """Count places in those left, and leave those out that are gone."""
        if not remains.touches(self.source):
            return
        ranks = np.cumsum(remains.mask(self.source)) - 1
        kept = self.places if self.result is None else self.places[remains.mask(self.result)]
        old = constant(self.node.inputs[1])
        dtype = np.int64 if old is None else old.dtype
        replace_input(self.node, 1, np.asarray(ranks[kept], dtype), editor)


def replace_input(node: ir.Node, index: int, array: npt.NDArray[Any], editor: Editor) -> None:
    """Let a node read another constant: under the old one's name where nobody else reads that."""
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and use_count(old) == 1 and not old.is_graph_output():
        rewrite_constant(old, array)
        return
    name = old.name if old is not None and old.name else f"{label(node)}/sizes"
    name = name if old is None else f"{name}/{label(node)}"
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, editor.constant(node, name, array))
    if old is not None:
        drop_if_unread(old)
