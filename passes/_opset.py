"""Ops that came with a later opset than the model's."""

from __future__ import annotations


def too_old(op: str, first: int, version: int) -> str | None:
    """Why a model of this opset cannot hold an op; None where it can.

    Args:
        op: What is to be written.
        first: The opset that brought it.
        version: The model's.
    """
    if version >= first:
        return None
    return f"{op} needs opset {first}, this is {version}: raise-opset first"
