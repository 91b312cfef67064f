"""An axis of a tensor as a term: places that live on their own, products and concatenations.

Two axes whose places have to be removed together are unified, as terms of logic are: an unknown
takes the other's structure, products are refined to common factors, concatenations to common
pieces. A place of a product is removed where any of its factors' places is, so that heads, and the
places within all heads, can be removed from one axis independently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
_FEW = 2


class Dim:
    """A term. A leaf of known size that is not frozen is a set of removable places.

    Attributes:
        size: Number of places; None where unknown.
        kind: How it is made.
        parts: Factors from the slowest to the fastest, or pieces in order; the one it is an alias
            of.
        why: Of a leaf, why its places have to stay; empty where they need not.
    """

    __slots__ = ("kind", "parts", "size", "why")

    def __init__(
        self,
        size: int | None,
        kind: Literal["leaf", "product", "concat", "alias"] = "leaf",
        parts: tuple[Dim, ...] = (),
        why: str = "",
    ) -> None:
        self.size, self.kind, self.parts, self.why = size, kind, parts, why

    def become(self, kind: Literal["product", "concat", "alias"], *parts: Dim) -> None:
        """Take another form, for good."""
        self.kind, self.parts, self.why = kind, parts, ""


def leaf(size: int | None, why: str = "") -> Dim:
    """Places of their own; frozen where there is a reason, an unknown number, or only one."""
    if size is None:
        why = why or "their number is not known"
    elif size == 1:
        why = why or "there is only one"
    return Dim(size, why=why)


def product(factors: Iterable[Dim]) -> Dim:
    """All combinations, the last factor varying fastest."""
    return _compound("product", tuple(factors))


def concat(pieces: Iterable[Dim]) -> Dim:
    """One after the other."""
    return _compound("concat", tuple(pieces))


def _compound(kind: Literal["product", "concat"], parts: tuple[Dim, ...]) -> Dim:
    if len(parts) == 1:
        return parts[0]
    return Dim(_total(kind, [normal(part) for part in parts]), kind, parts)


def _total(kind: str, parts: Iterable[Dim]) -> int | None:
    total = 1 if kind == "product" else 0
    for part in parts:
        if part.size is None:
            return None
        total = total * part.size if kind == "product" else total + part.size
    return total


def normal(dim: Dim) -> Dim:
    """What stands for a term: no alias, no product or concatenation of less than two."""
    while dim.kind == "alias":
        (target,) = dim.parts
        if target.kind == "alias":
            dim.parts = target.parts
        dim = target
    if dim.kind == "leaf":
        return dim
    if dim.kind == "product":
        flat = tuple(f for part in dim.parts for f in factors(part))
    else:
        flat = tuple(p for part in dim.parts for p in pieces(part))
    if len(flat) >= _FEW:
        dim.parts = flat
        dim.size = _total(dim.kind, flat) if dim.size is None else dim.size
        return dim
    target = flat[0] if flat else leaf(1)
    dim.become("alias", target)
    return target


def factors(dim: Dim) -> list[Dim]:
    """Its factors, without those that have one place that stays."""
    dim = normal(dim)
    if dim.kind == "product":
        return list(dim.parts)
    return [] if dim.size == 1 and dim.kind == "leaf" and dim.why else [dim]


def pieces(dim: Dim) -> list[Dim]:
    """Its pieces."""
    dim = normal(dim)
    return list(dim.parts) if dim.kind == "concat" else [dim]


def leaves(dim: Dim) -> Iterator[Dim]:
    """All leaves of a term, repeatedly where it holds one repeatedly."""
    dim = normal(dim)
    if dim.kind == "leaf":
        yield dim
        return
    for part in dim.parts:
        yield from leaves(part)


def frozen(dim: Dim) -> str:
    """Why all its places have to stay; empty where some need not."""
    why = ""
    for one in leaves(dim):
        if not one.why:
            return ""
        why = why or one.why
    return why


def freeze(dim: Dim, why: str) -> None:
    """Let all its places stay."""
    for one in leaves(dim):
        one.why = one.why or why


def cut(dim: Dim, at: int, why: str) -> tuple[Dim, Dim]:
    """Its first places, and the rest; frozen where its structure does not allow the cut."""
    dim = normal(dim)
    if dim.size is None:
        raise ValueError("an axis of unknown size cannot be cut")
    if dim.kind == "leaf":
        parts = Dim(at, why=dim.why), Dim(dim.size - at, why=dim.why)
        dim.become("concat", *parts)
        return parts
    if dim.kind == "concat":
        return _cut_pieces(list(dim.parts), at, why)
    first, *rest = dim.parts
    inner = product(rest)
    if inner.size is None:
        freeze(dim, why)
        return leaf(at, why), leaf(dim.size - at, why)
    if at % inner.size:
        return _cut_within(first, inner, at, why)
    left, right = cut(first, at // inner.size, why)
    return product([left, inner]), product([right, inner])


def _cut_within(first: Dim, inner: Dim, at: int, why: str) -> tuple[Dim, Dim]:
    """A product cut inside one place of its first factor: that place stays, others need not."""
    size, count = inner.size or 1, normal(first).size or 1
    place = at // size
    middle = segment(first, place, place + 1, why)
    freeze(middle, why)
    left, right = [], []
    if place:
        left.append(product([segment(first, 0, place, why), inner]))
    if place + 1 < count:
        right.append(product([segment(first, place + 1, count, why), inner]))
    before, after = cut(inner, at % size, why)
    return concat([*left, before]), concat([after, *right])


def _cut_pieces(row: list[Dim], at: int, why: str) -> tuple[Dim, Dim]:
    before: list[Dim] = []
    while at:
        piece = normal(row.pop(0))
        size = piece.size or 0
        if size > at:
            piece, rest = cut(piece, at, why)
            row.insert(0, rest)
            size = at
        before.append(piece)
        at -= size
    return concat(before), concat(row)


def segment(dim: Dim, start: int, stop: int, why: str) -> Dim:
    """Its places from one to before another; at least one of them."""
    size = normal(dim).size
    if stop != size:
        dim, _ = cut(dim, stop, why)
    return cut(dim, start, why)[1] if start else dim


def peel(dim: Dim, inner: int) -> tuple[Dim, Dim] | None:
    """An equal product whose fastest factor has this size; None where there is none."""
    dim = normal(dim)
    if dim.size is None or dim.size % inner:
        return None
    if inner == 1:
        return dim, leaf(1)
    if dim.size == inner:
        return leaf(1), dim
    if dim.kind == "leaf":
        parts = Dim(dim.size // inner, why=dim.why), Dim(inner, why=dim.why)
        dim.become("product", *parts)
        return parts
    if dim.kind == "concat":
        return _peel_pieces(dim, inner)
    taken: list[Dim] = []
    left, need = list(dim.parts), inner
    while need > 1:
        last = left.pop()
        size = last.size or 0
        if not size or (size < need and need % size):
            return None
        if size > need:
            split = peel(last, need)
            if split is None:
                return None
            left.append(split[0])
            last, size = split[1], need
        taken.insert(0, last)
        need //= size
    return product(left), product(taken)


def _peel_pieces(dim: Dim, inner: int) -> tuple[Dim, Dim] | None:
    if any(piece.size is None or piece.size % inner for piece in dim.parts):
        return None
    split = [peel(piece, inner) for piece in dim.parts]
    found = [one for one in split if one is not None]
    if len(found) < len(split):
        return None
    outer = concat(one[0] for one in found)
    for one in found[1:]:
        unify(found[0][1], one[1], "its parts differ in structure")
    dim.become("product", outer, found[0][1])
    return outer, found[0][1]


def unify(a: Dim, b: Dim, why: str) -> None:
    """Let the places of two axes stand or fall together, in order.

    Where their structures do not match, both are frozen for the given reason.
    """
    a, b = normal(a), normal(b)
    if a is b:
        return
    if a.size is not None and b.size is not None and a.size != b.size:
        freeze(a, why)
        freeze(b, why)
    elif a.kind == "leaf" or b.kind == "leaf":
        _bind(a, b, why)
    elif a.kind == b.kind == "product":
        _unify_products(a, b, why)
    elif a.kind == b.kind == "concat":
        _unify_concats(a, b, why)
    else:
        _unify_mixed(*((a, b) if a.kind == "product" else (b, a)), why)


def _bind(a: Dim, b: Dim, why: str) -> None:
    """Let a leaf stand for another term."""
    if a.kind != "leaf" or (b.kind == "leaf" and b.size is None and a.size is not None):
        a, b = b, a
    if any(one is a for one in leaves(b)):
        freeze(b, why)
        return
    if a.why:
        freeze(b, a.why)
    a.become("alias", b)


def _unify_products(a: Dim, b: Dim, why: str) -> None:
    left, right = list(a.parts), list(b.parts)
    _match_last(left, right, why)
    _match_first(left, right, why)
    left, right = _flat(left), _flat(right)
    if len(left) == 1 or len(right) == 1:
        one, rest = (left, right) if len(left) == 1 else (right, left)
        if one[0].kind == "leaf" or len(rest) == 1:
            unify(one[0], product(rest), why)
            return
    for part in (*left, *right):
        freeze(part, why)


def _flat(row: list[Dim]) -> list[Dim]:
    return [one for part in row for one in factors(part)]


def _match_last(left: list[Dim], right: list[Dim], why: str) -> None:
    """Unify the fastest factors of two rows as long as they match; takes them out."""
    while True:
        left[:], right[:] = _flat(left), _flat(right)
        if not left or not right:
            return
        x, y = left[-1], right[-1]
        if x is y or (x.size is not None and x.size == y.size):
            del left[-1], right[-1]
            unify(x, y, why)
            continue
        if x.size is None or y.size is None:
            return
        small, big, row = (x, y, right) if x.size < y.size else (y, x, left)
        split = peel(big, small.size or 1)
        if split is None:
            return
        row[-1:] = split


def _match_first(left: list[Dim], right: list[Dim], why: str) -> None:
    """Unify the slowest factors of two rows as long as they match; takes them out."""
    while True:
        left[:], right[:] = _flat(left), _flat(right)
        if not left or not right:
            return
        x, y = left[0], right[0]
        if x is y or (x.size is not None and x.size == y.size):
            del left[0], right[0]
            unify(x, y, why)
            continue
        if x.size is None or y.size is None:
            return
        small, big, row = (x, y, right) if x.size < y.size else (y, x, left)
        if (big.size or 0) % (small.size or 1):
            return
        split = peel(big, (big.size or 0) // (small.size or 1))
        if split is None:
            return
        row[:1] = split


def _unify_concats(a: Dim, b: Dim, why: str) -> None:
    left, right = list(a.parts), list(b.parts)
    while left and right:
        left[:1], right[:1] = pieces(left[0]), pieces(right[0])
        x, y = left[0], right[0]
        if x.size is None or y.size is None:
            break
        if x.size == y.size:
            del left[0], right[0]
            unify(x, y, why)
        elif x.size < y.size:
            right[:1] = cut(y, x.size, why)
        else:
            left[:1] = cut(x, y.size, why)
    for rest in (*left, *right):
        freeze(rest, why)


def _unify_mixed(a: Dim, b: Dim, why: str) -> None:
    """A product with a concatenation."""
    inner = a.parts[-1].size
    split = peel(b, inner) if inner is not None and a.size is not None else None
    if split is not None:
        unify(split[1], a.parts[-1], why)
        unify(split[0], product(a.parts[:-1]), why)
        return
    freeze(a, why)
    freeze(b, why)
