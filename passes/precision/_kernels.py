"""Which ops ONNX Runtime's CUDA provider has no 16-bit kernels for.

Seen with ONNX Runtime 1.31 on an H100, each op alone in the models that test it: what has no kernel
there runs on the CPU in float32 with Casts around it, or does not load at all.
"""

from __future__ import annotations

COUNTING = ("CumSum", "NonMaxSuppression", "Range", "RoiAlign", "TopK")
"""They add up or count: 8 or 11 bits do not."""

WITHOUT_HALVES = (
    *("Acos", "Acosh", "AffineGrid", "Asin", "Asinh", "Atan", "Atanh", "CastLike", "Col2Im"),
    *("Cosh", "DFT", "Det", "GridSample", "Hardmax", "LpPool", "MaxUnpool", "Mean"),
    *("MeanVarianceNormalization", "MelWeightMatrix", "STFT", "Sinh", "Tan", "ThresholdedRelu"),
)
"""No kernel for either type."""

WITHOUT_BFLOATS = (
    *("BatchNormalization", "Ceil", "CenterCropPad", "Clip", "ConvTranspose", "Dropout", "Elu"),
    *("Floor", "GRU", "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization"),
    *("InstanceNormalization", "LRN", "LSTM", "LeakyRelu", "Log", "LogSoftmax", "MaxPool"),
    *("NegativeLogLikelihoodLoss", "PRelu", "Pad", "RNN", "Reciprocal", "ReduceL2", "ReduceMax"),
    *("ReduceMin", "ReduceProd", "Resize", "Round", "Selu", "SoftmaxCrossEntropyLoss", "Swish"),
)
"""A kernel for float16, none for bfloat16."""
