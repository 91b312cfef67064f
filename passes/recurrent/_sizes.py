"""Where the size of an axis comes from: two sizes with one origin are equal in every run."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import is_op, subgraphs
from onnxopt_passes.recurrent._affine import constant_shape
from onnxopt_passes.recurrent._form import Forms
from onnxopt_passes.recurrent._reading import Resolve, axes_of, cut_of, operand, split_source, whole

_SAME = frozenset(
    """
    Cast Clip CumSum Dropout Elu Erf HardSigmoid HardSwish Identity LayerNormalization LeakyRelu Neg
    Not Relu ReverseSequence ScatterND Sigmoid Softmax Softplus Sqrt Tanh
    """.split()  # noqa: SIM905 - readable
)
_BROADCASTS = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Sub", "Where"}
)
_CASTS = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze"})
_LONGEST = 10_000
_DEEPEST = 6
"""So many broadcasts one within the other are followed along all their operands."""


@dataclass(frozen=True)
class Origin:
    """The element or axis that a size was first read from."""

    value: ir.Value
    position: int
    is_axis: bool


Size = int | str | Origin
"""A number, the name that the model declares, or the place it comes from."""

_Place = tuple[ir.Value, int, bool]


class Sizes:
    """Follows sizes of axes and elements of shape vectors to where they come from."""

    def __init__(self, resolve: Resolve, forms: Forms) -> None:
        self._resolve = resolve
        self._forms = forms

    def axis(self, value: ir.Value, axis: int) -> Size:
        """The size of an axis of a value."""
        return self._follow((value, axis, True), _DEEPEST)

    def element(self, value: ir.Value, position: int = 0) -> Size:
        """An element of an integer scalar or vector."""
        return self._follow((value, position, False), _DEEPEST)

    def same(self, left: Size, right: Size) -> bool:
        """Whether two sizes are equal in every run."""
        return left == right

    def _follow(self, place: _Place, depth: int) -> Size:
        for _ in range(_LONGEST):
            value, position, is_axis = place
            value = self._resolve(value)
            number = self._number(value, position, is_axis)
            if number is not None:
                return number
            found = self._through_axis(value, position, depth) if is_axis else None
            if not is_axis:
                found = self._through_element(value, position)
            if found is None or isinstance(found, int):
                return found or self._root(value, position, is_axis)
            place = found
        return Origin(*place)

    def _number(self, value: ir.Value, position: int, is_axis: bool) -> int | None:
        if is_axis:
            shape = constant_shape(value)
            return None if shape is None or position >= len(shape) else shape[position]
        numbers = self._forms.ints(value)
        known = numbers is not None and position < len(numbers)
        return numbers[position] if numbers is not None and known else None

    def _root(self, value: ir.Value, position: int, is_axis: bool) -> Size:
        shape = value.shape if is_axis else None
        if shape is not None and position < len(shape):
            size = shape[position]
            if isinstance(size, int) and size > 0:
                return size
            if isinstance(size, ir.SymbolicDim) and size.value:
                return size.value
        return Origin(value, position, is_axis)

    def _through_axis(self, value: ir.Value, axis: int, depth: int) -> _Place | None:
        node, rank = value.producer(), self._forms[value].rank
        source = None if node is None else operand(node, 0)
        if node is None or source is None:
            return None
        if is_op(node, *_SAME) and value.index() == 0:
            return source, axis, True
        if is_op(node, "Transpose"):
            perm = node.attributes.get("perm")
            return (source, perm.as_ints()[axis], True) if perm is not None else None
        if is_op(node, "MatMul", "Gemm"):
            leading = axis == 0 if is_op(node, "Gemm") else rank is not None and axis < rank - 1
            plain = is_op(node, "MatMul") or whole(node, "transA", 0) == 0
            matrix = is_op(node, "Gemm") or self._is_matrix(operand(node, 1))
            return (source, axis, True) if leading and plain and matrix else None
        if is_op(node, *_BROADCASTS):
            return self._through_broadcast(node, axis, rank, depth)
        if is_op(node, "LSTM", "GRU", "RNN"):
            first = axis == 0 and value.index() == 0
            batch = axis == (2 if value.index() == 0 else 1)
            return (source, 0 if first else 1, True) if first or batch else None
        if is_op(node, "ConstantOfShape"):
            return source, axis, False
        if is_op(node, "Expand"):
            return self._through_expand(node, axis, rank)
        return self._through_loop(node, value, axis) or self._through_cut(node, source, axis)

    def _is_matrix(self, value: ir.Value | None) -> bool:
        return value is not None and self._forms[value].rank == 2

    def _through_broadcast(
        self, node: ir.Node, axis: int, rank: int | None, depth: int
    ) -> _Place | None:
        """The only operand that is not broadcast along the axis, or any if all are of one size."""
        wide: list[_Place] = []
        for value in (self._resolve(v) for v in node.inputs if v is not None):
            own, shape = self._forms[value].rank, constant_shape(value)
            if rank is None or own is None:
                return None
            place = axis - (rank - own)
            if place >= 0 and (shape is None or shape[place] != 1):
                wide.append((value, place, True))
        if len(wide) == 1:
            return wide[0]
        sizes = {self._follow(place, depth - 1) for place in wide} if depth else set()
        return wide[0] if len(sizes) == 1 else None

    def _through_expand(self, node: ir.Node, axis: int, rank: int | None) -> _Place | None:
        source, shape = node.inputs[0], node.inputs[1]
        own = None if source is None else constant_shape(self._resolve(source))
        if own is None or shape is None or rank is None:
            return None
        place = axis - (rank - len(own))
        return (shape, axis, False) if place < 0 or own[place] == 1 else None

    def _through_loop(self, node: ir.Node, value: ir.Value, axis: int) -> _Place | None:
        if not is_op(node, "Loop") or axis == 0:
            return None
        carried = len(node.inputs) - 2
        index, bodies = value.index() or 0, list(subgraphs(node))
        if index < carried or len(bodies) != 1:
            return None
        inner = bodies[0].outputs[index + 1]
        return None if inner is None else (inner, axis - 1, True)

    def _through_cut(self, node: ir.Node, source: ir.Value, axis: int) -> _Place | None:
        if is_op(node, "Gather") and node.inputs[1] is not None:
            taken = self._forms.axis(source, whole(node, "axis", 0))
            if taken is None or self._forms[node.inputs[1]].rank != 0:
                return None
            return source, axis + (axis >= taken), True
        if is_op(node, "GatherND") and node.inputs[1] is not None:
            leading = self._forms[node.inputs[1]].rank
            inside = leading is not None and axis < leading - 1
            return (node.inputs[1], axis, True) if inside else None
        if is_op(node, "SequenceAt"):
            found = self._through_sequence(source)
            return None if found is None else (found[0], axis + (axis >= found[1]), True)
        if is_op(node, "Squeeze", "Unsqueeze"):
            return self._through_squeeze(node, source, axis)
        if is_op(node, "Slice"):
            cut = cut_of(node, self._forms.ints)
            along = None if cut is None else self._forms.axis(source, cut.axis)
            whole_axis = cut is not None and (along != axis or cut.reverses)
            return (source, axis, True) if along is not None and whole_axis else None
        if is_op(node, "Split", "Concat"):
            along = self._forms.axis(source, whole(node, "axis", 0))
            return None if along is None or along == axis else (source, axis, True)
        return self._through_reshape(node, axis) if is_op(node, "Reshape") else None

    def _through_squeeze(self, node: ir.Node, source: ir.Value, axis: int) -> _Place | None:
        axes, rank = axes_of(node, self._forms.ints), self._forms[source].rank
        if axes is None or rank is None:
            return None
        if is_op(node, "Squeeze"):
            gone = {a + rank * (a < 0) for a in axes}
            left = [a for a in range(rank) if a not in gone]
            return (source, left[axis], True) if axis < len(left) else None
        new = {a + (rank + len(axes)) * (a < 0) for a in axes}
        return None if axis in new else (source, axis - sum(a < axis for a in new), True)

    def _through_reshape(self, node: ir.Node, axis: int) -> _Place | None:
        shape = node.inputs[1]
        if shape is None or whole(node, "allowzero", 0):
            return None
        size = self.element(shape, axis)
        if size == 0 and node.inputs[0] is not None:
            return node.inputs[0], axis, True
        if isinstance(size, Origin):
            return size.value, size.position, size.is_axis
        return None if not isinstance(size, int) or size < 0 else (shape, axis, False)

    def _through_element(self, value: ir.Value, position: int) -> _Place | None:
        node = value.producer()
        source = None if node is None else operand(node, 0)
        if node is None or source is None:
            return None
        if is_op(node, *_CASTS):
            return source, position, False
        if is_op(node, "Shape"):
            start = whole(node, "start", 0)
            return (source, position + start, True) if start >= 0 else None
        if is_op(node, "Gather") and node.inputs[1] is not None:
            taken = self._forms.ints(node.inputs[1])
            known = taken is not None and position < len(taken) and taken[position] >= 0
            return (source, taken[position], False) if taken is not None and known else None
        if is_op(node, "Slice"):
            cut = cut_of(node, self._forms.ints)
            plain = cut is not None and cut.axis in (0, -1) and cut.step == 1 and cut.start >= 0
            return (source, cut.start + position, False) if cut is not None and plain else None
        if is_op(node, "Reshape"):
            return source, position, False
        if is_op(node, "Concat"):
            return self._through_concat(node, position)
        return self._through_sequence(source) if is_op(node, "SequenceLength") else None

    def _through_concat(self, node: ir.Node, position: int) -> _Place | None:
        for part in node.inputs:
            size = None if part is None else self._forms[part].width
            if part is None or size is None:
                return None
            if position < size:
                return part, position, False
            position -= size
        return None

    def _through_sequence(self, sequence: ir.Value) -> _Place | None:
        maker = self._resolve(sequence).producer()
        source = split_source(maker, self._resolve)
        if source is None or maker is None:
            return None
        axis = self._forms.axis(source, whole(maker, "axis", 0))
        return None if axis is None else (source, axis, True)
