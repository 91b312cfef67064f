"""Whole numbers that are known only in terms of other numbers: N, 12 * N, N * W / 2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

Term = tuple[tuple[str, ...], int]

_SIGNED = "~"
_CUT = "cut"
_MAX_TERMS = 8
_MAX_FACTORS = 8
_MAX_SPELLING = 400
_INT64 = 1 << 63


@dataclass(frozen=True)
class Expression:
    """A polynomial over atoms, in a normal form: equal polynomials are equal values.

    Attributes:
        terms: Pairs of sorted atoms and their factor, sorted; at least one has atoms. An atom is
            the name of a size, or the spelling of an operation that is no polynomial; it stands
            for a number of 0 or more unless it starts with ``~``.
    """

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return "+".join("*".join((str(factor), *atoms)) for atoms, factor in self.terms)


Number = int | Expression


def atom(name: str) -> Expression:
    """A number of which only a name is known, and that it is not negative."""
    return Expression((((name,), 1),))


def opaque(operation: str, *operands: Number, signed: bool) -> Number | None:
    """The result of an operation that is no polynomial: equal to itself, else unknown.

    None where its spelling gets too long.
    """
    inner = ",".join(map(str, operands))
    if len(inner) > _MAX_SPELLING:
        return None
    return atom(f"{_SIGNED if signed else ''}{operation}({inner})")


def add(a: Number, b: Number) -> Number | None:
    """A + b; None where it gets too long."""
    if isinstance(a, int) and isinstance(b, int):
        return _checked(a + b)
    return _collect([*_terms(a), *_terms(b)])


def multiply(a: Number, b: Number) -> Number | None:
    """A · b; None where it gets too long."""
    if isinstance(a, int) and isinstance(b, int):
        return _checked(a * b)
    pairs = ((x, y) for x in _terms(a) for y in _terms(b))
    return _collect((tuple(sorted(p + q)), m * n) for (p, m), (q, n) in pairs)


def negate(a: Number) -> Number | None:
    """-a."""
    return multiply(a, -1)


def product(numbers: Iterable[Number]) -> Number | None:
    """The product of all; None where it gets too long."""
    total: Number | None = 1
    for number in numbers:
        total = None if total is None else multiply(total, number)
    return total


def quotient(a: Number, b: Number) -> Number | None:
    """A / b cut off toward zero, as ONNX divides integers; b is assumed not to be 0."""
    if b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    exact = divide_exactly(a, b)
    if exact is not None:
        return exact
    return opaque("div", a, b, signed=not (is_size(a) and is_size(b)))


def divide_exactly(a: Number, b: Number) -> Number | None:
    """A / b where it is a polynomial with whole factors; b is assumed not to be 0."""
    divisor = _terms(b)
    if len(divisor) != 1:
        return 1 if a == b else None
    (below, factor), result = divisor[0], []
    for atoms, count in _terms(a):
        rest = Counter(atoms)
        rest.subtract(below)
        if count % factor or any(n < 0 for n in rest.values()):
            return None
        result.append((tuple(sorted(rest.elements())), count // factor))
    return _collect(result)


def is_size(a: Number) -> bool:
    """Whether a number is certainly 0 or more."""
    if isinstance(a, int):
        return a >= 0
    return all(
        factor >= 0 and not any(name.startswith(_SIGNED) for name in atoms)
        for atoms, factor in a.terms
    )


def at_most(limit: int, a: Number) -> Number | None:
    """The lesser of a fixed number and a size."""
    if isinstance(a, int):
        return min(limit, a)
    return opaque(_CUT, limit, a, signed=False)


def is_cut(a: Number, whole: Number) -> bool:
    """Whether ``a`` is ``whole`` or a fixed number above 1, whichever is less."""
    if not isinstance(a, Expression) or len(a.terms) != 1 or a.terms[0][1] != 1:
        return False
    (name,) = a.terms[0][0] if len(a.terms[0][0]) == 1 else ("",)
    limit = name.removeprefix(f"{_CUT}(").partition(",")[0]
    return limit.isdecimal() and int(limit) > 1 and a == at_most(int(limit), whole)


def is_positive(a: Number) -> bool:
    """Whether a number is certainly 1 or more."""
    return is_size(a) and any(not atoms and factor > 0 for atoms, factor in _terms(a))


def _terms(a: Number) -> tuple[Term, ...]:
    return (((), a),) if isinstance(a, int) else a.terms


def _collect(terms: Iterable[Term]) -> Number | None:
    sums: dict[tuple[str, ...], int] = {}
    for atoms, factor in terms:
        sums[atoms] = sums.get(atoms, 0) + factor
    kept = sorted((atoms, factor) for atoms, factor in sums.items() if factor)
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return _checked(kept[0][1])
    long = len(kept) > _MAX_TERMS or any(len(atoms) > _MAX_FACTORS for atoms, _ in kept)
    return None if long else Expression(tuple(kept))


def _checked(number: int) -> int | None:
    return number if -_INT64 <= number < _INT64 else None
