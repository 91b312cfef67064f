"""The arithmetic of quantization, apart from any graph.

``real = scale * (code - zero_point)``, with codes clipped to the integer type.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxopt.calibrate import Range
from onnxopt.targets import Int8Scheme, IntegerType

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
ScaleArray = npt.NDArray[np.float32]
_LEAST_SCALE = 2.0**-100  # products of two scales stay normal numbers
_BIAS_CODES = 2.0**30


@dataclass(frozen=True)
class Encoding:
    """How an activation's numbers become codes.

    Attributes:
        scale: Positive; exactly a float32.
        zero_point: The code of zero.
        integer: The codes' type.
    """

    scale: float
    zero_point: int
    integer: IntegerType

    def scaled(self, factor: float) -> Encoding:
        """The same codes read as ``factor`` times their numbers."""
        return Encoding(to_float32(self.scale * factor), self.zero_point, self.integer)

    def numbers(self) -> tuple[float, float]:
        """The least and the greatest number that has a code."""
        lowest, highest = code_range(self.integer)
        return (lowest - self.zero_point) * self.scale, (highest - self.zero_point) * self.scale


def activation_encoding(values: Range, scheme: Int8Scheme) -> Encoding:
    """The finest encoding of a range, widened to hold zero, whose zero point is a code."""
    if scheme.unsigned_if_positive and values.low >= 0:
        top = code_range("uint8")[1]
        return Encoding(_scale(max(values.high, 0.0) / top), 0, "uint8")
    lowest, highest = code_range(scheme.activation)
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    if scheme.symmetric:
        middle = (lowest + highest + 1) // 2
        return Encoding(_scale(max(-low, high) / (highest - middle)), middle, scheme.activation)
    scale = _scale((high - low) / (highest - lowest))
    zero_point = min(max(round(lowest - low / scale), lowest), highest)
    return Encoding(scale, zero_point, scheme.activation)


def unit_encoding(scheme: Int8Scheme) -> Encoding:
    """Codes for exactly [0, 1]: what lies outside saturates."""
    return Encoding(to_float32(1.0 / 255.0), code_range(scheme.activation)[0], scheme.activation)


def code_range(integer: IntegerType) -> tuple[int, int]:
    """The least and the greatest code of a type."""
    limits = np.iinfo(integer)
    return int(limits.min), int(limits.max)


def encode(values: FloatArray, encoding: Encoding) -> IntArray:
    """Codes of an array, rounded half to even."""
    codes = np.rint(values.astype(np.float64) / encoding.scale) + encoding.zero_point
    made: IntArray = np.clip(codes, *code_range(encoding.integer)).astype(encoding.integer)
    return made


def weight_scales(
    weight: FloatArray, axis: int, scheme: Int8Scheme, least: FloatArray | float = 0.0
) -> ScaleArray:
    """Symmetric scales, float32 [channels] (equal ones where the scheme is per tensor).

    Args:
        weight: The weight.
        axis: Its output channels' axis.
        scheme: For bits and granularity.
        least: Lower bound of each scale, [channels] or one number.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    peaks = np.abs(weight).max(axis=others, initial=0.0).astype(np.float64)
    if not scheme.per_channel:
        peaks = np.full_like(peaks, peaks.max(initial=0.0))
    scales = np.maximum(peaks / _weight_code(scheme), least)
    if not scheme.per_channel:
        scales = np.full_like(scales, scales.max(initial=0.0))
    scales[scales == 0] = 1.0
    made: ScaleArray = np.maximum(scales, _LEAST_SCALE).astype(np.float32)
    return made


def quantize_weight(
    weight: FloatArray, axis: int, scales: ScaleArray, scheme: Int8Scheme
) -> npt.NDArray[np.int8]:
    """Symmetric codes of a weight, int8 of its shape."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    top = _weight_code(scheme)
    codes = weight.astype(np.float64)  # in place from here on: memory is the time
    np.divide(codes, scales.astype(np.float64).reshape(shape), out=codes)
    np.clip(np.rint(codes, out=codes), -top, top, out=codes)
    return codes.astype(np.int8)


def least_weight_scales(bias: FloatArray, activation: Encoding) -> FloatArray:
    """Lower bounds of the weight's scales that keep the bias within 31 bits.

    A bias has the scale ``s_x * s_w``: on a channel whose weights are almost dead that is so small
    that the bias would overflow without a word.
    """
    bounds: FloatArray = np.abs(bias.astype(np.float64)) / (activation.scale * _BIAS_CODES)
    return bounds


def quantize_bias(bias: FloatArray, scales: ScaleArray) -> npt.NDArray[np.int32]:
    """Codes of a bias [channels] whose scales are ``s_x * s_w`` [channels]."""
    return np.rint(bias.astype(np.float64) / scales.astype(np.float64)).astype(np.int32)


def _weight_code(scheme: Int8Scheme) -> int:
    return (1 << (scheme.weight_bits - 1)) - 1


def _scale(value: float) -> float:
    return to_float32(max(value, _LEAST_SCALE)) if value > 0 else 1.0


def to_float32(value: float) -> float:
    """The nearest float32."""
    return float(np.float32(value))
