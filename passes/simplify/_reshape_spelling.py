"""Writes a shape as a constant that Reshape understands."""

from __future__ import annotations

from collections.abc import Sequence

from onnxopt_passes.simplify._expression import Number

INFER = -1
COPY = 0


def spell(
    result: Sequence[Number | None], source: Sequence[Number | None] | None
) -> list[int] | None:
    """The constant target for a tensor of shape ``source`` that gives ``result``, if there is.

    A known size stands as it is, a symbolic size that the input has in the same place is copied,
    and one size in all may be left to be inferred; not beside copied ones, because what an empty
    tensor would make of that is an error.

    Args:
        result: The wanted sizes, None for one that is not known.
        source: The sizes of the input.
    """
    target: list[int] = []
    for place, size in enumerate(result):
        if isinstance(size, int):
            target.append(size)
        elif size is not None and source is not None and source[place : place + 1] == (size,):
            target.append(COPY)
        else:
            target.append(INFER)
    if any(size == 0 for size in result) or target.count(INFER) > 1:
        return None
    return None if INFER in target and COPY in target else target
