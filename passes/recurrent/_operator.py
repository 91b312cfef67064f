"""Steps that are recurrent operators themselves, over a sequence of one position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onnxopt.graph import attribute, is_op
from onnxopt_passes.recurrent._affine import Affine, Weight, constant_shape
from onnxopt_passes.recurrent._build import DEFAULTS, SLOTS
from onnxopt_passes.recurrent._cell import Cell, Kind, has_matrices
from onnxopt_passes.recurrent._reading import axes_of, operand, whole
from onnxopt_passes.recurrent._trace import Activation, Trace, default_activation

_LENGTHS, _HIDDEN, _MEMORY, _PEEPHOLES = 4, 5, 6, 7
_UNREAD = ("clip", "input_forget", "layout", "direction")


def operator_cells(trace: Trace, node: ir.Node, kind: Kind) -> Iterator[Cell]:
    """An operator that takes ``x`` and its states as sequences of one position."""
    if not is_op(node, kind) or any(name in node.attributes for name in _UNREAD):
        return
    if operand(node, _LENGTHS) is not None or operand(node, _PEEPHOLES) is not None:
        return
    x, hidden, memory = (_unsqueezed(trace, operand(node, at)) for at in (0, _HIDDEN, _MEMORY))
    new = [_squeezed(trace, output) for output in node.outputs[1:]]
    activations = _activations(node, kind)
    if x is None or hidden is None or activations is None or not new or new[0] is None:
        return
    if kind == "LSTM" and (memory is None or new[1:] in ([], [None])):
        return
    slots = _slots(trace, node, kind, x, hidden)
    if slots is not None and has_matrices(trace, slots):
        yield Cell(
            kind=kind,
            activations=activations,
            slots=slots,
            hidden=new[0],
            previous=trace.resolve(hidden),
            memory=new[1] if kind == "LSTM" else None,
            previous_memory=None if memory is None else trace.resolve(memory),
            resets_after=bool(whole(node, "linear_before_reset", 0)),
        )


def _slots(
    trace: Trace, node: ir.Node, kind: Kind, x: ir.Value, hidden: ir.Value
) -> tuple[Affine, ...] | None:
    size = whole(node, "hidden_size", 0)
    w, r = (operand(node, at) for at in (1, 2))
    bias = operand(node, 3)
    if w is None or r is None:
        return None
    w, r = trace.resolve(w), trace.resolve(r)
    shapes = constant_shape(w), constant_shape(r)
    if shapes[0] is None or shapes[1] is None or shapes[1][-1] != size or not size:
        return None
    gates, width = len(SLOTS[kind][0]), shapes[0][-1]
    slots = []
    for k in range(gates):
        columns = (k * size, (k + 1) * size)
        from_input = (trace.leaf(x), Weight(w, True, (0, width), columns))
        from_state = (trace.leaf(hidden), Weight(r, True, (0, size), columns))
        apart = kind == "GRU" and k == gates - 1
        parts = [Affine(size, (from_input,)), Affine(size, (from_state,))]
        for part, first in enumerate((0, gates * size) if bias is not None else ()):
            known = _shifted(trace, parts[part], bias, first + k * size)
            if known is None:
                return None
            parts[part] = known
        total = parts[0].plus(parts[1])
        if total is None:
            return None
        slots += parts if apart else [total]
    return tuple(slots)


def _shifted(trace: Trace, affine: Affine, bias: ir.Value | None, start: int) -> Affine | None:
    """The sum with a part of the operator's biases."""
    value = None if bias is None else trace.resolve(bias)
    if value is None or constant_shape(value) is None:
        return None
    return affine.offset(value, start)


def _unsqueezed(trace: Trace, value: ir.Value | None) -> ir.Value | None:
    """The matrix that an Unsqueeze makes a sequence of one position."""
    node = None if value is None else trace.resolve(value).producer()
    if node is None or not is_op(node, "Unsqueeze") or axes_of(node, trace.forms.ints) != (0,):
        return None
    return node.inputs[0]


def _squeezed(trace: Trace, value: ir.Value) -> ir.Value | None:
    """The matrix that the only reader of a state makes of it."""
    readers = list(value.consumers())
    if len(readers) != 1 or value.is_graph_output() or not is_op(readers[0], "Squeeze"):
        return None
    return readers[0].outputs[0] if axes_of(readers[0], trace.forms.ints) == (0,) else None


def _activations(node: ir.Node, kind: Kind) -> tuple[Activation, ...] | None:
    names = attribute(node, "activations", ())
    if not names:
        return DEFAULTS[kind]
    plain = "activation_alpha" not in node.attributes and "activation_beta" not in node.attributes
    known = [default_activation(name) for name in _texts(names)] if plain else [None]
    found = tuple(activation for activation in known if activation is not None)
    return found if len(found) == len(known) == len(DEFAULTS[kind]) else None


def _texts(names: object) -> Sequence[str]:
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []
