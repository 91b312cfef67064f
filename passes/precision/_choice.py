"""Which nodes compute in 16 bits: as many as can, with the fewest Casts between, as a cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxopt_passes._cut import UNLIMITED, CutGraph
from onnxopt_passes.precision._slots import Slots

_CAST, _GAIN, _HEAVY_GAIN = 4, 1, 1000
_HEAVY = frozenset(
    """
    Attention Conv ConvTranspose Einsum Gemm GRU LSTM MatMul RNN Softmax
    """.split()  # noqa: SIM905 - readable
)


def choose_nodes(
    slots: Mapping[ir.Node, Slots], values: Iterable[ir.Value], outer: frozenset[ir.Value]
) -> frozenset[ir.Node]:
    """The nodes to compute in 16 bits.

    Products always do; a lighter node where that takes no more Casts than it is worth.

    Args:
        slots: What each node that can would change.
        values: All float32 activations.
        outer: Those whose own type changes with the model's interface.
    """
    cut = CutGraph()
    places = {node: cut.add_node() for node in slots}
    for node, place in places.items():
        cut.add_edge(cut.source, place, _HEAVY_GAIN if node.op_type in _HEAVY else _GAIN)
    for value in values:
        producer = value.producer()
        made = producer in slots and value.index() in slots[producer].outputs  # type: ignore[index]
        start = places[producer] if made and producer is not None else cut.sink
        ends = {places[use.node] if _reads_half(use, slots) else cut.sink for use in value.uses()}
        if value in outer:
            start = start if made else cut.source
            ends |= {cut.source} if value.is_graph_output() else set()
        elif value.is_graph_output():
            ends.add(cut.sink)
        _charge(cut, start, ends)
    chosen = cut.source_side()
    return frozenset(node for node, place in places.items() if place in chosen)


def _reads_half(use: tuple[ir.Node, int], slots: Mapping[ir.Node, Slots]) -> bool:
    found = slots.get(use[0])
    return found is not None and use[1] in found.inputs


def _charge(cut: CutGraph, start: int, ends: set[int]) -> None:
    """Charge one Cast where some reader wants another type than the value has."""
    others = ends - {start}
    if not others:
        return
    narrow, wide = cut.add_node(), cut.add_node()
    cut.add_edge(start, wide, _CAST)
    cut.add_edge(narrow, start, _CAST)
    for end in others:
        cut.add_edge(wide, end, UNLIMITED)
        cut.add_edge(end, narrow, UNLIMITED)
