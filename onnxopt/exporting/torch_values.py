"""What torch modules take and give, as named arrays and back."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data import Feeds
from onnxopt.errors import DataError, ModelError

Named = list[tuple[str, Any]]
"""Tensors by name, in order."""


def parameters_of(module: Any) -> tuple[list[str], bool]:
    """The names of what ``forward`` takes, and whether it takes any number besides."""
    found = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return names, any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found)


def check_arguments(module: Any, names: Sequence[str]) -> None:
    """Refuse names that ``forward`` does not take, or the lack of one that it needs.

    Raises:
        DataError: They do not fit.
    """
    known, is_open = parameters_of(module)
    signature = inspect.signature(module.forward)
    unknown = [name for name in names if name not in known]
    needed = [
        p.name
        for p in signature.parameters.values()
        if p.name in known and p.default is p.empty and p.name not in names
    ]
    if (unknown and not is_open) or needed:
        raise DataError(
            f"the sample has {', '.join(names)}",
            f"what forward{signature} takes",
            "name arrays or --input as its parameters",
        )


def as_feeds(module: Any, sample: Any) -> Feeds:
    """The arguments of one call, as a factory gives them, by name.

    Raises:
        ModelError: They are no tensors.
    """
    if isinstance(sample, Mapping):
        named = dict(sample)
    else:
        several = sample if isinstance(sample, tuple | list) else (sample,)
        names, _ = parameters_of(module)
        names += [f"input_{i}" for i in range(len(names), len(several))]
        named = dict(zip(names, several, strict=False))
    return {name: _array(value, name) for name, value in named.items()}


def to_tensors(feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Arrays as torch's tensors."""
    import torch

    return {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}


def named_tensors(value: Any, name: str = "output") -> Named:
    """The tensors in what a module gives, named after keys and fields, or numbered.

    Raises:
        ModelError: There is something that ONNX cannot give.
    """
    return [(path or name, tensor) for path, tensor in _tensors(value, "", name)]


def _tensors(value: Any, path: str, name: str) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{path}.{key}" if path else str(key), name)
    elif dataclasses.is_dataclass(value) or hasattr(value, "_fields"):
        fields = getattr(value, "_fields", None) or [f.name for f in dataclasses.fields(value)]
        for key in fields:
            yield from _tensors(getattr(value, key), f"{path}.{key}" if path else key, name)
    elif isinstance(value, tuple | list):
        start = path or name
        for index, inner in enumerate(value):
            yield from _tensors(inner, f"{start}_{index}" if len(value) > 1 else path, name)
    elif value is not None:
        raise ModelError(
            f"the module gives a {type(value).__name__} as {path or name}",
            "tensors, and tuples or dicts of them",
        )


def to_array(tensor: Any) -> npt.NDArray[Any]:
    """A tensor's values; numpy's own types stay, bfloat16 becomes that of ml_dtypes."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        wide: npt.NDArray[Any] = tensor.float().numpy()
        return wide.astype(ml_dtypes.bfloat16)
    array: npt.NDArray[Any] = tensor.numpy()
    return array


def _array(value: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if not hasattr(value, "detach"):
        raise ModelError(f"sample input {name} is a {type(value).__name__}", "a tensor or an array")
    return to_array(value)
