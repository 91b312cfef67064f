"""Judges a torch bridge by ONNX Runtime. Import it only where torch is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import corpus
import judging
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from onnxopt import store
from onnxopt.distill import Bridge, to_torch
from onnxopt.distill.bridge.tensors import to_tensor
from onnxopt.errors import ModelError, OnnxoptError

DIFFERENT = {
    "test_training_dropout": "Dropout is the identity",
    "qk_matmul_bias_3d_mask_causal": "hidden scores are -inf, not the lowest float",
    "qk_matmul_bias_4d_mask_causal": "hidden scores are -inf, not the lowest float",
    "test_col2im_5d": "two axes only",
}
"""Parts of names of cases that are not computed as ONNX Runtime does, and why."""
CANCELLING = frozenset({"DFT", "STFT"})
"""Ops whose results near zero are what is left of large numbers."""


@dataclass
class Tally:
    """What became of the cases of the corpus that have float outputs."""

    agreed: dict[str, set[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    unsupported: dict[str, set[str]] = field(default_factory=dict)

    @property
    def ops(self) -> set[str]:
        return set().union(*self.agreed.values()) if self.agreed else set()


def judge(case: corpus.Case, tally: Tally) -> None:
    """Compare a case, where the store and ONNX Runtime take it and floats come out."""
    ops = {node.op_type for node in case.model.graph.node}
    if any(part in case.name for part in DIFFERENT):
        return
    try:
        model = store.load(case.model)
        wanted = judging.compute(case.model.SerializeToString(), case.feeds)
    except OnnxoptError:
        return
    if not any(_is_float(value) for value in wanted.values()):
        return
    try:
        bridge = to_torch(model)
    except ModelError:
        tally.unsupported[case.name] = ops
        return
    try:
        found = run(bridge, case.feeds)
    except OnnxoptError as error:
        tally.wrong.append(f"{case.name}: {error}")
        return
    sums = not ops.isdisjoint(CANCELLING)
    bad = [name for name, value in wanted.items() if not agree(found[name], value, sums=sums)]
    if bad:
        tally.wrong.append(f"{case.name}: {bad} differ")
    else:
        tally.agreed[case.name] = ops


def run(
    bridge: Bridge, feeds: Mapping[str, Any], wanted: Sequence[str] | None = None
) -> dict[str, Any]:
    """The bridge's outputs without gradients, for arrays."""
    with torch.no_grad():
        given = {name: fed(value) for name, value in feeds.items() if name in bridge.inputs}
        result: dict[str, Any] = bridge(given, wanted)
    return result


def fed(value: Any) -> Any:
    """An array, or what else an input takes, for torch."""
    if isinstance(value, list):
        return [fed(item) for item in value]
    return None if value is None else to_tensor(ir.tensor(value))


def agree(found: Any, wanted: Any, *, sums: bool = False) -> bool:
    """Equal integers, floats within 1e-4 (2e-3 in half precision), of sums of their greatest."""
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(map(agree, found, wanted))
    if wanted is None or not isinstance(wanted, np.ndarray):
        return bool(found == wanted)
    array = as_array(found)
    if array.shape != wanted.shape:
        return False
    if wanted.dtype.kind not in "fV":
        return bool((array == wanted).all())
    close = 1e-4 if wanted.dtype.itemsize > 2 else 2e-3
    scale = float(np.abs(wanted).max(initial=1.0)) if sums else 1.0
    exact = wanted.astype(np.float64)
    return np.allclose(array, exact, atol=close * scale, rtol=close, equal_nan=True)


def as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    tensor = tensor.detach()
    array: npt.NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _is_float(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_float, value))
    names = ("float16", "float32", "float64", "bfloat16")
    return isinstance(value, np.ndarray) and str(value.dtype) in names
