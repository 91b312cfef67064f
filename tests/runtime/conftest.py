"""Small models for the runtime's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import checker, parser


@pytest.fixture
def make_model() -> Callable[..., bytes]:
    """``make_model("float[N,3] x", "float[N,3] y", "y = Relu(x)")`` → a serialized model."""

    def make(inputs: str, outputs: str, body: str, opset: int = 21) -> bytes:
        text = (
            f'<ir_version: 10, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{{body}}}'
        )
        model = parser.parse_model(text)
        checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data

    return make


@pytest.fixture
def relu(make_model: Callable[..., bytes]) -> bytes:
    return make_model("float[N,3] x", "float[N,3] y", "y = Relu(x)")
