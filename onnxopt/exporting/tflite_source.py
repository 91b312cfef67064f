"""TensorFlow Lite files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt import store
from onnxopt.data import Feeds
from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained, require
from onnxopt.exporting.hashing import files_digest
from onnxopt.exporting.silence import silent
from onnxopt.exporting.source import Converted, Outputs, Plan, SelfContained
from onnxopt.exporting.tensorflow_values import OPSET, exporter_name, framework_name
from onnxopt.graph import Editor, all_nodes, constant, is_op
from onnxopt.signature import TensorSpec

_TYPES = ("float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")


@dataclass(frozen=True, eq=False)
class TfliteSource(SelfContained):
    """See ``Source``; sizes are fixed unless ``dynamic`` opens one that the model can follow."""

    path: Path
    opset: int = OPSET

    @property
    def origin(self) -> str:
        """The file."""
        return self.path.name

    @property
    def framework(self) -> str:
        """The interpreter that comes with TensorFlow, with its version."""
        return f"TFLite of {framework_name()}"

    @property
    def exporter(self) -> str:
        """tf2onnx with its version."""
        return exporter_name()

    @cached_property
    def _interpreter(self) -> Any:
        import tensorflow as tf

        with explained(f"{self.origin} cannot be loaded"), silent():
            interpreter = tf.lite.Interpreter(str(self.path), num_threads=1)
            interpreter.allocate_tensors()
        return interpreter

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As the file declares them; a size that it leaves open is dynamic."""
        return tuple(_spec(detail) for detail in self._interpreter.get_input_details())

    @cached_property
    def _digest(self) -> str:
        return files_digest([self.path])

    def weights_sha256(self) -> str:
        """Of the file."""
        return self._digest

    def run(self, feeds: Feeds) -> Outputs:
        """What the interpreter computes; where a size is another one, all tensors are resized."""
        interpreter = self._interpreter
        with explained(f"the TFLite interpreter refuses {self.origin}"), silent():
            for detail in interpreter.get_input_details():
                array = feeds[detail["name"]]
                if tuple(detail["shape"]) != array.shape:
                    interpreter.resize_tensor_input(detail["index"], array.shape)
            interpreter.allocate_tensors()
            for detail in interpreter.get_input_details():
                interpreter.set_tensor(detail["index"], feeds[detail["name"]])
            interpreter.invoke()
            outputs = interpreter.get_output_details()
            return {o["name"]: np.array(interpreter.get_tensor(o["index"])) for o in outputs}

    def convert(self, plan: Plan) -> Converted:
        """By tf2onnx."""
        import tf2onnx

        own = [detail["name"] for detail in self._interpreter.get_output_details()]
        with explained(f"tf2onnx cannot take {self.origin}"), silent():
            proto, _ = tf2onnx.convert.from_tflite(
                str(self.path),
                input_names=[spec.name for spec in self.inputs],
                output_names=own,
                opset=min(plan.opset or OPSET, OPSET),
            )
        model = store.load(proto)
        if any(plan.dynamic_axes(spec) for spec in plan.inputs):
            _free(model)
        return Converted(model, self.exporter)


def _free(model: ir.Model) -> None:
    """Let the first axis grow: sizes inside are forgotten, and a Reshape that says 1 there keeps
    what comes in. Whether that is what the source does, the check in a second size tells.
    """
    editor = Editor(model)
    for node in list(all_nodes(model)):
        for value in node.outputs:
            value.shape = None
        target = constant(node.inputs[1]) if is_op(node, "Reshape") else None
        if target is not None and target.size and target[0] == 1:
            kept = np.concatenate([[0], target[1:]]).astype(np.int64)
            shape = editor.constant(node, f"{node.outputs[0].name}/shape", kept)
            node.replace_input_with(1, shape)


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"]).name
    name = str(detail["name"])
    if dtype not in _TYPES:
        raise ModelError(f"input {name} is {dtype}", f"one of {', '.join(_TYPES)}")
    open_sizes = detail.get("shape_signature", detail["shape"])
    dims = tuple(
        int(size) if size >= 0 else f"{name}_{axis}" if axis else "N"
        for axis, size in enumerate(open_sizes)
    )
    return TensorSpec(name, dtype, dims)


def open_tflite(path: Path) -> TfliteSource:
    """Load a ``.tflite`` file.

    Raises:
        BackendMissingError: TensorFlow or tf2onnx is missing.
    """
    require("tensorflow", "tensorflow", "tf2onnx")
    return TfliteSource(path)
