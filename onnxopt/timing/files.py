"""Candidates as files, and how big they are."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from onnxopt.errors import ModelError
from onnxopt.timing.config import Model


def on_disk(model: Model, folder: Path) -> Path:
    """The candidate's file; models in memory are written into ``folder``.

    Raises:
        ModelError: there is no such file.
    """
    if isinstance(model, Path | str):
        path = Path(model)
        if not path.is_file():
            raise ModelError(f"no file {path}")
        return path.absolute()
    folder.mkdir()
    path = folder / "model.onnx"
    if isinstance(model, bytes):
        path.write_bytes(model)
        return path
    from onnxopt.store import save

    return save(model, path).path


def model_size_bytes(path: Path) -> int:
    """Size of a model file and of the files its weights refer to."""
    from onnxopt.graph import all_graphs

    size = path.stat().st_size
    if path.suffix == ".ort":
        return size
    model = ir.load(path)
    tensors = [v.const_value for g in all_graphs(model) for v in g.initializers.values()]
    outside = {Path(t.path) for t in tensors if isinstance(t, ir.ExternalTensor)}
    return size + sum(file.stat().st_size for file in outside if file.is_file())
