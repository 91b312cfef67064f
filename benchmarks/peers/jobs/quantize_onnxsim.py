"""onnxsim's quantizers."""

from __future__ import annotations

import warnings

import onnx
import onnxsim

from peers import arrays

_LEAST_OPSET = 13  # for scales per channel
_RAISED_OPSET = 17


def defaults(source: str, target: str, samples: str) -> None:
    """``quantize_static`` as it comes: uint8 activations, int8 weights per channel, min-max."""
    onnx.save(onnxsim.quantize_static(source, arrays.load(samples)), target)


def best(source: str, target: str, samples: str) -> None:
    """The same after ``simplify`` and at an opset that knows scales per channel."""
    model = onnx.load(source)
    version = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    raised = _RAISED_OPSET if version < _LEAST_OPSET else None
    model, _ = onnxsim.simplify(model, target_opset_version=raised)
    onnx.save(onnxsim.quantize_static(model, arrays.load(samples)), target)


def dynamic(source: str, target: str, samples: str) -> None:
    """Dynamic quantization with ONNX Runtime's fused op; the samples are not used."""
    del samples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _ = onnxsim.simplify(source)
        onnx.save(onnxsim.quantize_dynamic_matmul_integer_to_float(model), target)
