"""How a peer fails, in a word for the table and a sentence below it."""

from __future__ import annotations


class PeerFailure(Exception):
    """A peer did not do what it was asked.

    Attributes:
        kind: A word or two: ``exception``, ``crash``, ``too slow``, ``too much memory`` …
        text: What it said.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text
