"""The difference of two tensors, in memory bounded by a block of elements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.comparing.magnitude import Magnitude
from onnxopt.exactness import Tolerance
from onnxopt.metrics.metric import is_float

_BLOCK = 1 << 18
EQUAL = Tolerance(0.0, 0.0)
_Array = npt.NDArray[Any]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TensorDifference:
    """See ``OutputAgreement``; ``problem`` is empty where the tensors agree."""

    problem: str = ""
    max_abs: float = 0.0
    mean_abs: float = 0.0
    relative_l2: float | None = None
    cosine: float | None = None
    argmax_agreement: float | None = None
    mismatch: float = 0.0
    first_bad: tuple[int, ...] | None = None

    @classmethod
    def structural(cls, problem: str) -> TensorDifference:
        """Things that have no elements in common."""
        return cls(problem, math.inf, math.inf, math.inf, mismatch=1.0)


def tensor_difference(a: _Array, b: _Array, tolerance: Tolerance | None) -> TensorDifference:
    """Compare a candidate ``b`` with the reference ``a``.

    Floats agree within ``|a - b| <= atol * max(1, s) + rtol * |a|``, with ``s`` 1 or, where the
    tolerance asks for it, the ``Magnitude`` there; NaN agrees with NaN and an infinity with its own
    sign. A tolerance of zero means equal bits, so that -0.0 differs from 0.0. Everything else must
    be equal. Without a tolerance only type and shape are judged, and the numbers are there to read.
    """
    if _type_name(a) != _type_name(b):
        return TensorDifference.structural(f"has type {_type_name(b)} instead of {_type_name(a)}")
    if a.shape != b.shape:
        return TensorDifference.structural(f"has shape {list(b.shape)} instead of {list(a.shape)}")
    floats = is_float(a) or a.dtype.kind == "c"
    sums = _Sums(Magnitude(a))
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    limit = tolerance if tolerance is not None and floats else EQUAL
    for start in range(0, a.size, _BLOCK):
        stop = start + _BLOCK
        sums.add(flat_a[start:stop], flat_b[start:stop], start, limit)
    return _summary(a, b, sums, floats, judged=tolerance is not None)


@dataclass
class _Sums:
    """Running sums over pairs of finite numbers, and what is outside the tolerance."""

    magnitude: Magnitude
    squared_error: float = 0.0
    squared_reference: float = 0.0
    squared_candidate: float = 0.0
    product: float = 0.0
    abs_error: float = 0.0
    max_abs: float = 0.0
    finite: int = 0
    bad: int = 0
    first_bad: int | None = None
    is_infinite: bool = False

    def add(self, a: _Array, b: _Array, start: int, tolerance: Tolerance) -> None:
        """Count in a block that begins at flat position ``start``."""
        numbers = a.dtype.kind not in "UOST"
        if not numbers or a.dtype.kind in "iub":
            self._note(a != b, start)
        if not numbers:
            return
        wide = np.complex128 if a.dtype.kind == "c" else np.float64
        x, y = a.astype(wide), b.astype(wide)
        both = np.isfinite(x) & np.isfinite(y)
        if a.dtype.kind not in "iub":
            wrong = _outside(x, y, tolerance.atol, tolerance.rtol)
            if tolerance.by_magnitude and wrong.any():
                self._excuse(wrong, x, y, start, tolerance)
            self._note(wrong, start)
            self.is_infinite |= bool((wrong & ~both).any())
        if not both.all():
            x, y = x[both], y[both]
        if x.size:
            self._accumulate(x, y)

    def _excuse(self, wrong: _Mask, x: _Array, y: _Array, start: int, limit: Tolerance) -> None:
        """Clear what is within the tolerance by the magnitude of the numbers around."""
        places = np.flatnonzero(wrong)
        usual = self.magnitude.at(places + start)
        atol = limit.atol * np.maximum(usual, 1.0)
        wrong[places] = _outside(x[places], y[places], atol, limit.rtol)

    def _note(self, wrong: _Mask, start: int) -> None:
        count = int(wrong.sum())
        if count and self.first_bad is None:
            self.first_bad = start + int(wrong.argmax())
        self.bad += count

    def _accumulate(self, x: _Array, y: _Array) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.abs(x - y)
            self.finite += x.size
            self.abs_error += float(error.sum())
            self.max_abs = max(self.max_abs, float(error.max()))
            self.squared_error += _dot(error, error)
            self.squared_reference += _dot(x, x)
            self.squared_candidate += _dot(y, y)
            self.product += _dot(x, y)

    @property
    def relative_l2(self) -> float:
        """Relative to the reference; absolute where that is all zero."""
        scale = math.sqrt(self.squared_reference) or 1.0
        value = math.sqrt(self.squared_error) / scale
        return math.inf if self.is_infinite or math.isnan(value) else value

    @property
    def cosine(self) -> float:
        """1 for two zero vectors, 0 for a zero vector and another or for other non-finite ones."""
        if self.is_infinite:
            return 0.0
        if not self.squared_reference or not self.squared_candidate:
            return float(self.squared_reference == self.squared_candidate)
        norm = math.sqrt(self.squared_reference) * math.sqrt(self.squared_candidate)
        value = self.product / norm
        return 0.0 if math.isnan(value) else max(-1.0, min(1.0, value))


def _dot(x: _Array, y: _Array) -> float:
    """Summed by numpy: a BLAS would sum in an order that depends on its threads."""
    product = x * y.conj() if x.dtype.kind == "c" else x * y
    return float(product.sum().real)


def _outside(x: _Array, y: _Array, atol: float | _Array, rtol: float) -> _Mask:
    """Where floats disagree."""
    with np.errstate(over="ignore", invalid="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        if rtol == 0 and np.all(atol == 0):
            if x.dtype.kind == "c":
                return np.asarray(~same)
            zero_turned = (x == 0) & (y == 0) & (np.signbit(x) != np.signbit(y))
            return np.asarray(~same | zero_turned)
        near = np.abs(x - y) <= atol + rtol * np.abs(x)
        return np.asarray(~(same | (near & np.isfinite(x) & np.isfinite(y))))


def _summary(a: _Array, b: _Array, sums: _Sums, floats: bool, *, judged: bool) -> TensorDifference:
    first = None if sums.first_bad is None else np.unravel_index(sums.first_bad, a.shape)
    where = None if first is None or not judged else tuple(int(i) for i in first)
    problem = ""
    if where is not None:
        problem = (
            f"differs at {list(where)}: {b[where]!s:.40} instead of {a[where]!s:.40}; "
            f"{sums.bad} of {a.size} elements are outside the tolerance"
        )
    return TensorDifference(
        problem=problem,
        max_abs=math.inf if sums.is_infinite else sums.max_abs,
        mean_abs=math.inf if sums.is_infinite else sums.abs_error / max(sums.finite, 1),
        relative_l2=sums.relative_l2 if floats else None,
        cosine=sums.cosine if floats else None,
        argmax_agreement=_argmax_agreement(a, b) if floats else None,
        mismatch=sums.bad / max(a.size, 1),
        first_bad=where,
    )


def _argmax_agreement(a: _Array, b: _Array) -> float | None:
    if a.ndim == 0 or a.shape[-1] <= 1 or a.size == 0 or a.dtype.kind == "c":
        return None
    rows = (a.reshape(-1, a.shape[-1]), b.reshape(-1, a.shape[-1]))
    best = [(r.astype(np.float32) if r.dtype.kind == "V" else r).argmax(axis=1) for r in rows]
    return float((best[0] == best[1]).mean())


def _type_name(array: _Array) -> str:
    return "string" if array.dtype.kind in "UOST" else array.dtype.name
