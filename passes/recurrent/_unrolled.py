"""Replaces an unrolled sequence of steps by one recurrent operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, subgraphs
from onnxopt_passes.recurrent._build import Way, Writer, recurrent, roles_dtype
from onnxopt_passes.recurrent._chain import Chain
from onnxopt_passes.recurrent._reading import Cut, axes_of, cut_of, operand, stacked_axis, whole
from onnxopt_passes.recurrent._sequence import Input, Parts, read_steps, write_inputs
from onnxopt_passes.recurrent._sizes import Sizes
from onnxopt_passes.recurrent._states import Refusal, State, common_batch, first_state
from onnxopt_passes.recurrent._trace import Trace

_SLICE_STEPS = 10
"""The opset that gave Slice its steps."""


@dataclass(frozen=True)
class Plan:
    """An unrolled sequence that can be replaced."""

    chain: Chain
    inputs: tuple[Input, ...]
    states: tuple[State, ...]
    nodes: frozenset[ir.Node]

    @property
    def reads(self) -> Iterator[ir.Value]:
        """Every value the operator will read."""
        for part in self.inputs:
            yield from part.sources
        yield from (state.value for state in self.states if state.value is not None)

    @property
    def way(self) -> Way:
        """The order of the steps in time."""
        return self.inputs[0].way


def plan_chain(trace: Trace, chain: Chain, version: int) -> Plan:
    """How to replace a chain.

    Raises:
        Refusal: It cannot be replaced exactly.
    """
    sizes = Sizes(trace.resolve, trace.forms)
    if roles_dtype(chain.roles) != ir.DataType.FLOAT:
        raise Refusal("ONNX Runtime computes recurrent operators in float32 only")
    if len({cell.anchor.graph for cell in chain.cells}) > 1:
        raise Refusal("its steps stand in different graphs")
    nodes = frozenset(chain.nodes())
    _check_private(chain, nodes)
    inputs = tuple(_inputs(trace, sizes, chain))
    if version < _SLICE_STEPS and len({part.way for part in inputs} | {"forward"}) > 1:
        raise Refusal(f"turning a sequence needs opset 10, this is {version}")
    _check_independent(trace, chain, inputs)
    starts = [None if chain.hidden is None else chain.hidden.read or chain.hidden.value]
    if chain.first.memory is not None:
        starts.append(chain.memory)
    batch = common_batch(sizes, chain.first, inputs)
    common_batch(sizes, chain.last, inputs)
    states = tuple(first_state(trace, sizes, start, batch) for start in starts)
    return Plan(chain, inputs, states, nodes)


def _inputs(trace: Trace, sizes: Sizes, chain: Chain) -> Iterator[Input]:
    for leaves in zip(*chain.inputs, strict=True):
        found = read_steps(trace, sizes, leaves)
        if found is None:
            name = leaves[0].value.name
            raise Refusal(f"what the steps read of {name} is no sequence of neighbours")
        yield found


def _check_private(chain: Chain, nodes: frozenset[ir.Node]) -> None:
    """Only the last state and the hidden states may be read from outside."""
    memories = [cell.memory for cell in chain.cells[:-1] if cell.memory is not None]
    inner = [value for cell in chain.cells for value in cell.inner]
    for value in (*memories, *inner):
        made_inside = value.producer() in nodes
        if made_inside and (
            value.is_graph_output() or any(reader not in nodes for reader in value.consumers())
        ):
            raise Refusal(f"{value.name} in the middle of a step is read elsewhere too")


def _check_independent(trace: Trace, chain: Chain, inputs: Iterable[Input]) -> None:
    """No input may come from the states: the operator wants all of them at once."""
    pending = [value for part in inputs if isinstance(part, Parts) for value in part.values]
    states = {cell.hidden for cell in chain.cells} | {cell.memory for cell in chain.cells}
    anchor, seen = chain.first.anchor, set[ir.Node]()
    while pending:
        value = pending.pop()
        if value in states:
            raise Refusal(f"the input of a step depends on the state {value.name} before it")
        node = value.producer()
        if node is None or node in seen or not trace.may_follow(node, anchor):
            continue
        seen.add(node)
        pending += [source for source in _all_inputs(node) if source is not None]


def _all_inputs(node: ir.Node) -> Iterator[ir.Value | None]:
    yield from node.inputs
    for graph in subgraphs(node):
        for inner in graph.all_nodes():
            yield from inner.inputs


@dataclass(frozen=True)
class _Stack:
    """A value that holds the hidden states of all steps.

    Attributes:
        value: The value.
        axis: The axis of time; None where the states stand side by side in the last axis.
        backwards: Whether the last step comes first.
    """

    value: ir.Value
    axis: int | None
    backwards: bool


def write_chain(trace: Trace, editor: Editor, plan: Plan, version: int) -> set[ir.Value]:
    """Replace the chain; returns the values that are gone."""
    chain = plan.chain
    last = chain.last
    steps = tuple(cell.anchor for cell in chain.cells)
    writer = Writer(editor, chain.first.anchor, last.hidden.name or "", version, steps)
    sequence = write_inputs(writer, plan.inputs)
    names = ("first_hidden", "first_cell")
    states = [s.write(writer, n) for s, n in zip(plan.states, names, strict=False)]
    node = recurrent(writer, chain.first, chain.roles, sequence, states, plan.way)
    gone: set[ir.Value] = set()
    outputs = _Outputs(trace, writer, plan, node)
    for stack in _stacks(trace, chain):
        gone |= outputs.put_stack(stack)
    gone |= outputs.put_states()
    graph = node.graph
    if graph is not None and any(isinstance(part, Parts) for part in plan.inputs):
        graph.sort()
    return gone


class _Outputs:
    """Lets the readers of the steps read the operator."""

    def __init__(self, trace: Trace, writer: Writer, plan: Plan, node: ir.Node) -> None:
        self._trace, self._writer, self._plan = trace, writer, plan
        self._node, self._editor = node, writer.editor
        self._all: ir.Value | None = None

    def put_stack(self, stack: _Stack) -> set[ir.Value]:
        """Replace a value that holds all hidden states."""
        gone = {stack.value}
        turned = (self._plan.way == "reverse") != stack.backwards
        if turned and stack.axis is not None:
            for reader in tuple(stack.value.consumers()):
                cut = cut_of(reader, self._trace.forms.ints) if is_op(reader, "Slice") else None
                if cut is not None and cut.reverses and self._along(reader, cut, stack.axis):
                    gone |= self._replace(reader.outputs[0], self._arranged(stack.axis, False))
        if stack.value.uses() or stack.value.is_graph_output():
            gone |= self._replace(stack.value, self._arranged(stack.axis, turned))
        else:
            self._sweep(stack.value)
        return gone

    def put_states(self) -> set[ir.Value]:
        """Replace the last states, then the hidden states of single steps that are still read."""
        chain, gone = self._plan.chain, set[ir.Value]()
        last = chain.last
        if self._is_read(last.hidden):
            alone = not any(self._is_read_outside(cell.hidden) for cell in chain.cells[:-1])
            final = self._last() if alone else self._picked(len(chain.cells) - 1)
            gone |= self._replace(last.hidden, final)
        else:
            self._sweep(last.hidden)
        if last.memory is not None and self._is_read(last.memory):
            final = self._writer.squeeze(self._node.outputs[2], 0, "last_cell")
            gone |= self._replace(last.memory, final)
        for index in range(len(chain.cells) - 2, -1, -1):
            hidden = chain.cells[index].hidden
            if self._is_read(hidden):
                gone |= self._replace(hidden, self._picked(index))
        return gone

    def _is_read(self, value: ir.Value) -> bool:
        node = value.producer()
        alive = node is not None and node.graph is not None
        return alive and bool(value.uses() or value.is_graph_output())

    def _is_read_outside(self, value: ir.Value) -> bool:
        outside = any(reader not in self._plan.nodes for reader in value.consumers())
        return outside or value.is_graph_output()

    def _last(self) -> ir.Value:
        """The hidden state after the last step."""
        return self._writer.squeeze(self._node.outputs[1], 0, "last_hidden")

    def _along(self, reader: ir.Node, cut: Cut, axis: int) -> bool:
        source = operand(reader, 0)
        return source is not None and self._trace.forms.axis(source, cut.axis) == axis

    def _picked(self, step: int) -> ir.Value:
        """The hidden state of one step."""
        if self._all is None:
            self._all = self._squeezed()
        steps = len(self._plan.chain.cells)
        at = step if self._plan.way == "forward" else steps - 1 - step
        return self._writer.pick(self._all, at, f"step{step}")

    def _squeezed(self) -> ir.Value:
        """All hidden states, time first."""
        return self._writer.squeeze(self._node.outputs[0], 1, "steps")

    def _arranged(self, axis: int | None, turned: bool) -> ir.Value:
        """All hidden states with time on an axis, or side by side."""
        value = self._squeezed()
        if axis == 0 and not turned:
            self._all = self._all or value
        if turned:
            value = self._writer.reverse(value, 0, "turned")
        if axis == 0:
            return value
        value = self._writer.transpose(value, "batch_first")
        if axis == 1:
            return value
        shape = self._writer.ints([0, len(self._plan.chain.cells) * self._width], "flat/shape")
        return self._writer.op("Reshape", [value, shape], "flat")

    @property
    def _width(self) -> int:
        return self._plan.chain.first.size

    def _replace(self, old: ir.Value, new: ir.Value) -> set[ir.Value]:
        maker = old.producer()
        self._editor.replace(old, new)
        if maker is not None:
            self._editor.sweep(maker)
        return {old}

    def _sweep(self, value: ir.Value) -> None:
        maker = value.producer()
        if maker is not None:
            self._editor.sweep(maker)


def _stacks(trace: Trace, chain: Chain) -> list[_Stack]:
    """The values that hold the hidden states of all steps."""
    states = {trace.resolve(cell.hidden): k for k, cell in enumerate(chain.cells)}
    found = []
    for reader in chain.first.hidden.consumers():
        if is_op(reader, "Unsqueeze"):
            axes = axes_of(reader, trace.forms.ints)
            for joint in reader.outputs[0].consumers():
                stack = None if axes is None else _stack(trace, joint, axes, states)
                found += [] if stack is None else [stack]
        elif is_op(reader, "Concat"):
            order = [states.get(trace.resolve(v)) for v in reader.inputs if v is not None]
            backwards = _order(order, len(states))
            side_by_side = trace.forms.is_last(chain.first.hidden, whole(reader, "axis", 0))
            if backwards is not None and side_by_side:
                found.append(_Stack(reader.outputs[0], None, backwards))
        elif is_op(reader, "SequenceConstruct"):
            found += _sequence_stacks(trace, reader, states)
    return list({stack.value: stack for stack in found}.values())


def _stack(
    trace: Trace, joint: ir.Node, axes: tuple[int, ...], states: dict[ir.Value, int]
) -> _Stack | None:
    if not is_op(joint, "Concat") or len(axes) != 1:
        return None
    axis, order = axes[0] + 3 * (axes[0] < 0), []
    for value in joint.inputs:
        node = None if value is None else trace.resolve(value).producer()
        if node is None or not is_op(node, "Unsqueeze") or axes_of(node, trace.forms.ints) != axes:
            return None
        source = node.inputs[0]
        order.append(None if source is None else states.get(trace.resolve(source)))
    backwards, along = _order(order, len(states)), whole(joint, "axis", 0)
    if backwards is None or along + 3 * (along < 0) != axis or axis > 1:
        return None
    return _Stack(joint.outputs[0], axis, backwards)


def _sequence_stacks(trace: Trace, node: ir.Node, states: dict[ir.Value, int]) -> Iterator[_Stack]:
    order = [states.get(trace.resolve(value)) for value in node.inputs if value is not None]
    backwards = _order(order, len(states))
    for joint in node.outputs[0].consumers():
        axis = stacked_axis(joint)
        if backwards is not None and axis is not None:
            yield _Stack(joint.outputs[0], axis, backwards)


def _order(order: list[int | None], count: int) -> bool | None:
    """False for all steps in order, True for all of them backwards, None for anything else."""
    if order == list(range(count)):
        return False
    return True if order == list(range(count))[::-1] else None
