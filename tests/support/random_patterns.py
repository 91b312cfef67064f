"""What random models grow by, by rank."""

from __future__ import annotations

from collections.abc import Callable

import random_control as control
import random_images as images
import random_pointwise as pointwise
import random_sequences as sequences
from random_graphs import Builder, Value

Pattern = Callable[[Builder, Value], Value]

ANY: list[Pattern] = [
    *control.INNER,
    *(control.conditional, control.loop),
    *(pointwise.transposed, pointwise.merge, pointwise.merge, pointwise.split_and_join),
    *(pointwise.reduced, pointwise.sigmoid, pointwise.mish, pointwise.normalization),
    *(pointwise.softmax, pointwise.l2_norm, pointwise.reshaped, pointwise.squeezed),
]
IMAGES: list[Pattern] = [
    *(images.conv, images.conv, images.conv, images.conv, images.conv_transpose),
    *(images.batch_norm, images.upsampled, images.padded, images.padded, images.pooled),
    *(images.gate, images.gate, images.branches, images.branches, images.joined_maps),
    *(images.pooled_away, images.to_sequence),
]
SEQUENCES: list[Pattern] = [
    *(sequences.linear, sequences.linear, sequences.linear, sequences.attention),
    *(sequences.attention, sequences.conv_1d, sequences.cells, pointwise.normalization),
]
ROWS: list[Pattern] = [*[sequences.linear] * 3, images.batch_norm]


def grow(b: Builder) -> None:
    """Apply one pattern to some value."""
    rank = b.rng.choice(sorted({value.rank for value in b.values if value.rank in (2, 3, 4)}))
    value = b.pick(rank)
    assert value is not None
    patterns = {2: ROWS, 3: SEQUENCES, 4: IMAGES}[rank]
    b.remember(b.rng.choice(patterns + ANY)(b, value))
