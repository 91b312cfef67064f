"""Named recipes."""

from __future__ import annotations

from types import MappingProxyType

_CLEAN = "eliminate-identities | eliminate-dead-nodes | eliminate-unused-initializers"
_FOLD = (
    "spell-cast-like-as-cast | capture-loop-invariants | fold-constants | fold-shapes | "
    "spell-sizes | settle-branches | inline-constant-branches | infer-shapes"
)
_NEUTRAL = (
    "eliminate-noops | eliminate-repeats | eliminate-broadcasts | eliminate-rounding-noops | "
    "trim-optional-inputs"
)
_CHAINS = (
    "merge-transposes | merge-casts | merge-slices | merge-concats | merge-gathers | "
    "spell-gather-as-reshape | merge-squeezed-reductions | merge-reshapes | merge-clips | "
    "merge-constant-operands"
)
_MERGE = "merge-duplicate-initializers | merge-duplicate-nodes"
_RECOGNIZE = (
    "recognize-hard-sigmoid | recognize-hard-swish | recognize-lstm | recognize-gru | "
    "recognize-rnn | recognize-matmul | recognize-gelu | "
    "recognize-mish | recognize-sigmoid | recognize-softmax | recognize-log-softmax | "
    "recognize-layer-normalization | recognize-instance-normalization | "
    "merge-reductions | recognize-global-average-pool | eliminate-order-keeping | "
    "fold-attention-scale"
)
_FUSE = (
    "fuse-conv-bn | fuse-conv-affine | fuse-linear-affine | fuse-pad | merge-parallel-convs | "
    "merge-linear-convs | merge-linear-layers | factor-gated-residual | pool-before-conv | "
    "move-conv-before-resize | cancel-transposes | fold-transpose-into-gemm | recognize-gemm"
)

PRESETS = MappingProxyType(
    {
        "clean": f"({_CLEAN})",
        "tidy": (
            f"({_CLEAN} | fold-shapes | spell-sizes | infer-shapes | eliminate-noops | {_MERGE})"
        ),
        "simplify": (
            "freeze-default-inputs | inline-functions | "
            f"({_CLEAN} | {_FOLD} | {_NEUTRAL} | {_CHAINS} | {_MERGE} | unroll-short-loops | "
            "hoist-shared-constants)"
        ),
        "exact": (
            "freeze-default-inputs | inline-functions | "
            f"({_CLEAN} | {_FOLD} | {_NEUTRAL} | {_CHAINS} | {_MERGE} | {_RECOGNIZE} | {_FUSE} | "
            "unroll-short-loops | hoist-shared-constants)"
        ),
    }
)
"""Recipe word → the recipe it stands for; targets add what suits their kernels.

``tidy`` ends a recipe whose last passes leave constants twice and sizes unsaid.
"""
