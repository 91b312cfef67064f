"""Training that was interrupted, on disk: written atomically, loaded as plain tensors only."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxopt.store.atomic import AtomicFile

FORMAT = 2


def path_for(cache: Path, *parts: object) -> Path:
    """The file for a run: equal models, data, plan and seed, equal path."""
    digest = hashlib.sha256(json.dumps([FORMAT, *map(str, parts)]).encode()).hexdigest()
    return cache / "distill" / f"{digest}.pt"


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and names."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    torch.save({"format": FORMAT, **state}, data)
    with AtomicFile(path.parent) as file:
        file.write(data.getvalue())
        file.commit(path)


def read(path: Path) -> dict[str, Any] | None:
    """What a file holds; None where it is missing, damaged or of another format."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
        return None
    found: dict[str, Any] | None = state if isinstance(state, dict) else None
    return found if found is not None and found.get("format") == FORMAT else None
