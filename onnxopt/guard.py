"""Limits for models nobody vouches for, and names made safe to print."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How large a model may be before it is refused with a ``LimitError``."""

    file_bytes: int = 64 << 30
    nodes: int = 2_000_000
    depth: int = 32
    expanded_nodes: int = 10_000_000
    tensor_bytes: int = 256 << 30


def printable(name: str) -> str:
    """``name`` with control and formatting characters escaped, fit for a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
