"""cancel-transposes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.graph import Editor, attribute, is_op, label
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes._cut import UNLIMITED, CutGraph
from onnxopt_passes.layout._permutable import Permutable, kept_rank, read_permutable

Order = tuple[int, ...]


@dataclass(frozen=True)
class CancelTransposes(Pass):
    """``T⁻¹(f(T(x), T(y))) = f'(x, y)`` for f that do not care for the order of axes.

    Elementwise nodes, reductions, Concat, Split, Softmax, Pad and Slice between Transposes compute
    in the order of axes that needs the fewest of them: for each permutation the choice is a
    minimum cut, so that pushing a Transpose never costs more than it saves, and no choice can be
    undone by the next round. Constants are transposed in place.
    """

    looks_for = frozenset({"Transpose"})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Improve every graph for every permutation that occurs in it."""
        editor = Editor(model)
        for root in (model.graph, *(function.graph for function in model.functions.values())):
            version = root.opset_imports.get("", 0)
            for graph in (root, *root.subgraphs()):
                orders = dict.fromkeys(o for node in graph if (o := _order_of(node)) is not None)
                for order in orders:
                    yield from _improve(editor, graph, order, version)


def _order_of(node: ir.Node | None) -> Order | None:
    """The permutation of a Transpose that says one."""
    if node is None or not is_op(node, "Transpose") or node.inputs[0] is None:
        return None
    perm = attribute(node, "perm", ())
    attr = node.attributes.get("perm")
    if attr is None or attr.is_ref() or not isinstance(perm, list | tuple):
        return None
    order = tuple(int(str(axis)) for axis in perm)
    return None if order == tuple(range(len(order))) else order


def _inverse(order: Order) -> Order:
    return tuple(order.index(axis) for axis in range(len(order)))


def _improve(editor: Editor, graph: ir.Graph, order: Order, version: int) -> Iterator[Note]:
    """Compute in the order before ``order`` was applied wherever that saves Transposes."""
    choice = _Choice(graph, order, version)
    chosen = choice.chosen()
    if not chosen:
        return
    first = label(chosen[0].node)
    saved = _rewrite(editor, chosen, order)
    yield Note.applied(first, f"{len(chosen)} nodes compute before Transpose, which saves {saved}")


class _Choice:
    """The cut: nodes on the source's side compute on tensors as they are before the Transpose."""

    def __init__(self, graph: ir.Graph, order: Order, version: int) -> None:
        self._order, self._back = order, _inverse(order)
        self._cut = CutGraph()
        self._nodes: dict[ir.Node, Permutable] = {}
        self._places: dict[ir.Node, int] = {}
        for node in self._reachable(graph, version):
            self._places[node] = self._cut.add_node()
        values = {v: None for p in self._nodes.values() for v in _data(p)}
        values.update({out: None for node in self._nodes for out in node.outputs})
        for value in values:
            self._charge(value)

    def chosen(self) -> list[Permutable]:
        """The nodes to compute before the Transpose, in graph order."""
        side = self._cut.source_side()
        return [found for node, found in self._nodes.items() if self._places[node] in side]

    def _reachable(self, graph: ir.Graph, version: int) -> list[ir.Node]:
        """Permutable nodes that are connected with a Transpose of this order or its inverse."""
        rank = len(self._order)
        ranks = _Ranks(graph)
        found = {
            node: read
            for node in graph
            if ranks.all_are(node, rank)
            and (read := read_permutable(node, version, rank)) is not None
            and all(ranks[value] == rank for value in _data(read))
        }
        seeds = [node for node in found if self._touches(node)]
        seen = dict.fromkeys(seeds)
        while seeds:
            for other in _neighbours(seeds.pop()):
                if other in found and other not in seen:
                    seen[other] = None
                    seeds.append(other)
        self._nodes = {node: read for node, read in found.items() if node in seen}
        return list(self._nodes)

    def _touches(self, node: ir.Node) -> bool:
        before = (v.producer() for v in node.inputs if v is not None)
        after = (reader for out in node.outputs for reader, _ in out.uses())
        return any(_order_of(n) == self._order for n in before) or any(
            _order_of(n) == self._back for n in after
        )

    def _charge(self, value: ir.Value) -> None:
        """One Transpose for each order in which a value is needed but not made."""
        producer = value.producer()
        readers = list(dict.fromkeys(node for node, _ in value.uses()))
        inside = [self._places[node] for node in readers if self._reads_data(node, value)]
        outside = [node for node in readers if not self._reads_data(node, value)]
        back = [node for node in outside if _order_of(node) == self._back]
        others = len(outside) - len(back) + value.is_graph_output()
        if producer in self._places:
            self._charge_made(self._places[producer], inside, bool(back), bool(others))
        elif _order_of(producer) == self._order:
            # x is there without the Transpose: it costs one only where somebody needs T(x)
            if not others and not back:
                self._any_on_sink(inside)
        else:
            self._any_on_source(inside)

    def _charge_made(self, maker: int, inside: Sequence[int], back: bool, others: bool) -> None:
        """A value made by a node of the choice."""
        cut = self._cut
        # made before, needed after: one Transpose for all such readers
        after = cut.add_node()
        cut.add_edge(maker, after, 1)
        for place in inside:
            cut.add_edge(after, place, UNLIMITED)
        if others:
            cut.add_edge(after, cut.sink, UNLIMITED)
        # made after, needed before: one for all; a Transpose back stands for such a need
        before = cut.add_node()
        cut.add_edge(before, maker, 1)
        for place in inside:
            cut.add_edge(place, before, UNLIMITED)
        if back:
            cut.add_edge(cut.source, before, UNLIMITED)

    def _any_on_source(self, inside: Sequence[int]) -> None:
        """One Transpose if any of the readers computes before it."""
        gate = self._cut.add_node()
        self._cut.add_edge(gate, self._cut.sink, 1)
        for place in inside:
            self._cut.add_edge(place, gate, UNLIMITED)

    def _any_on_sink(self, inside: Sequence[int]) -> None:
        """One Transpose if any of the readers computes after it."""
        gate = self._cut.add_node()
        self._cut.add_edge(self._cut.source, gate, 1)
        for place in inside:
            self._cut.add_edge(gate, place, UNLIMITED)

    def _reads_data(self, node: ir.Node, value: ir.Value) -> bool:
        found = self._nodes.get(node)
        return found is not None and value in _data(found)


class _Ranks:
    """Ranks of the values of a graph, as declared or as its nodes keep them."""

    def __init__(self, graph: ir.Graph) -> None:
        self._known: dict[ir.Value, int | None] = {}
        for node in graph:
            order = _order_of(node)
            for out in node.outputs:
                rank = None if out.shape is None else len(out.shape)
                if rank is None:
                    rank = kept_rank(node, self.__getitem__) if order is None else len(order)
                self._known[out] = rank

    def __getitem__(self, value: ir.Value) -> int | None:
        if value in self._known:
            return self._known[value]
        tensor = ir.convenience.get_const_tensor(value)
        shape = value.shape if tensor is None else tensor.shape
        return None if shape is None else len(shape)

    def all_are(self, node: ir.Node, rank: int) -> bool:
        """Whether all outputs that somebody reads have this rank."""
        return all(self[out] == rank for out in node.outputs if out.name)


def _data(found: Permutable) -> list[ir.Value]:
    return [value for place in found.data if (value := found.node.inputs[place]) is not None]


def _neighbours(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        if value is None:
            continue
        producer = value.producer()
        if producer is not None and producer.graph is node.graph:
            yield producer
            yield from (reader for reader, _ in value.uses())
    for out in node.outputs:
        yield from (reader for reader, _ in out.uses())


def _rewrite(editor: Editor, chosen: Sequence[Permutable], order: Order) -> int:
    """Move the chosen nodes before the Transpose; returns how many Transposes that saves."""
    back = _inverse(order)
    inside = {found.node for found in chosen}
    graph = chosen[0].node.graph
    assert graph is not None
    count = sum(is_op(node, "Transpose") for node in graph)
    exits = {out: _outer_uses(out, inside) for found in chosen for out in found.node.outputs}
    entered: dict[ir.Value, ir.Value] = {}
    for found in chosen:
        for place in found.data:
            value = found.node.inputs[place]
            if value is None or value.producer() in inside:
                continue
            if value not in entered:
                entered[value] = _before(editor, found.node, value, order)
            found.node.replace_input_with(place, entered[value])
    for found in chosen:
        found.permute(editor, back)
        for out in found.node.outputs:
            _permute_shape(out, back)
    for value, uses in exits.items():
        _restore(editor, value, uses, order)
    for value in entered:
        producer = value.producer()
        if producer is not None and is_op(producer, "Transpose"):
            editor.sweep(producer)
    return count - sum(is_op(node, "Transpose") for node in graph)


def _outer_uses(value: ir.Value, inside: set[ir.Node]) -> list[tuple[ir.Node, int]]:
    return [(node, place) for node, place in value.uses() if node not in inside]


def _before(editor: Editor, node: ir.Node, value: ir.Value, order: Order) -> ir.Value:
    """What a value is before the Transpose: its source, or itself transposed back."""
    producer = value.producer()
    if producer is not None and _order_of(producer) == order and producer.inputs[0] is not None:
        return producer.inputs[0]
    perm = list(_inverse(order))
    name = f"{value.name}/before"
    made = editor.insert_before(node, "Transpose", [value], name, {"perm": perm}, origin=[node])
    made.type, made.shape = value.type, value.shape
    _permute_shape(made, perm)
    return made


def _permute_shape(value: ir.Value, order: Sequence[int]) -> None:
    if value.shape is not None and len(value.shape) == len(order):
        dims = list(value.shape)
        value.shape = ir.Shape([dims[axis] for axis in order])


def _restore(
    editor: Editor, value: ir.Value, uses: Sequence[tuple[ir.Node, int]], order: Order
) -> None:
    """Give readers outside the value in the order they know, under its name."""
    back, name, is_output = _inverse(order), value.name or "", value.is_graph_output()
    others = []
    for node, place in uses:
        if _order_of(node) == back and editor.bypass(node.outputs[0], value):
            editor.sweep(node)
        else:
            others.append((node, place))
    producer = value.producer()
    graph = None if producer is None else producer.graph
    if not name or producer is None or graph is None:
        return
    if others or is_output:
        attrs = {"perm": ir.AttrInt64s("perm", list(order))}
        node = ir.Node(
            "", "Transpose", [value], attrs, num_outputs=1, name=editor.fresh(f"{name}/T")
        )
        graph.insert_after(producer, node)
        after = node.outputs[0]
        after.type, after.shape = value.type, value.shape
        _permute_shape(after, order)
        if is_output:
            keep = list(value.uses())
            value.replace_all_uses_with(after, replace_graph_outputs=True)
            for reader, place in keep:
                reader.replace_input_with(place, value)
        for reader, place in others:
            reader.replace_input_with(place, after)
        if value.name == name:
            value.name = None
        after.name = name
    if not value.is_graph_output():
        value.name = editor.fresh(f"{name}/before")
