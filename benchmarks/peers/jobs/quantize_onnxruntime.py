"""ONNX Runtime's own quantizers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime.quantization as quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from peers import arrays

_LEAST_OPSET = 13  # below it, per-channel scales give an invalid model without a word
_RAISED_OPSET = 17


class _Reader(quantization.CalibrationDataReader):
    """Samples from a file, one at a time."""

    def __init__(self, path: str) -> None:
        self._samples: Iterator[dict[str, Any]] = iter(arrays.load(path))

    def get_next(self) -> dict[str, Any] | None:
        return next(self._samples, None)


def defaults(source: str, target: str, samples: str) -> None:
    """``quantize_static`` as it comes: int8 activations and weights, per tensor, min-max."""
    quantization.quantize_static(source, target, _Reader(samples))


def best(source: str, target: str, samples: str) -> None:
    """uint8 activations, int8 weights per channel, on a file prepared as the manual says."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        _prepare(_raised(onnx.load(source)), prepared)
        quantization.quantize_static(
            str(prepared),
            target,
            _Reader(samples),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def dynamic(source: str, target: str, samples: str) -> None:
    """``quantize_dynamic`` as it comes; the samples are not used."""
    del samples
    quantization.quantize_dynamic(source, target)


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next(entry for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset.version >= _LEAST_OPSET:
        return model
    return onnx.version_converter.convert_version(model, _RAISED_OPSET)


def _prepare(model: onnx.ModelProto, path: Path) -> None:
    """Its preparation; without symbolic shapes where those fail, as its own message advises."""
    try:
        quant_pre_process(model, str(path))
    except Exception:  # noqa: BLE001 - it raises plain Exception
        quant_pre_process(model, str(path), skip_symbolic_shape=True)
