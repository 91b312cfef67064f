"""What ONNX Runtime's blocked convolutions spare against the general ones, on the CPU.

The general kernel copies each window and multiplies matrices; the blocked one does without, though
it rounds channels up to whole blocks. Both are counted in products: the former takes
``C · (M + copied)`` a tap, the latter ``⌈C⌉ · ⌈M⌉``.
"""

from __future__ import annotations

import math


def up(number: int, block: int) -> int:
    """A number rounded up to whole blocks."""
    return -(-number // block) * block


def general_and_blocked(shape: tuple[int, ...], copied: int, block: int) -> tuple[int, int]:
    """The products a place that both take.

    Args:
        shape: Of the weight: outputs, input channels, window.
        copied: Products that take as long as copying a number of a window.
        block: Channels that are computed at a time.
    """
    outputs, channels, *window = shape
    taps = math.prod(window)
    return channels * (outputs + copied) * taps, up(channels, block) * up(outputs, block) * taps
