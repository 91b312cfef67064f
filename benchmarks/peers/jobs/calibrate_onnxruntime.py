"""ONNX Runtime's three calibrators and its static quantizer, samples made as they are asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    create_calibrator,
    quantize_static,
)

from peers.made_resnet import image


class _Reader(CalibrationDataReader):
    """So many made-up images; none is kept."""

    def __init__(self, name: str, count: int) -> None:
        self._name, self._count, self._next = name, count, 0

    def get_next(self) -> dict[str, Any] | None:
        if self._next == self._count:
            return None
        self._next += 1
        return {self._name: image(self._next - 1)}


def run(model: str, method: str, samples: int) -> int:
    """Ranges of every tensor; returns how many."""
    name = onnx.load(model, load_external_data=False).graph.input[0].name
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            model,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod[method],
        )
        _one_thread(calibrator)
        calibrator.collect_data(_Reader(name, samples))
        return len(calibrator.compute_data().data)


def quantize(model: str, method: str, samples: int, target: str) -> int:
    """``quantize_static``, uint8 activations and int8 weights per channel; returns the file's size.

    The file is quantized as it is: its BatchNormalizations are folded and its shapes known. Its
    sessions take every core.
    """
    name = onnx.load(model, load_external_data=False).graph.input[0].name
    quantize_static(
        model,
        target,
        _Reader(name, samples),
        calibrate_method=CalibrationMethod[method],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return Path(target).stat().st_size


def _one_thread(calibrator: Any) -> None:
    """Its session takes every core and offers no say: open another in its place."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    calibrator.infer_session = onnxruntime.InferenceSession(
        calibrator.augmented_model_path, options, providers=["CPUExecutionProvider"]
    )
