"""Which places of an axis belong to which place of each removable leaf, and what is left."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from onnxopt_passes.prune._coupling_dims import Dim, Places, leaves, normal

Mask = npt.NDArray[np.bool_]


class Atlas:
    """Looks places up; each term once. Use it when nothing is unified any more."""

    def __init__(self) -> None:
        self._known: dict[Dim, dict[Dim, Places]] = {}

    def places(self, dim: Dim) -> dict[Dim, Places]:
        """For each leaf that is not frozen, int64 [places of the leaf, k]: the places of this
        axis that go with each; nothing where a size is unknown.
        """
        dim = normal(dim)
        if dim not in self._known:
            self._known[dim] = self._compute(dim)
        return self._known[dim]

    def _compute(self, dim: Dim) -> dict[Dim, Places]:
        if dim.size is None or any(normal(part).size is None for part in dim.parts):
            return {}
        if dim.kind == "leaf":
            return {} if dim.why else {dim: np.arange(dim.size, dtype=np.int64)[:, None]}
        rows: dict[Dim, list[Places]] = {}
        sizes = [normal(part).size or 0 for part in dim.parts]
        for index, part in enumerate(dim.parts):
            for one, places in self.places(part).items():
                if dim.kind == "product":
                    moved = _spread(places, sizes, index)
                else:
                    moved = places + sum(sizes[:index])
                rows.setdefault(one, []).append(moved)
        return {one: np.concatenate(found, axis=1) for one, found in rows.items()}


def _spread(places: Places, sizes: list[int], index: int) -> Places:
    outer, inner = math.prod(sizes[:index]), math.prod(sizes[index + 1 :])
    slow = np.arange(outer) * (sizes[index] * inner)
    grid = slow[:, None, None] + places[:, None, :, None] * inner + np.arange(inner)
    return grid.reshape(len(places), -1)


class Remains:
    """What is left of axes once some leaves have lost places.

    Args:
        masks: Leaf → which of its places stay.
    """

    def __init__(self, masks: Mapping[Dim, Mask], atlas: Atlas) -> None:
        self._masks, self._atlas = masks, atlas
        self._touched: dict[Dim, bool] = {}

    def touches(self, dim: Dim) -> bool:
        """Whether any of its places may be gone."""
        dim = normal(dim)
        if dim not in self._touched:
            self._touched[dim] = any(one in self._masks for one in leaves(dim))
        return self._touched[dim]

    def size(self, dim: Dim) -> int | None:
        """Number of places left."""
        dim = normal(dim)
        if dim.kind == "leaf":
            mask = self._masks.get(dim)
            return dim.size if mask is None else int(mask.sum())
        sizes = [self.size(part) for part in dim.parts]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes):
            return None
        return math.prod(known) if dim.kind == "product" else sum(known)

    def mask(self, dim: Dim) -> Mask:
        """Which places of an axis of known size are left."""
        found: Mask = np.ones(normal(dim).size or 0, np.bool_)
        for one, places in self._atlas.places(dim).items():
            if one in self._masks:
                found[places[~self._masks[one]].reshape(-1)] = False
        return found

    def indices(self, dim: Dim) -> Places:
        """The places left, in order."""
        return np.flatnonzero(self.mask(dim)).astype(np.int64)
