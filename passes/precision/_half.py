"""The two 16-bit float types, and what converting constants to them loses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

_MOST_LOSS = 0.01


@dataclass(frozen=True)
class Half:
    """A 16-bit float type.

    Attributes:
        dtype: Its ONNX type.
        text: Its name in operator schemas.
        greatest: The greatest finite number.
        least: The least normal number; below it precision fades.
        suffix: Of the names of values in this type.
    """

    dtype: ir.DataType
    text: str
    greatest: float
    least: float
    suffix: str

    def cast(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """An array in this type; too large numbers become infinite."""
        with np.errstate(over="ignore", under="ignore"):
            return array.astype(self.dtype.numpy())

    def constant_obstacle(self, array: npt.NDArray[np.generic]) -> str | None:
        """Why a float32 constant cannot be held in this type."""
        numbers = array.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        peak = float(np.abs(finite).max(initial=0.0))
        if peak > self.greatest:
            return f"holds {peak:.3g}, above {self.greatest:.5g}"
        norm = float(np.linalg.norm(finite))
        kept = self.cast(finite).astype(np.float64)
        loss = float(np.linalg.norm(kept - finite)) / norm if norm else 0.0
        if loss > _MOST_LOSS:
            return f"loses {loss:.1%} of its size: most of it is below {self.least:.2g}"
        return None


FLOAT16 = Half(ir.DataType.FLOAT16, "tensor(float16)", 65504.0, 2.0**-14, "half")
BFLOAT16 = Half(
    ir.DataType.BFLOAT16, "tensor(bfloat16)", (2 - 2.0**-7) * 2.0**127, 2.0**-126, "bfloat"
)
