"""All ops that have a form in torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from onnxopt.distill.bridge.ops import (
    activations,
    attention,
    blocks,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    sampling,
    shape,
    spectrum,
    traditional,
)
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError

Builder = Callable[[Site], Function]

_FAMILIES = (
    activations,
    attention,
    blocks,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    sampling,
    shape,
    spectrum,
    traditional,
)


def find(domain: str, op_type: str) -> Builder:
    """The builder of an op.

    Raises:
        UnsupportedError: There is none.
    """
    builder = table().get((_standard(domain), op_type))
    if builder is None:
        raise UnsupportedError("the op has no form in torch yet")
    return builder


@functools.cache
def table() -> Mapping[tuple[str, str], Builder]:
    """Builders by domain and op."""
    return {key: builder for family in _FAMILIES for key, builder in family.OPS.items()}


def _standard(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
