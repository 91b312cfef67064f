"""Steps of LSTM cells: ``c' = f∘c + i∘g``, ``h' = o∘tanh(c')``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import onnx_ir as ir

from onnxopt.graph import is_op
from onnxopt_passes.recurrent._cell import Cell, has_matrices
from onnxopt_passes.recurrent._operator import operator_cells
from onnxopt_passes.recurrent._trace import Gate, Trace, activation_of

_Output = tuple[ir.Node, ir.Value, Gate]
"""The activation of the memory, the new hidden state, the output gate."""


def lstm_cells(trace: Trace, node: ir.Node) -> Iterator[Cell]:
    """Every reading of a sum as the memory of an LSTM cell."""
    yield from operator_cells(trace, node, "LSTM")
    if not is_op(node, "Add", "Sum") or len(node.inputs) != 2:
        return
    halves = [_factors(trace, value) for value in node.inputs]
    for forget, update in ((halves[0], halves[1]), (halves[1], halves[0])):
        if forget is None or update is None:
            continue
        first, second = (trace.gate(value) for value in update)
        if first is None or second is None:
            continue
        for kept, memory in (forget, forget[::-1]):
            gate = trace.gate(kept)
            if gate is None:
                continue
            for (i, g), output in product(
                ((first, second), (second, first)), _outputs(trace, node, gate)
            ):
                if i.activation == gate.activation:
                    values = (*forget, *update, *_present(node))
                    inner = tuple(v for v in values if v is not memory)
                    cell = _cell(trace, node, (i, output[2], gate, g), output, memory, inner)
                    if cell is not None:
                        yield cell


def _cell(
    trace: Trace,
    node: ir.Node,
    gates: tuple[Gate, ...],
    output: _Output,
    memory: ir.Value,
    inner: tuple[ir.Value, ...],
) -> Cell | None:
    slots = tuple(gate.affine for gate in gates)
    activation = activation_of(output[0])
    if activation is None or len({slot.width for slot in slots}) != 1:
        return None
    if not has_matrices(trace, slots):
        return None
    return Cell(
        kind="LSTM",
        activations=(gates[2].activation, gates[3].activation, activation),
        slots=slots,
        hidden=output[1],
        memory=node.outputs[0],
        previous_memory=trace.resolve(memory),
        inner=(*inner, output[0].outputs[0]),
    )


def _factors(trace: Trace, value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    node = None if value is None else trace.resolve(value).producer()
    if node is None or not is_op(node, "Mul") or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    return None if left is None or right is None else (left, right)


def _outputs(trace: Trace, node: ir.Node, gate: Gate) -> Iterator[_Output]:
    """The products of an activated memory and an output gate."""
    for squashed in _readers(node.outputs[0]):
        if activation_of(squashed) is None:
            continue
        value = squashed.outputs[0]
        for reader in value.consumers():
            if not is_op(reader, "Mul") or len(reader.inputs) != 2:
                continue
            other = next((v for v in reader.inputs if v is not value and v is not None), None)
            found = None if other is None else trace.gate(other)
            if found is not None and found.activation == gate.activation:
                yield squashed, reader.outputs[0], found


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a value, also through an Identity."""
    for node in value.consumers():
        if is_op(node, "Identity"):
            yield from node.outputs[0].consumers()
        else:
            yield node


def _present(node: ir.Node) -> tuple[ir.Value, ...]:
    return tuple(value for value in node.inputs if value is not None)
