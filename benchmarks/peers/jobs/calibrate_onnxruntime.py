"""Calibration by ONNX Runtime's three calibrators, each sample made when it is asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

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


def _one_thread(calibrator: Any) -> None:
    """Its session takes every core and offers no say: open another in its place."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    calibrator.infer_session = onnxruntime.InferenceSession(
        calibrator.augmented_model_path, options, providers=["CPUExecutionProvider"]
    )
