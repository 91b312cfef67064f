"""Runs on values that stay in the device's memory (ONNX Runtime's IO binding)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import UsageError
from onnxopt.signature import TensorSpec

if TYPE_CHECKING:
    import onnxruntime as ort

_MEMORY = {"cuda": "cuda", "tensorrt": "cuda"}
"""Provider to the kind of memory its values lie in; the host's for all others."""


def memory_of(provider: str) -> str:
    """ONNX Runtime's name of the memory that a provider computes in."""
    return _MEMORY.get(provider, "cpu")


def check_bindable(specs: Iterable[TensorSpec]) -> None:
    """Refuse what has no place in a device's memory.

    Raises:
        UsageError: An input or output is text, a sequence, a map, or of a type numpy lacks.
    """
    for spec in specs:
        plain = spec.dtype not in ("", "string") and np.dtype(spec.dtype).kind in "biufc"
        if not plain:
            raise UsageError(f"io_binding with {spec}", "dense tensors of numbers")


def bound_call(
    inner: ort.InferenceSession,
    feeds: Mapping[str, npt.NDArray[Any]],
    outputs: Sequence[str],
    memory: str,
) -> Callable[[], list[Any]]:
    """Put the feeds into the device's memory and run once to learn the outputs' sizes.

    Later runs write to the same places, as a CUDA graph needs it.

    Args:
        inner: ONNX Runtime's session.
        feeds: Checked arrays by input name.
        outputs: Names of the wanted outputs.
        memory: What ``memory_of`` says.

    Returns:
        A call that runs the model and gives its outputs as ``OrtValue``s of that memory; each run
        overwrites those of the run before.
    """
    from onnxruntime import OrtValue

    binding = inner.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array, memory, 0))
    for name in outputs:
        binding.bind_output(name, memory)
    inner.run_with_iobinding(binding)
    places = dict(zip(outputs, binding.get_outputs(), strict=True))
    binding.clear_binding_outputs()
    for name, place in places.items():
        binding.bind_ortvalue_output(name, place)

    def call() -> list[Any]:
        inner.run_with_iobinding(binding)
        return [places[name] for name in outputs]

    return call
