"""Links single steps into unrolled sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import all_nodes
from onnxopt_passes.recurrent._affine import Leaf
from onnxopt_passes.recurrent._cell import Cell, Roles, roles_of
from onnxopt_passes.recurrent._trace import Trace

Finder = Callable[[Trace, ir.Node], Iterator[Cell]]


@dataclass(frozen=True)
class Chain:
    """Steps of one cell, first to last.

    Attributes:
        cells: One a step.
        roles: What the weights mean, the same in all steps.
        inputs: For each step the leaves that enter besides the state, in the order of the roles.
        hidden: The hidden state before the first step; None where it does not enter.
        memory: The cell state before the first step of an LSTM.
    """

    cells: tuple[Cell, ...]
    roles: Roles
    inputs: tuple[tuple[Leaf, ...], ...]
    hidden: Leaf | None
    memory: ir.Value | None

    @property
    def first(self) -> Cell:
        """The first step."""
        return self.cells[0]

    @property
    def last(self) -> Cell:
        """The last step."""
        return self.cells[-1]

    def nodes(self) -> set[ir.Node]:
        """The nodes between what the chain reads and its states."""
        stops = {leaf.value for step in self.inputs for leaf in step}
        stops |= {leaf.read for step in self.inputs for leaf in step if leaf.read is not None}
        start = () if self.hidden is None else (self.hidden.value, self.hidden.read)
        stops |= {value for value in (*start, self.memory) if value is not None}
        found: set[ir.Node] = set()
        pending = [v for cell in self.cells for v in (cell.hidden, cell.memory) if v is not None]
        while pending:
            value = pending.pop()
            node = None if value in stops else value.producer()
            if node is not None and node not in found:
                found.add(node)
                pending += [source for source in node.inputs if source is not None]
        return found


@dataclass(frozen=True)
class _Link:
    """A step with the step before it."""

    cell: Cell
    roles: Roles
    before: Cell


def chains(model: ir.Model, trace: Trace, find: Finder) -> Iterator[Chain]:
    """Every longest run of two or more linked steps; a step is in one run at most."""
    by_state: dict[ir.Value, list[Cell]] = {}
    cells: list[Cell] = []
    for node in all_nodes(model):
        for cell in find(trace, node):
            by_state.setdefault(trace.resolve(cell.hidden), []).append(cell)
            cells.append(cell)
    followed: dict[Cell, list[_Link]] = {}
    for cell in cells:
        for link in _links(trace, cell, by_state):
            followed.setdefault(link.before, []).append(link)
    yield from _runs(cells, followed)


def _links(trace: Trace, cell: Cell, by_state: dict[ir.Value, list[Cell]]) -> Iterator[_Link]:
    """The steps that may come before a cell."""
    for leaf in cell.table:
        if leaf.axis is not None:
            continue
        if cell.previous is not None and leaf.value is not cell.previous:
            continue
        candidates = by_state.get(leaf.value, [])
        roles = roles_of(cell, leaf) if candidates else None
        for before in candidates:
            fits = cell.memory is None or _hands_memory(trace, before, cell)
            if roles is None or before is cell or not fits or not cell.is_like(before):
                continue
            if _start(before, roles) is not None:
                yield _Link(cell, roles, before)
                break


def _hands_memory(trace: Trace, before: Cell, cell: Cell) -> bool:
    memory = before.memory
    return memory is not None and trace.resolve(memory) is cell.previous_memory


def _start(cell: Cell, roles: Roles) -> tuple[Leaf | None, tuple[Leaf, ...]] | None:
    """A cell's leaves by role, if its own reading of its state agrees."""
    found = roles.leaves(cell)
    if found is None or cell.previous is None:
        return found
    hidden = found[0]
    if hidden is not None and (hidden.read or hidden.value) is not cell.previous:
        return None
    return found


def _runs(cells: Iterable[Cell], followed: dict[Cell, list[_Link]]) -> Iterator[Chain]:
    taken: set[ir.Value] = set()
    for cell in cells:
        if cell.hidden in taken or cell not in followed:
            continue
        links: list[_Link] = []
        current = cell
        while (link := _next(current, followed, links)) is not None:
            links.append(link)
            current = link.cell
        run = (cell, *(link.cell for link in links))
        if len(run) > 1 and not any(step.hidden in taken for step in run):
            taken |= {step.hidden for step in run}
            yield _chain(run, links[0].roles)


def _next(cell: Cell, followed: dict[Cell, list[_Link]], links: list[_Link]) -> _Link | None:
    """The one step after a cell that goes on with the same weights."""
    roles = links[0].roles if links else None
    fitting = [k for k in followed.get(cell, []) if roles is None or k.roles == roles]
    return fitting[0] if len({k.cell.hidden for k in fitting}) == 1 else None


def _chain(run: tuple[Cell, ...], roles: Roles) -> Chain:
    start = roles.leaves(run[0])
    hidden = None if start is None else start[0]
    found = [roles.leaves(cell) for cell in run]
    inputs = tuple(leaves[1] for leaves in found if leaves is not None)
    first = run[0]
    if first.previous is not None and hidden is None:
        hidden = Leaf(first.previous, read=first.previous)
    return Chain(run, roles, inputs, hidden, first.previous_memory)
