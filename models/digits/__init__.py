"""The embedded demo model: a small MobileNet-style classifier of handwritten digits.

The three files were written by `onnxopt_models.digits.train`; README.md beside this file says
how, from which data, and how accurate the model is.

- `MODEL`: ONNX, opset 17; `image` float32 [N, 1, 32, 32] in 0..1 -> `logits` float32 [N, 10].
- `CALIBRATION`: 128 samples; `image` float32 [128, 1, 32, 32], `labels` int64 [128].
- `TEST`: 510 samples; `image` float32 [510, 1, 32, 32], `labels` int64 [510].

The model's weights were fitted to neither the calibration nor the test samples.
"""

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent

MODEL: Final[Path] = _HERE / "digits.onnx"
CALIBRATION: Final[Path] = _HERE / "calibration.npz"
TEST: Final[Path] = _HERE / "test.npz"

__all__ = ["CALIBRATION", "MODEL", "TEST"]
