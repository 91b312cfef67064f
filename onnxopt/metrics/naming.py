"""How a metric with options is spelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxopt import literal


def spell_metric(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """``name{key=value, …}`` with the options that differ from their defaults."""
    parts = [f"{k}={literal.spell(v)}" for k, v in options.items() if v != defaults.get(k)]
    return f"{name}{{{', '.join(parts)}}}" if parts else name
