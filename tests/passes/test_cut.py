"""The minimum cut against trying every choice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from onnxopt_passes._cut import UNLIMITED, CutGraph

NODES = 6
EDGES = st.lists(
    st.tuples(st.integers(0, NODES + 1), st.integers(0, NODES + 1), st.integers(0, 20)),
    max_size=24,
)


def build(edges: list[tuple[int, int, int]]) -> CutGraph:
    """A graph whose nodes 0 and 1 are source and sink."""
    cut = CutGraph()
    assert (cut.source, cut.sink) == (0, 1)
    for _ in range(NODES):
        cut.add_node()
    for tail, head, cost in edges:
        cut.add_edge(tail, head, cost)
    return cut


def cost_of(side: frozenset[int], edges: list[tuple[int, int, int]]) -> int:
    return sum(cost for tail, head, cost in edges if tail in side and head not in side)


@given(EDGES)
def test_no_choice_is_cheaper_and_none_as_cheap_is_smaller(
    edges: list[tuple[int, int, int]],
) -> None:
    found = build(edges).source_side()
    choices = [
        frozenset({0, *chosen})
        for size in range(NODES + 1)
        for chosen in itertools.combinations(range(2, NODES + 2), size)
    ]
    best = min(cost_of(side, edges) for side in choices)
    assert cost_of(found, edges) == best
    assert all(found <= side for side in choices if cost_of(side, edges) == best)


def test_an_unlimited_edge_is_never_cut() -> None:
    cut = build([(0, 2, 10), (2, 3, UNLIMITED), (3, 1, 7)])
    assert cut.source_side() == {0, 2, 3}


def test_a_long_chain_is_no_trouble() -> None:
    cut = CutGraph()
    nodes = [cut.add_node() for _ in range(5000)]
    for left, right in itertools.pairwise(nodes):
        cut.add_edge(left, right, 3)
    cut.add_edge(cut.source, nodes[0], 5)
    cut.add_edge(nodes[-1], cut.sink, 4)
    assert cut.source_side() == {cut.source, nodes[0]}
