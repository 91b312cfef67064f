"""What ONNX Runtime's blocked convolutions spare against the general ones, on the CPU.

The general kernel copies each window and multiplies matrices; the blocked one does without, though
it rounds channels up to whole blocks. Both are counted in products: the former takes
``C · (1.15 · M + copied)`` a tap, the latter ``⌈C⌉ · ⌈M⌉``. Fitted to 33 to 129 channels, 1 to 128
outputs, 1x3 and 3x3, at 7 x 7 to 172 x 264 places.
"""

from __future__ import annotations

import math

_GENERAL = 1.15
"""How much longer a product of the general kernel takes."""


def up(number: int, block: int) -> int:
    """A number rounded up to whole blocks."""
    return -(-number // block) * block


def general_and_blocked(shape: tuple[int, ...], copied: int, block: int) -> tuple[float, int]:
    """The products a place that both take.

    Args:
        shape: Of the weight: outputs, input channels, window.
        copied: Products that take as long as copying a number of a window.
        block: Channels that are computed at a time.
    """
    outputs, channels, *window = shape
    taps = math.prod(window)
    general = channels * (_GENERAL * outputs + copied) * taps
    return general, up(channels, block) * up(outputs, block) * taps
