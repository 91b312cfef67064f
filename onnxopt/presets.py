"""Named recipes."""

from __future__ import annotations

from types import MappingProxyType

PRESETS = MappingProxyType(
    {
        "clean": "(eliminate-identities | eliminate-dead-nodes | eliminate-unused-initializers)",
    }
)
"""Recipe word → the recipe it stands for. Aimed ones come from the target (``exact_recipe``)."""
