"""Named recipes."""

from __future__ import annotations

from types import MappingProxyType

_CLEAN = "eliminate-identities | eliminate-dead-nodes | eliminate-unused-initializers"
_MERGE = "merge-duplicate-initializers | merge-duplicate-nodes"
_RECOGNIZE = (
    "recognize-hard-sigmoid | recognize-hard-swish | recognize-matmul | recognize-gelu | "
    "recognize-mish | recognize-sigmoid | recognize-softmax | recognize-log-softmax | "
    "recognize-layer-normalization | recognize-instance-normalization | fold-attention-scale"
)
_FUSE = (
    "fuse-conv-bn | fuse-conv-affine | fuse-linear-affine | fuse-pad | merge-parallel-convs | "
    "merge-linear-convs | merge-linear-layers | factor-gated-residual | pool-before-conv | "
    "move-conv-before-resize | cancel-transposes"
)

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
