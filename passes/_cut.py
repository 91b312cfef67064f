"""The minimum cut of a directed graph, exact, in integers.

Dinic's algorithm (E. A. Dinic, 1970): level graphs by breadth-first search, blocking flows by
depth-first search.
"""

from __future__ import annotations

from collections import deque

UNLIMITED = 1 << 62


class CutGraph:
    """Nodes on the source's or the sink's side; an edge is paid for when it leads from the first
    to the second.
    """

    def __init__(self) -> None:
        self._edges: list[list[int]] = []  # node -> its edges' indices
        self._heads: list[int] = []
        self._room: list[int] = []  # an edge and its reverse are neighbours: index ^ 1
        self.source = self.add_node()
        self.sink = self.add_node()

    def add_node(self) -> int:
        """A new node."""
        self._edges.append([])
        return len(self._edges) - 1

    def add_edge(self, tail: int, head: int, cost: int) -> None:
        """Let it cost ``cost`` >= 0 to have ``tail`` on the source's side and ``head`` not."""
        for node, other, room in ((tail, head, cost), (head, tail, 0)):
            self._edges[node].append(len(self._heads))
            self._heads.append(other)
            self._room.append(room)

    def source_side(self) -> frozenset[int]:
        """The nodes on the source's side of the cheapest cut; the fewest where cuts are equal."""
        distances = self._distances()
        while self.source in distances:
            self._block(distances)
            distances = self._distances()
        return self._reachable()

    def _distances(self) -> dict[int, int]:
        """How many edges flow needs from a node to the sink, for nodes nearer than the source."""
        distances = {self.sink: 0}
        queue = deque([self.sink])
        while queue and self.source not in distances:
            node = queue.popleft()
            for edge in self._edges[node]:
                tail = self._heads[edge]
                if self._room[edge ^ 1] and tail not in distances:
                    distances[tail] = distances[node] + 1
                    queue.append(tail)
        return distances

    def _reachable(self) -> frozenset[int]:
        """The nodes that flow from the source can still reach."""
        reached = {self.source}
        pending = [self.source]
        while pending:
            for edge in self._edges[pending.pop()]:
                head = self._heads[edge]
                if self._room[edge] and head not in reached:
                    reached.add(head)
                    pending.append(head)
        return frozenset(reached)

    def _block(self, distances: dict[int, int]) -> None:
        """Push flow along shortest paths until there is none left."""
        tried: dict[int, int] = {}
        path: list[int] = []
        while True:
            node = self._heads[path[-1]] if path else self.source
            if node == self.sink:
                path = self._push(path)
                continue
            edge = self._step(node, tried, distances)
            if edge is not None:
                path.append(edge)
            elif not path:
                return
            else:
                tried[self._heads[path.pop() ^ 1]] += 1

    def _step(self, node: int, tried: dict[int, int], distances: dict[int, int]) -> int | None:
        """The next edge of a node that leads nearer to the sink; None when all are tried."""
        edges, wanted = self._edges[node], distances[node] - 1
        for place in range(tried.get(node, 0), len(edges)):
            edge = edges[place]
            if self._room[edge] and distances.get(self._heads[edge], -1) == wanted:
                tried[node] = place
                return edge
        tried[node] = len(edges)
        return None

    def _push(self, path: list[int]) -> list[int]:
        """Fill a path; returns its part before the first edge that is full now."""
        flow = min(self._room[edge] for edge in path)
        for edge in path:
            self._room[edge] -= flow
            self._room[edge ^ 1] += flow
        full = next(place for place, edge in enumerate(path) if not self._room[edge])
        return path[:full]
