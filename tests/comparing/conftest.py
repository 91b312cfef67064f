from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxopt import store

Build = Callable[..., ir.Model]


@pytest.fixture
def build() -> Build:
    """A model from the body of a graph in ONNX text; ``extra`` holds functions."""

    def make(graph: str, extra: str = "", imports: str = "") -> ir.Model:
        header = f'<ir_version: 8, opset_import: ["" : 17{imports}]>'
        return store.from_text(f"{header}\n{graph}\n{extra}")

    return make
