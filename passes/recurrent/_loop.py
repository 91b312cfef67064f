"""Replaces a Loop or Scan over the steps of cells by recurrent operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxopt.graph import Editor, is_op, subgraphs
from onnxopt_passes.recurrent._affine import Leaf
from onnxopt_passes.recurrent._build import Way, Writer, recurrent, roles_dtype
from onnxopt_passes.recurrent._cell import Cell, Roles, roles_of
from onnxopt_passes.recurrent._chain import Finder
from onnxopt_passes.recurrent._mask import OLDEST, Mask, Packing, choice_of
from onnxopt_passes.recurrent._reading import attribute_ints, axes_of, stacked_axis, whole
from onnxopt_passes.recurrent._sequence import Span, simplified, write_inputs
from onnxopt_passes.recurrent._sizes import Sizes
from onnxopt_passes.recurrent._states import Refusal, State, common_batch, first_state, is_zero
from onnxopt_passes.recurrent._trace import Trace
from onnxopt_passes.recurrent._trip import Iterations, Trip

_SLICE_STEPS = 10


@dataclass(frozen=True)
class Step:
    """One cell of a body, with what it reads over all iterations.

    Attributes:
        mask: Of the steps that count; None where all do.
    """

    cell: Cell
    roles: Roles
    inputs: tuple[Span | Cell, ...]
    states: tuple[State, ...]
    mask: Mask | None = None


@dataclass(frozen=True)
class Port:
    """What an output of the loop holds.

    Attributes:
        cell: The cell it comes from; None for what the loop only hands through.
        part: Its last hidden state, its last cell state, or all hidden states.
        source: What is handed through.
        axis: The axis of time of all hidden states.
        turned: Whether the last iteration comes first.
        repeats: Whether steps that a mask leaves out give the state before; else they give zeros.
    """

    output: ir.Value
    cell: Cell | None
    part: str
    source: ir.Value | None = None
    axis: int = 0
    turned: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class LoopPlan:
    """A loop that can be replaced."""

    node: ir.Node
    cells: tuple[Step, ...]
    ports: tuple[Port, ...]

    @property
    def reads(self) -> Iterator[ir.Value]:
        """Every value from outside that the operators will read."""
        for step in self.cells:
            masks = () if step.mask is None else (step.mask.span,)
            for part in (*step.inputs, *masks):
                if isinstance(part, Span):
                    yield from part.sources
                    if isinstance(part.length, ir.Value):
                        yield part.length
            yield from (state.value for state in step.states if state.value is not None)
        yield from (port.source for port in self.ports if port.source is not None)


def plan_loop(trace: Trace, node: ir.Node, find: Finder, version: int) -> LoopPlan | None:
    """How to replace a Loop or Scan; None where its body holds no step of a cell.

    Raises:
        Refusal: The body holds a step of a cell, but the loop does more.
    """
    if not is_op(node, "Loop", "Scan"):
        return None
    bodies = list(subgraphs(node))
    cells = [cell for inner in bodies[0] for cell in find(trace, inner)] if bodies else []
    if not cells:
        return None
    reader = _Reader(trace, node, bodies[0], version)
    if not any(reader.is_step(cell) for cell in cells):
        return None
    if version < _SLICE_STEPS:
        raise Refusal(f"replacing a loop needs opset 10, this is {version}")
    return reader.plan(cells)


class _Reader:
    """Reads the body of one loop."""

    def __init__(self, trace: Trace, node: ir.Node, body: ir.Graph, version: int) -> None:
        self._trace, self._node, self._body, self._version = trace, node, body, version
        self._sizes = Sizes(trace.resolve, trace.forms)
        self._is_loop = is_op(node, "Loop")
        self._iterations = Iterations(trace, node, body) if self._is_loop else None
        self._skip = 2 if self._is_loop else 0
        scanned = 0 if self._is_loop else whole(node, "num_scan_inputs", 0)
        self._carried = len(node.inputs) - self._skip - scanned
        self._trip: Trip | None = None

    def is_step(self, cell: Cell) -> bool:
        """Whether a cell goes from one iteration to the next."""
        return self._hidden_leaf(cell) is not None

    def plan(self, cells: Sequence[Cell]) -> LoopPlan:
        """The replacement of the loop by one operator for each of its cells."""
        if len(self._body.inputs) != len(self._node.inputs):
            raise Refusal("a Scan of opset 8 is not read: raise-opset first")
        if self._iterations is not None:
            self._trip = self._iterations.trip()
        steps: dict[ir.Value, Step] = {}
        for cell in cells:
            hidden = self._hidden_leaf(cell)
            if hidden is not None and cell.hidden not in steps:
                steps[cell.hidden] = self._step(cell, hidden, steps)
        used = [k for k, output in enumerate(self._node.outputs) if _used(output)]
        ports = [port for k in used for port in self._ports(k, steps)]
        return LoopPlan(self._node, tuple(steps.values()), tuple(ports))

    def _carried_by(self, value: ir.Value) -> int | None:
        """The position among the carried values of a value at the start of an iteration."""
        for k in range(self._carried):
            if self._body.inputs[self._skip + k] is value:
                return k
        return None

    def _result(self, k: int) -> ir.Value | None:
        """The body's output number ``k``, without the condition."""
        value = self._body.outputs[k + self._is_loop]
        return None if value is None else self._trace.resolve(value)

    def _becomes(self, old: ir.Value, new: ir.Value) -> bool:
        k = self._carried_by(old)
        result = None if k is None else self._result(k)
        if result is None or result is self._trace.resolve(new):
            return result is not None
        choice = choice_of(self._trace, result)
        return choice is not None and choice.old is old and choice.new is self._trace.resolve(new)

    def _mask_of(self, state: ir.Value) -> Leaf | None:
        """The mask that keeps a carried state as it is."""
        k = self._carried_by(state)
        result = None if k is None else self._result(k)
        choice = None if result is None else choice_of(self._trace, result)
        return None if choice is None or choice.old is not state else choice.mask

    def _hidden_leaf(self, cell: Cell) -> Leaf | None:
        memory, new = cell.previous_memory, cell.memory
        if memory is not None and new is not None and not self._becomes(memory, new):
            return None
        for leaf in cell.table:
            own = cell.previous is None or leaf.value is cell.previous
            if leaf.axis is None and own and self._becomes(leaf.value, cell.hidden):
                return leaf
        return None

    def _step(self, cell: Cell, hidden: Leaf, steps: dict[ir.Value, Step]) -> Step:
        roles = roles_of(cell, hidden)
        if roles is None or cell.biases is None:
            raise Refusal("two inputs of its cell enter by the same weights, or none at all")
        if roles_dtype(roles) != ir.DataType.FLOAT:
            raise Refusal("ONNX Runtime computes recurrent operators in float32 only")
        found = roles.leaves(cell)
        leaves = () if found is None else found[1]
        inputs = tuple(self._input(leaf, steps) for leaf in leaves)
        spans = [span for part in inputs for span in self._spans(part, steps)]
        starts = (
            [hidden.value]
            if cell.previous_memory is None
            else [
                hidden.value,
                cell.previous_memory,
            ]
        )
        mask = self._mask(starts, inputs)
        batch = common_batch(self._sizes, cell, spans if mask is None else [*spans, mask.span])
        states = tuple(
            first_state(self._trace, self._sizes, self._start(value), batch) for value in starts
        )
        if mask is not None and any(state.value is not None for state in states):
            raise Refusal("it starts from a state that is not zero, and a mask may leave out all")
        return Step(cell, roles, inputs, states, mask)

    def _mask(self, states: Sequence[ir.Value], inputs: Sequence[Span | Cell]) -> Mask | None:
        """The mask that all states of a cell are kept by."""
        masks = {self._mask_of(state) for state in states}
        if len(masks) > 1:
            raise Refusal("one mask keeps its hidden state and another one its memory")
        (leaf,) = masks
        if leaf is None:
            return None
        if self._version < OLDEST:
            raise Refusal(f"leaving out steps by a mask needs opset {OLDEST}; raise-opset first")
        span = self._input(leaf, {})
        if not isinstance(span, Span) or not all(isinstance(part, Span) for part in inputs):
            raise Refusal("a mask leaves out steps of cells that stand one upon the other")
        return Mask(leaf, span)

    def _start(self, value: ir.Value) -> ir.Value | None:
        k = self._carried_by(value)
        return None if k is None else self._node.inputs[self._skip + k]

    def _spans(self, part: Span | Cell, steps: dict[ir.Value, Step]) -> list[Span]:
        if isinstance(part, Span):
            return [part]
        return [s for inner in steps[part.hidden].inputs for s in self._spans(inner, steps)]

    def _input(self, leaf: Leaf, steps: dict[ir.Value, Step]) -> Span | Cell:
        name = leaf.value.name
        if leaf.axis is None:
            below = self._cell_of(leaf.value, steps)
            if below is None:
                raise Refusal(f"the input {name} of its cell is no position of a sequence")
            return below
        if self._is_inside(leaf.value):
            raise Refusal(f"the sequence {name} is made anew in each iteration")
        span = Span(leaf.value, leaf.axis)
        if not isinstance(leaf.index, str):
            span = self._indexed(span, leaf)
        elif leaf.index == "backward":
            span = span.turned()
        if leaf.turned:
            if leaf.turned != {leaf.axis} or span.length is not None:
                raise Refusal(f"it reads {name} turned around along its batch or only in part")
            span = span.turned()
        return simplified(self._trace, self._sizes, span)

    def _indexed(self, span: Span, leaf: Leaf) -> Span:
        """The span that a Loop reads by its index."""
        trip, index, iterations = self._trip, leaf.index, self._iterations
        position = None
        if isinstance(index, ir.Value) and iterations is not None:
            position = iterations.position(index)
        if trip is None or position is None:
            raise Refusal(f"the position that it reads of {span.value.name} is not its index")
        length = self._sizes.axis(span.value, span.axis)
        complete = length == trip.size
        if position.sign == 1 and position.offset == 0 and position.size is None:
            if complete:
                return span
            if trip.value is not None:
                return replace(span, length=trip.value)
        if position.sign == -1 and position.offset == -1 and position.size == length and complete:
            return replace(span, way="reverse")
        raise Refusal(f"it reads {span.value.name} neither from the first on nor from the last")

    def _is_inside(self, value: ir.Value) -> bool:
        node = value.producer()
        graph = value.graph if node is None else node.graph
        return graph is self._body

    def _ports(self, k: int, steps: dict[ir.Value, Step]) -> list[Port]:
        output, result = self._node.outputs[k], self._result(k)
        if k < self._carried:
            inner = self._body.inputs[self._skip + k]
            if self._trace.resolve(inner) is not inner:
                return [Port(output, None, "source", self._trace.resolve(inner))]
        for step in steps.values():
            if step.mask is not None and result is not None:
                return [self._masked_port(k, result, step, step.mask)]
        for step in steps.values():
            cell = step.cell
            if result is self._trace.resolve(cell.hidden):
                if k < self._carried:
                    return [Port(output, cell, "hidden")]
                axis, turned = self._scan_layout(k - self._carried)
                return [Port(output, cell, "all", axis=axis, turned=turned)]
            memory = cell.memory
            if k < self._carried and memory is not None and result is self._trace.resolve(memory):
                return [Port(output, cell, "cell")]
        ports = self._collected(k, steps) if k < self._carried else []
        if not ports:
            raise Refusal(f"its output {output.name} is more than a state of its cell")
        return ports

    def _masked_port(self, k: int, result: ir.Value, step: Step, mask: Mask) -> Port:
        """What an output holds that a mask chooses for."""
        output, cell = self._node.outputs[k], step.cell
        choice, resolve = choice_of(self._trace, result), self._trace.resolve
        own = self._body.inputs[self._skip + k] if k < self._carried else None
        if choice is not None and choice.mask == mask.leaf:
            memory = cell.memory
            if choice.old is own and own is not None and choice.new is resolve(cell.hidden):
                return Port(output, cell, "hidden")
            if choice.old is own and memory is not None and choice.new is resolve(memory):
                return Port(output, cell, "cell")
            if own is None and choice.new is resolve(cell.hidden):
                repeats = choice.old is not None
                if not repeats or self._repeats(choice.old, result, step):
                    axis, turned = self._scan_layout(k - self._carried)
                    return Port(output, cell, "all", axis=axis, turned=turned, repeats=repeats)
        raise Refusal(f"its output {output.name} is more than a state of its cell under its mask")

    def _repeats(self, old: ir.Value | None, result: ir.Value, step: Step) -> bool:
        """Whether a carried value is what the output was one iteration before, at first zero."""
        k = None if old is None else self._carried_by(old)
        forward = all(isinstance(part, Span) and part.way == "forward" for part in step.inputs)
        if k is None or not forward:
            return False
        carried, start = self._result(k), self._node.inputs[self._skip + k]
        choice = None if carried is None else choice_of(self._trace, carried)
        same = choice is not None and choice == choice_of(self._trace, result)
        return same and start is not None and is_zero(self._trace, start)

    def _collected(self, k: int, steps: dict[ir.Value, Step]) -> list[Port]:
        """What reads a carried value that grows by one hidden state an iteration."""
        result, start = self._result(k), self._node.inputs[self._skip + k]
        node = None if result is None else result.producer()
        if node is None or start is None or len(node.inputs) != 2 or None in node.inputs:
            return []
        grown, new = (self._trace.resolve(value) for value in node.inputs if value is not None)
        if grown is not self._body.inputs[self._skip + k]:
            return []
        if is_op(node, "SequenceInsert"):
            made = self._trace.resolve(start).producer()
            cell = self._cell_of(new, steps)
            readers = list(self._node.outputs[k].consumers())
            stacks = [stacked_axis(reader) for reader in readers]
            if cell is None or not is_op(made, "SequenceEmpty") or None in stacks:
                return []
            pairs = zip(readers, stacks, strict=True)
            return [Port(r.outputs[0], cell, "all", axis=axis or 0) for r, axis in pairs]
        maker = new.producer()
        axes = (
            axes_of(maker, self._trace.forms.ints) if is_op(maker, "Unsqueeze") and maker else None
        )
        if maker is None or axes is None or len(axes) != 1 or not is_op(node, "Concat"):
            return []
        axis, along = (a + 3 * (a < 0) for a in (axes[0], whole(node, "axis", 0)))
        source = maker.inputs[0]
        cell = None if source is None else self._cell_of(self._trace.resolve(source), steps)
        empty = self._sizes.axis(self._trace.resolve(start), axis) == 0
        if cell is None or axis != along or axis > 1 or not empty:
            return []
        return [Port(self._node.outputs[k], cell, "all", axis=axis)]

    def _cell_of(self, hidden: ir.Value, steps: dict[ir.Value, Step]) -> Cell | None:
        found = (s.cell for v, s in steps.items() if self._trace.resolve(v) is hidden)
        return next(found, None)

    def _scan_layout(self, k: int) -> tuple[int, bool]:
        """The axis of time and whether it runs backwards, of an output that collects."""
        if self._is_loop:
            return 0, False
        axes = attribute_ints(self._node, "scan_output_axes")
        ways = attribute_ints(self._node, "scan_output_directions")
        axis = 0 if axes is None else axes[k] + 3 * (axes[k] < 0)
        if axis > 1:
            raise Refusal("it stacks its outputs along the last axis")
        return axis, ways is not None and bool(ways[k])


def write_loop(trace: Trace, editor: Editor, plan: LoopPlan, version: int) -> set[ir.Value]:
    """Replace the loop; returns the values that are gone."""
    nodes: dict[Cell, ir.Node] = {}
    ways: dict[Cell, Way] = {}
    packings: dict[Cell, Packing] = {}
    for step in plan.cells:
        cell = step.cell
        writer = Writer(editor, plan.node, cell.hidden.name or "", version, (plan.node,))
        sequence, way = _sequence(writer, step, nodes, ways)
        packing = None if step.mask is None else Packing.write(writer, step.mask.span, way)
        if packing is not None:
            packings[cell] = packing
            sequence = packing.pack(writer, sequence)
        lengths = None if packing is None else packing.lengths
        names = ("first_hidden", "first_cell")
        states = [s.write(writer, n) for s, n in zip(step.states, names, strict=False)]
        nodes[cell] = recurrent(writer, cell, step.roles, sequence, states, way, lengths)
        ways[cell] = way
    for port in plan.ports:
        if port.cell is None:
            if port.source is not None and not editor.bypass(port.output, port.source):
                writer = Writer(editor, plan.node, port.output.name or "", version)
                editor.replace(port.output, writer.op("Identity", [port.source], "kept"))
            continue
        writer = Writer(editor, plan.node, port.output.name or "", version, (plan.node,))
        node, way = nodes[port.cell], ways[port.cell]
        maker = port.output.producer()
        value = _output(writer, port, node, way == "reverse", packings.get(port.cell))
        editor.replace(port.output, value)
        if maker is not None and maker is not plan.node:
            editor.sweep(maker)
    editor.sweep(plan.node)
    return {port.output for port in plan.ports}


def _sequence(
    writer: Writer, step: Step, nodes: dict[Cell, ir.Node], ways: dict[Cell, Way]
) -> tuple[ir.Value, Way]:
    """The tensor that a cell reads, and the order of its steps."""
    below = [part for part in step.inputs if isinstance(part, Cell)]
    spans = [part for part in step.inputs if isinstance(part, Span)]
    if not below:
        return write_inputs(writer, spans), spans[0].way
    values, way = [], ways[below[0]]
    for index, part in enumerate(step.inputs):
        own = part.way if isinstance(part, Span) else ways[part]
        if isinstance(part, Span):
            value = part.write(writer, f"sequence{index}")
        else:
            value = writer.squeeze(nodes[part].outputs[0], 1, f"sequence{index}")
        values.append(value if own == way else writer.reverse(value, 0, f"turned{index}"))
    if len(values) == 1:
        return values[0], way
    return writer.op("Concat", values, "sequences", {"axis": 2}), way


def _output(
    writer: Writer, port: Port, node: ir.Node, reverse: bool, packing: Packing | None
) -> ir.Value:
    if port.part == "hidden":
        return writer.squeeze(node.outputs[1], 0, "last")
    if port.part == "cell":
        return writer.squeeze(node.outputs[2], 0, "last")
    value = writer.squeeze(node.outputs[0], 1, "steps")
    if packing is not None:
        value = packing.unpack(writer, value, repeats=port.repeats)
    if reverse != port.turned:
        value = writer.reverse(value, 0, "turned")
    return value if port.axis == 0 else writer.transpose(value, "batch_first")


def _used(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()
