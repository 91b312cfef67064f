"""Weights of torch modules: from files that cannot run code, into an architecture they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained, require

_SHOWN = 3


def load_weights(module: Any, path: Path, *, trust_pickle: bool = False) -> None:
    """Fill a module with the weights of a file.

    Args:
        module: The architecture; changed in place.
        path: ``.safetensors``, or a state dict saved by torch.
        trust_pickle: Whether the file may hold more than tensors.

    Raises:
        ModelError: The file cannot be read, or does not fit the architecture.
    """
    if not path.is_file():
        raise ModelError(f"no file of weights {path}")
    state = _state(path, trust_pickle)
    own = module.state_dict()
    trouble = list(_misfits(own, state))
    if trouble:
        raise ModelError(
            f"{path.name} does not fit {type(module).__name__}: {'; '.join(trouble)}",
            "the weights of this very architecture",
        )
    with explained(f"{path.name} does not fit {type(module).__name__}"):
        module.load_state_dict(state, strict=False)


def _state(path: Path, trust_pickle: bool) -> Mapping[str, Any]:
    import torch

    if path.suffix == ".safetensors":
        require("torch", "safetensors")
        from safetensors.torch import load_file

        with explained(f"{path.name} cannot be read"):
            state: Any = load_file(path)
    else:
        hint = "" if trust_pickle else "give --trust-pickle if you know where it comes from"
        with explained(f"{path.name} holds more than tensors, or cannot be read", hint):
            state = torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    if isinstance(state, torch.nn.Module):
        state = state.state_dict()
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise ModelError(f"{path.name} holds a {type(state).__name__}", "a state dict")
    return state


def _misfits(own: Mapping[str, Any], state: Mapping[str, Any]) -> Iterable[str]:
    given = {tensor.data_ptr() for name, tensor in own.items() if name in state and tensor.numel()}
    missing = [n for n, t in own.items() if n not in state and t.data_ptr() not in given]
    unexpected = [name for name in state if name not in own]
    if missing:
        yield f"it lacks {_few(missing)}"
    if unexpected:
        yield f"it has {_few(unexpected)} too many"
    for name, tensor in own.items():
        found = state.get(name)
        if found is not None and tuple(found.shape) != tuple(tensor.shape):
            yield f"{name} is {_size(found)} instead of {_size(tensor)}"
            return


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _size(tensor: Any) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def state_digest(state: Mapping[str, Any]) -> str:
    """SHA-256 over named tensors: names, types, shapes and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()
