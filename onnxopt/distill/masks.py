"""Zeros that stay: the pattern of a pruned weight while it is trained."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


_PRUNED = 0.4  # a share of zeros that coding in integers alone does not leave


def zero_masks(weights: Mapping[str, Tensor], coded: Container[str] = ()) -> dict[str, Tensor]:
    """For each kernel or matrix with zeros, 1 where it is not 0; vectors are left alone.

    Args:
        weights: By name.
        coded: Names of those in integers, where a few zeros only come from rounding.
    """
    found = {}
    for name, weight in weights.items():
        if is_vector(weight):
            continue
        mask = weight.detach() != 0
        zeros = 1 - float(mask.float().mean())
        if zeros > (_PRUNED if name in coded else 0):
            found[name] = mask.to(weight.dtype)
    return found


def is_vector(weight: Tensor) -> bool:
    """Whether it has one axis longer than 1 at most: a bias, a norm's scale, a number."""
    return sum(int(size > 1) for size in weight.shape) <= 1
