"""Computes nodes whose inputs are all constant, many in one session of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt.errors import OnnxoptError
from onnxopt_passes.simplify._arrays import Array, as_tensor

_SESSIONS = 64


@dataclass
class Evaluation:
    """What came out of evaluating nodes.

    Attributes:
        arrays: The values that were wanted and could be computed.
        failures: The nodes that could not be computed, with the runtime's reason.
    """

    arrays: dict[ir.Value, Array] = field(default_factory=dict)
    failures: list[tuple[ir.Node, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluator:
    """Runs nodes in ONNX Runtime with its optimisations off, on one thread.

    Attributes:
        ir_version: Of the model the nodes come from.
        imports: Opsets in force where the nodes stand.
    """

    ir_version: int
    imports: Mapping[str, int]

    def evaluate(self, nodes: Sequence[ir.Node], wanted: Iterable[ir.Value]) -> Evaluation:
        """Compute the wanted outputs of nodes in topological order.

        All nodes share one session. Where that fails, halves are tried until the nodes that the
        runtime cannot compute stand alone; this never raises.
        """
        result, budget = Evaluation(), [_SESSIONS]
        self._halve(nodes, frozenset(wanted), result, budget)
        return result

    def _halve(
        self,
        nodes: Sequence[ir.Node],
        wanted: frozenset[ir.Value],
        result: Evaluation,
        budget: list[int],
    ) -> None:
        made = [v for node in nodes for v in node.outputs if v in wanted]
        if not made:
            return
        if budget[0] <= 0:
            result.failures += [(node, "too many other nodes failed") for node in nodes]
            return
        budget[0] -= 1
        try:
            result.arrays.update(self._run(nodes, made, result.arrays))
        except OnnxoptError as error:
            if len(nodes) == 1:
                result.failures.append((nodes[0], error.found))
                return
            middle = len(nodes) // 2
            crossing = {v for node in nodes[middle:] for v in node.inputs if v is not None}
            self._halve(nodes[:middle], wanted | crossing, result, budget)
            lost = {v for node, _ in result.failures for v in node.outputs}
            rest = _without_dependents(nodes[middle:], lost, set(result.arrays), nodes[:middle])
            self._halve(rest, wanted, result, budget)

    def _run(
        self, nodes: Sequence[ir.Node], made: Sequence[ir.Value], known: Mapping[ir.Value, Array]
    ) -> dict[ir.Value, Array]:
        from onnxopt.runtime import SessionConfig, open_session

        model, names = extract(nodes, made, self.imports, self.ir_version, known)
        with open_session(model, SessionConfig(optimization="off", threads=1)) as session:
            outputs = session.run({})
        return {value: np.asarray(outputs[names[value]]) for value in made}


def extract(
    nodes: Sequence[ir.Node],
    outputs: Sequence[ir.Value],
    imports: Mapping[str, int],
    ir_version: int,
    known: Mapping[ir.Value, Array],
) -> tuple[ir.Model, dict[ir.Value, str]]:
    """A model of its own without inputs: copies of the nodes, and the constants they read.

    Args:
        nodes: In topological order; they hold no subgraphs.
        outputs: Which of their outputs the model shall have.
        imports: Its opsets.
        ir_version: Its IR version, raised to 4 where it is older.
        known: Arrays of values that are no constants in the graph yet.

    Returns:
        The model, and the names of the outputs in it.
    """
    values: dict[ir.Value, ir.Value] = {}
    weights: list[ir.Value] = []
    copies: list[ir.Node] = []
    for node in nodes:
        for value in node.inputs:
            if value is not None and value not in values:
                values[value] = _leaf(value, known, f"v{len(values)}")
                weights.append(values[value])
        inputs = [None if value is None else values[value] for value in node.inputs]
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            node.attributes.values(),
            num_outputs=len(node.outputs),
            name=f"n{len(copies)}",
        )
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name = f"v{len(values)}" if old.name else ""
            values[old] = new
        copies.append(copy)
    graph = ir.Graph(
        [],
        [values[value] for value in outputs],
        nodes=copies,
        initializers=weights,
        opset_imports=dict(imports),
        name="constants",
    )
    model = ir.Model(graph, ir_version=max(ir_version, 4))
    return model, {value: values[value].name or "" for value in outputs}


def _leaf(value: ir.Value, known: Mapping[ir.Value, Array], name: str) -> ir.Value:
    """A constant under a new name: wrapped, because a tensor carries the name of its value."""
    tensor = as_tensor(known[value], name) if value in known else edit.constant_tensor(value)
    if tensor is None:
        raise ValueError(f"{value.name} is no constant")
    shape = ir.Shape(tensor.shape.numpy())
    if tensor.dtype == ir.DataType.STRING:
        copy: ir.TensorProtocol = ir.StringTensor(tensor.numpy(), shape=shape, name=name)
    else:
        copy = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=shape, name=name)
    return ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=copy)


def _without_dependents(
    nodes: Sequence[ir.Node],
    lost: set[ir.Value],
    known: set[ir.Value],
    earlier: Sequence[ir.Node],
) -> list[ir.Node]:
    """The nodes that can still be computed when some values of earlier nodes are lost."""
    gone = lost | {v for node in earlier for v in node.outputs if v not in known}
    kept = []
    for node in nodes:
        if any(value in gone for value in node.inputs):
            gone |= set(node.outputs)
        else:
            kept.append(node)
    return kept
