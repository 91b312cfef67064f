"""Files that can run code while they are read: only for those who say that they trust them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained, require
from onnxopt.exporting.options import ExportOptions


def unpickled(path: Path, options: ExportOptions) -> Any:
    """What a ``.joblib`` or ``.pkl`` file holds.

    Raises:
        ModelError: Nobody said that it may be trusted, or it cannot be read.
    """
    if not options.trust_pickle:
        raise ModelError(
            f"{path.name} is a pickle, which can run code when it is read",
            "a source that cannot",
            "give --trust-pickle if you know where it comes from, or a module:factory",
        )
    require("sklearn", "joblib")
    import joblib

    with explained(f"{path.name} cannot be read", "is it of the same library version?"):
        return joblib.load(path)
