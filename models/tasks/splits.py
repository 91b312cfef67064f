"""Which part of a split a source item belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from onnxopt_models.tasks.task import Split

_QUARTERS: Mapping[Split, range] = MappingProxyType(
    {
        "all": range(4),
        "calibration": range(0, 1),
        "search": range(1, 2),
        "test": range(2, 4),
    }
)


def is_in(item: str | bytes, split: Split) -> bool:
    """Whether an item is in a part: a quarter, a quarter and a half of all items.

    Its sha256 alone decides, so no two parts share an item at any seed.
    """
    content = item.encode() if isinstance(item, str) else item
    return hashlib.sha256(content).digest()[0] % 4 in _QUARTERS[split]
