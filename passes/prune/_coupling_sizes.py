"""Which numbers of small integer vectors are sizes of axes, and so follow these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxopt.graph import attribute, is_constant, is_op
from onnxopt_passes.prune._coupling_dims import Dim, freeze, leaf, normal, product
from onnxopt_passes.prune._coupling_walk import Axes, Entry, Walk, is_free

_SMALL = 64
_TAKERS = frozenset({"Reshape", "Expand", "Resize", "Slice"})
"""Ops whose own rules look at sizes they are given."""


def follow(walk: Walk, node: ir.Node) -> None:
    """Note the numbers a node computes from sizes; what computes otherwise freezes the axes."""
    found = _computed(walk, node)
    if found is not None:
        walk.entries_of[node.outputs[0]] = found
    elif not is_op(node, "Shape", "Size", "ConstantOfShape"):
        _freeze_sizes(walk, node)


def _computed(walk: Walk, node: ir.Node) -> tuple[Entry, ...] | None:
    if is_op(node, "Shape", "Size"):
        axes = walk.maybe(node, 0)
        return None if axes is None else _measured(node, axes)
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    rows = [walk.entries(value) for value in node.inputs]
    return rule(walk, node, rows) if rule is not None and rows else None


def _measured(node: ir.Node, axes: Axes) -> tuple[Entry, ...]:
    if node.op_type == "Size":
        return (_settled(product(axes)),) if axes else (1,)
    stop = attribute(node, "end", len(axes))
    part = slice(int(str(attribute(node, "start", 0))), int(str(stop)))
    return tuple(_settled(dim) for dim in axes[part])


def _freeze_sizes(walk: Walk, node: ir.Node) -> None:
    """Freeze the axes whose sizes a node reads, if not as the shape of something."""
    for index, value in enumerate(node.inputs):
        if value is None or is_constant(value) or (index and is_op(node, *_TAKERS)):
            continue
        for entry in walk.entries_of.get(value, ()):
            if isinstance(entry, Dim) and is_free(entry):
                freeze(entry, walk.why(node, "computes with their number"))


def _settled(dim: Dim) -> Entry:
    """The size itself where it stays as it is."""
    size = normal(dim).size
    return dim if size is None or is_free(dim) else size


Rows = Sequence[tuple[Entry, ...] | None]


def _same(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    return rows[0]


def _cast(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    to = ir.DataType(int(str(attribute(node, "to", 1))))
    return rows[0] if to.is_integer() else None


def _concat(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    made: list[Entry] = []
    for row in rows:
        if row is None:
            return _with_gaps(walk, node, rows)
        made.extend(row)
    return tuple(made)


def _with_gaps(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    """Unknown numbers where a part is unknown but its length is not."""
    made: list[Entry] = []
    for index, row in enumerate(rows):
        value = node.inputs[index]
        count = 0 if value is None else walk.known_size(value, 0)
        if row is None and count is None:
            return None
        made.extend(row if row is not None else [None] * (count or 0))
    return tuple(made)


def _gather(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    picked = walk.ints(node.inputs[1])
    row = rows[0]
    if picked is None or row is None or any(not -len(row) <= i < len(row) for i in picked):
        return None
    return tuple(row[i] for i in picked)


def _slice(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    options = [walk.ints(value) for value in node.inputs[1:]]
    if "starts" in node.attributes:
        options = [[int(n) for n in node.attributes[k].as_ints()] for k in ("starts", "ends")]
    row = rows[0]
    if row is None or any(option is None or len(option) != 1 for option in options):
        return None
    start, stop = (option[0] for option in options[:2] if option)
    step = options[3][0] if len(options) > 3 and options[3] else 1
    return row[slice(start, stop, step)]


def _arithmetic(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    left, right = rows[0], rows[1]
    if left is None or right is None or not left or not right:
        return None
    count = max(len(left), len(right))
    if len(left) not in (1, count) or len(right) not in (1, count):
        return None
    pairs = zip(left * (count // len(left)), right * (count // len(right)), strict=True)
    why = walk.why(node, "computes a shape from their number")
    made = [_OPERATORS[node.op_type](a, b, why) for a, b in pairs]
    if any(one is None for one in made):
        return None
    return tuple(made)


def _equal(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    """Ones and zeros; no size is negative."""
    left, right = rows[0], rows[1]
    if left is None or right is None or len(left) != len(right):
        return None
    made: list[Entry] = []
    for a, b in zip(left, right, strict=True):
        numbers = [one for one in (a, b) if isinstance(one, int)]
        if a is None or b is None or (len(numbers) < len(rows) and min(numbers, default=0) >= 0):
            return None
        made.append(int(a == b))
    return tuple(made)


def _where(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    asked, yes, no = rows
    if asked is None or yes is None or no is None or not len(asked) == len(yes) == len(no):
        return None
    if any(not isinstance(one, int) for one in asked):
        return None
    return tuple(a if one else b for one, a, b in zip(asked, yes, no, strict=True))


def _filled(walk: Walk, node: ir.Node, rows: Rows) -> tuple[Entry, ...] | None:
    count = walk.ints(node.inputs[0])
    value = node.attributes.get("value")
    number = value.as_tensor().numpy() if value is not None else None
    if count is None or len(count) != 1 or count[0] > _SMALL or number is None:
        return None
    return (int(number[0]),) * count[0] if number.dtype.kind == "i" else None


def _times(a: Entry, b: Entry, why: str) -> Entry:
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if 1 in (a, b):
        return b if a == 1 else a
    if any(isinstance(one, int) and one <= 0 for one in (a, b)):
        return None
    return product(one if isinstance(one, Dim) else leaf(one, why) for one in (a, b))


def _plus(a: Entry, b: Entry, why: str) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return (b if a == 0 else a) if 0 in (a, b) else None


def _minus(a: Entry, b: Entry, why: str) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return a if b == 0 else None


def _over(a: Entry, b: Entry, why: str) -> Entry:
    if isinstance(a, int) and isinstance(b, int) and b:
        return math.trunc(a / b)
    return a if b == 1 else None


_OPERATORS: dict[str, Callable[[Entry, Entry, str], Entry]] = {
    "Mul": _times,
    "Add": _plus,
    "Sub": _minus,
    "Div": _over,
}

_RULES: dict[str, Callable[[Walk, ir.Node, Rows], tuple[Entry, ...] | None]] = {
    "Identity": _same,
    "Unsqueeze": _same,
    "Squeeze": _same,
    "Reshape": _same,
    "Cast": _cast,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Equal": _equal,
    "Where": _where,
    "ConstantOfShape": _filled,
    **dict.fromkeys(_OPERATORS, _arithmetic),
}
