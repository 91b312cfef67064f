"""Named recipes."""

from __future__ import annotations

from types import MappingProxyType

_CLEAN = "eliminate-identities | eliminate-dead-nodes | eliminate-unused-initializers"
_MERGE = "merge-duplicate-initializers | merge-duplicate-nodes"
_RECOGNIZE = "recognize-hard-sigmoid | recognize-hard-swish"
_FUSE = "fuse-conv-bn | fuse-conv-affine | factor-gated-residual"

PRESETS = MappingProxyType(
    {
        "clean": f"({_CLEAN})",
        "exact": (
            "freeze-default-inputs | "
            f"({_CLEAN} | fold-constants | infer-shapes | {_MERGE} | {_RECOGNIZE} | {_FUSE})"
        ),
    }
)
"""Recipe word → the recipe it stands for; targets add what suits their kernels."""
