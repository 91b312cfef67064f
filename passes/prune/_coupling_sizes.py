"""Which numbers of small integer vectors are the sizes of axes, so that they follow by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxopt.graph import attribute, is_constant, is_op
from onnxopt_passes.prune._coupling_dims import Dim, freeze, leaf, product
from onnxopt_passes.prune._coupling_walk import Entry, Walk, is_free

_TAKERS = frozenset({"Reshape", "Expand", "ConstantOfShape", "Resize", "Slice"})
"""Ops whose own rules look at sizes they are given."""


def follow(walk: Walk, node: ir.Node) -> None:
    """Note the numbers a node computes from sizes; what computes otherwise freezes the axes."""
    if is_op(node, "Shape"):
        axes = walk.maybe(node, 0)
        if axes is not None:
            stop = attribute(node, "end", len(axes))
            part = slice(int(str(attribute(node, "start", 0))), int(str(stop)))
            walk.entries_of[node.outputs[0]] = axes[part]
        return
    if is_op(node, "Size"):
        axes = walk.maybe(node, 0)
        if axes is not None:
            walk.entries_of[node.outputs[0]] = (product(axes) if axes else 1,)
        return
    rows = [walk.entries(value) for value in node.inputs]
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is not None and rows and rows[0] is not None:
        found = rule(walk, node, rows)
        if found is not None:
            walk.entries_of[node.outputs[0]] = found
            return
    for index, value in enumerate(node.inputs):
        if value is None or is_constant(value) or (is_op(node, *_TAKERS) and index):
            continue
        if is_op(node, "ConstantOfShape"):
            continue
        for entry in walk.entries_of.get(value, ()):
            if isinstance(entry, Dim) and is_free(entry):
                freeze(entry, walk.why(node, "computes with its size"))


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
    made = [_OPERATORS[node.op_type](a, b) for a, b in pairs]
    if any(one is None for one in made):
        return None
    return tuple(made)


def _times(a: Entry, b: Entry) -> Entry:
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if 1 in (a, b):
        return b if a == 1 else a
    if any(isinstance(one, int) and one <= 0 for one in (a, b)):
        return None
    return product(
        one if isinstance(one, Dim) else leaf(one, "they are a factor") for one in (a, b)
    )


def _plus(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return (b if a == 0 else a) if 0 in (a, b) else None


def _minus(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return a if b == 0 else None


def _over(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int) and b:
        return math.trunc(a / b)
    return a if b == 1 else None


_OPERATORS: dict[str, Callable[[Entry, Entry], Entry]] = {
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
    **dict.fromkeys(_OPERATORS, _arithmetic),
}
