"""What ONNX Runtime reads a model from: a file, a buffer, or a buffer beside weights in memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.errors import LimitError, ModelError
from onnxopt.graph import all_graphs, all_nodes, use_count
from onnxopt.guard import tensors
from onnxopt.runtime.config import SessionConfig

Model = Path | str | bytes | ir.Model

_APART_BYTES = 1 << 16
_D = ir.DataType
_TYPES = frozenset(
    {
        *(_D.FLOAT, _D.DOUBLE, _D.FLOAT16, _D.BOOL),
        *(_D.INT8, _D.INT16, _D.INT32, _D.INT64),
        *(_D.UINT8, _D.UINT16, _D.UINT32, _D.UINT64),
    }
)


@dataclass
class Source:
    """A model as it is given to ONNX Runtime.

    Attributes:
        content: A path, or a serialized model.
        label: What messages call it.
        weights: Weights that the content only names, by name. They are read where they lie and have
            to stay there as long as the session does.
    """

    content: str | bytes
    label: str
    weights: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        """Let go of everything."""
        self.content, self.weights = b"", {}
        if self._folder is not None:
            self._folder.cleanup()


def source_of(model: Model, config: SessionConfig) -> Source:
    """What to read a model from.

    The large weights of a model in memory are handed over as they are where the CPU provider runs
    it: serialized, they would be held four times while it loads and twice from then on.

    Raises:
        ModelError: There is no such file.
    """
    if isinstance(model, bytes):
        return Source(model, "the model")
    if not isinstance(model, ir.Model):
        path = Path(model)
        if not path.is_file():
            raise ModelError(f"no file {path}")
        return Source(str(path), str(path))
    if config.provider == "cpu" and config.optimized_model_path is None:
        weights = _large_weights(model)
        # what is left may be too large, or a weight's file gone: serializing finds another way,
        # or the words for it
        with contextlib.suppress(LimitError, OSError, ValueError):
            if weights:
                return _beside(model, weights)
    return whole(model)


def _large_weights(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Weights of the main graph alone that nobody may override, of types that numpy has.

    ONNX Runtime drops those that nothing reads, and then misses them.
    """
    found = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
        and value.const_value.nbytes >= _APART_BYTES
        and value.const_value.dtype in _TYPES
        and not (value.is_graph_input() or value.is_graph_output())
        and use_count(value)
    }
    elsewhere = _inner_tensors(model) if found else set()
    return {name: tensor for name, tensor in found.items() if id(tensor) not in elsewhere}


def _inner_tensors(model: ir.Model) -> set[int]:
    """The tensors that nodes and the graphs inside them hold."""
    held = [
        tensor
        for node in all_nodes(model)
        for a in node.attributes.values()
        for tensor in tensors(a)
    ]
    for graph in all_graphs(model):
        if graph is not model.graph:
            held += [
                v.const_value for v in graph.initializers.values() if v.const_value is not None
            ]
    return {id(tensor) for tensor in held}


def _beside(model: ir.Model, weights: Mapping[str, ir.TensorProtocol]) -> Source:
    from onnxopt.store import encode_external

    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in weights.items()}
    content = encode_external(model, "memory", dict.fromkeys(weights.values(), 0))
    return Source(content, _label(model), arrays)


def whole(model: ir.Model) -> Source:
    """A model in memory in one piece, or in a file where it is too large for that."""
    from onnxopt.store import save, serialize

    try:
        return Source(serialize(model), _label(model))
    except LimitError:  # beyond one protobuf buffer: weights in a file of their own
        folder = tempfile.TemporaryDirectory(prefix="onnxopt-")
        saved = save(model, Path(folder.name) / "model.onnx")
        return Source(str(saved.path), _label(model), _folder=folder)


def _label(model: ir.Model) -> str:
    return f"model {model.graph.name}" if model.graph.name else "the model"
