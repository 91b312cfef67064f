"""Values that are one position of a sequence: ``x[t]`` in its spellings."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt.graph import is_op, subgraphs
from onnxopt_passes.recurrent._affine import Direction, Index, Leaf, constant_shape
from onnxopt_passes.recurrent._form import Forms
from onnxopt_passes.recurrent._reading import (
    Resolve,
    attribute_ints,
    axes_of,
    cut_of,
    ints,
    operand,
    sizes_of,
    split_source,
    whole,
)

_LAST_TIME_AXIS = 1


class Steps:
    """The visited values that are a position of another value on its first or second axis."""

    def __init__(self, resolve: Resolve, forms: Forms) -> None:
        self._resolve = resolve
        self._forms = forms
        self._known: dict[ir.Value, Leaf] = {}

    def get(self, value: ir.Value) -> Leaf | None:
        """The position that a value is; None for other values."""
        return self._known.get(value)

    def visit(self, node: ir.Node) -> None:
        """Note the positions that a node gives, or hands to its body."""
        if is_op(node, "Scan"):
            self._visit_scan(node)
        elif is_op(node, "Gather", "SequenceAt"):
            self._visit_pick(node)
        elif is_op(node, "Squeeze"):
            self._visit_squeeze(node)

    def _note(self, value: ir.Value, source: ir.Value, axis: int | None, index: Index) -> None:
        source = self._resolve(source)
        if axis is not None and 0 <= axis <= _LAST_TIME_AXIS and source not in self._known:
            self._known[value] = Leaf(source, axis, index, read=value)

    def _visit_pick(self, node: ir.Node) -> None:
        source, index = operand(node, 0), operand(node, 1)
        if source is None or index is None:
            return
        index = self._resolve(index)
        shape = constant_shape(index)
        if (shape is None and self._forms[index].rank != 0) or shape:
            return
        numbers = ints(index)
        position: Index = index if numbers is None else numbers[0]
        if is_op(node, "Gather"):
            axis = self._forms.axis(source, whole(node, "axis", 0))
            self._note(node.outputs[0], source, axis, position)
            return
        maker = self._resolve(source).producer()
        whole_value = split_source(maker, self._resolve)
        if maker is not None and whole_value is not None:
            axis = self._forms.axis(whole_value, whole(maker, "axis", 0))
            self._note(node.outputs[0], whole_value, axis, position)

    def _visit_squeeze(self, node: ir.Node) -> None:
        kept, axes = operand(node, 0), axes_of(node, self._forms.ints)
        if kept is None or axes is None or len(axes) != 1:
            return
        axis = self._forms.axis(kept, axes[0])
        kept = self._resolve(kept)
        maker = kept.producer()
        if maker is None or axis is None or not maker.inputs or maker.inputs[0] is None:
            return
        source = maker.inputs[0]
        index = self._kept_index(maker, kept, axis)
        if index is not None:
            self._note(node.outputs[0], source, axis, index)

    def _kept_index(self, maker: ir.Node, kept: ir.Value, axis: int) -> Index | None:
        """The position that a node cuts out along an axis of size one."""
        source = maker.inputs[0]
        if source is None:
            return None
        if is_op(maker, "Slice"):
            cut = cut_of(maker, self._forms.ints)
            same = cut is not None and self._forms.axis(source, cut.axis) == axis
            return cut.single if cut is not None and same else None
        if is_op(maker, "Split"):
            sizes = sizes_of(maker, self._forms.ints)
            same = self._forms.axis(source, whole(maker, "axis", 0)) == axis
            ones = sizes is None or set(sizes) == {1}
            return kept.index() if same and ones else None
        if is_op(maker, "Gather") and maker.inputs[1] is not None:
            index = self._resolve(maker.inputs[1])
            same = self._forms.axis(source, whole(maker, "axis", 0)) == axis
            return self._one_element(index) if same else None
        return None

    def _one_element(self, index: ir.Value) -> Index | None:
        """The number or scalar value that a vector of one element holds."""
        numbers = ints(index)
        if numbers is not None:
            return numbers[0] if len(numbers) == 1 and constant_shape(index) else None
        node = index.producer()
        if node is None or not is_op(node, "Unsqueeze", "Reshape") or node.inputs[0] is None:
            return None
        source = self._resolve(node.inputs[0])
        return source if self._forms[source].rank == 0 else None

    def _visit_scan(self, node: ir.Node) -> None:
        bodies, scanned = list(subgraphs(node)), whole(node, "num_scan_inputs", 0)
        if len(bodies) != 1 or not scanned or len(bodies[0].inputs) != len(node.inputs):
            return
        first = len(node.inputs) - scanned
        axes = attribute_ints(node, "scan_input_axes") or (0,) * scanned
        backward = attribute_ints(node, "scan_input_directions") or (0,) * scanned
        for k in range(scanned):
            source = node.inputs[first + k]
            if source is not None:
                way: Direction = "backward" if backward[k] else "forward"
                axis = self._forms.axis(source, axes[k])
                self._note(bodies[0].inputs[first + k], source, axis, way)
