"""The models that come with the onnx package: every op of the standard, a few whole networks."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper

DATA = Path(onnx.backend.test.__file__).parent / "data"


@dataclass(frozen=True)
class Case:
    """One model with one set of inputs."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, Any]


def cases(every: int = 1, offset: int = 0) -> Iterator[Case]:
    """Every n-th case, in a fixed order: one for each op test, then those with files."""
    for index, make in enumerate([*_op_tests(), *_files()]):
        if index % every == offset:
            yield make()


def _op_tests() -> Sequence[Any]:
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        found = sorted(load_node_model_tests(), key=lambda case: case.name)
    return [lambda case=case: _of_op_test(case) for case in found]


def _of_op_test(case: Any) -> Case:
    names = [value.name for value in case.model.graph.input]
    inputs = case.data_sets[0][0] if case.data_sets else ()
    feeds = dict(zip(names, inputs, strict=False))
    return Case(case.name, case.model, {k: _fed(v) for k, v in feeds.items() if v is not None})


def _fed(value: Any) -> Any:
    if isinstance(value, list):
        return [_fed(item) for item in value]
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value)


def _files() -> Sequence[Any]:
    folders = sorted(DATA.glob("*/*/model.onnx"))
    loose = sorted(DATA.glob("light/*.onnx"))
    return [lambda path=path: _of_file(path) for path in (*folders, *loose)]


def _of_file(path: Path) -> Case:
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    rng = np.random.default_rng(0)
    for index, value in enumerate(v for v in model.graph.input if v.name not in weights):
        stored = path.parent / "test_data_set_0" / f"input_{index}.pb"
        if stored.exists():
            feeds[value.name] = _stored(stored, value.type)
        else:
            shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
            feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
    return Case(f"{path.parent.parent.name}/{path.parent.name}/{path.stem}", model, feeds)


def _stored(path: Path, kind: onnx.TypeProto) -> Any:
    if kind.WhichOneof("value") == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(path.read_bytes()))
    if kind.WhichOneof("value") == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(path.read_bytes()))
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))
