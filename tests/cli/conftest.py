"""What tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxopt import store


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of the model that the test module spells as ``MODEL``."""
    path = tmp_path / "model.onnx"
    store.save(store.from_text(request.module.MODEL), path)
    return path
