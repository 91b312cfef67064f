"""NNCF, OpenVINO's quantizer."""

from __future__ import annotations

from typing import Any

import nncf
import openvino

from peers import arrays


def defaults(source: str, target: str, samples: str) -> None:
    """``nncf.quantize`` as it comes."""
    _quantize(source, target, samples)


def best(source: str, target: str, samples: str) -> None:
    """Aimed at this kind of processor, mixed preset; as a transformer where it is one."""
    model = openvino.Core().read_model(source)
    ops = {op.get_type_name() for op in model.get_ops()}
    is_transformer = {"Softmax", "MatMul", "MVN"} <= ops or "ScaledDotProductAttention" in ops
    _quantize(
        source,
        target,
        samples,
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        model_type=nncf.ModelType.TRANSFORMER if is_transformer else None,
    )


def _quantize(source: str, target: str, samples: str, **options: Any) -> None:
    model = openvino.Core().read_model(source)
    data = arrays.load(samples)
    found = nncf.quantize(model, nncf.Dataset(data), subset_size=len(data), **options)
    openvino.save_model(found, target, compress_to_fp16=False)
