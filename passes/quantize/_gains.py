"""What a unit gains by integers, by the target's figures and the sizes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from onnxopt.graph import attribute
from onnxopt.targets import Int8Scheme, blocked
from onnxopt_passes.quantize._skipped import numbers_of, skipped_share
from onnxopt_passes.quantize._units import Slowed, Unit, output_axis, weight_dims

_INPUTS = 1

Sizes = Mapping[str, float]
"""Number of elements by tensor name."""


def macs(unit: Unit, sizes: Sizes, block: int = 1) -> float:
    """Multiply-accumulates of a unit on one sample; 0 where it has no weight.

    Args:
        unit: The unit.
        sizes: Of the tensors around it.
        block: Channels of a Conv count as a multiple of it.
    """
    dims = weight_dims(unit)
    if not dims or not all(dims):
        return 0.0
    axis = output_axis(unit.node)
    products = math.prod(dims) / dims[axis]
    if unit.node.op_type == "Conv" and dims[_INPUTS] > 1:
        products *= blocked(dims[_INPUTS], block) / dims[_INPUTS]
        products *= blocked(dims[axis], block) / dims[axis]
    return _elements(unit, sizes) * products


def gain_ns(unit: Unit, sizes: Sizes, scheme: Int8Scheme) -> float:
    """Nanoseconds that a unit saves by integers when its neighbours have them too."""
    dims = weight_dims(unit)
    elements = _elements(unit, sizes)
    reads = [sizes.get(value.name or "", 0.0) for value in unit.inputs]
    is_conv = unit.node.op_type == "Conv" and bool(dims) and dims[0] > 0
    taps = elements / dims[0] * math.prod(dims[2:]) if is_conv else 0.0
    group = attribute(unit.node, "group", 1)
    products = macs(unit, sizes, unit.kernel.block)
    pixels = elements / dims[0] if is_conv else 0.0
    skipped = skipped_share(unit.node, unit.outputs[0], dims[2:], pixels) if is_conv else 0.0
    shifted = shifted_ns(unit.node, dims, elements, scheme) if is_conv else 0.0
    return max(shifted, 0.0) + unit.kernel.gain.of(
        elements=elements,
        macs=products,
        skipped=skipped * products,
        taps=taps,
        groups=taps * group if isinstance(group, int) else 0.0,
        weights=math.prod(dims) if dims else 0,
        reads=sum(reads),
        spilled=sum(count for count in reads if scheme.cache and count > scheme.cache),
    )


def shifted_ns(node: ir.Node, dims: tuple[int, ...], elements: float, scheme: Int8Scheme) -> float:
    """Nanoseconds that a dense Conv in integers saves by a zero point in its weight.

    Args:
        node: The Conv.
        dims: Of its weight.
        elements: Of its output.
        scheme: Of the target.
    """
    if attribute(node, "group", 1) != 1 or not all(dims):
        return 0.0
    products = math.prod(dims[1:])
    windows = products * elements / dims[0] if _copies_windows(node, dims[2:]) else 0.0
    gain = scheme.shifted_conv
    return gain.of(elements=elements, macs=products * elements, windows=windows)


def _copies_windows(node: ir.Node, window: tuple[int, ...]) -> bool:
    strides, pads = numbers_of(node, "strides", []), numbers_of(node, "pads", [])
    return math.prod(window) > 1 or any(step != 1 for step in strides) or any(pads)


def channels_first_ns(unit: Unit, sizes: Sizes) -> float:
    """Nanoseconds that a unit takes more in codes that lie channels first."""
    return unit.kernel.channels_first.of(elements=_elements(unit, sizes))


def slowed_ns(slowed: Slowed, sizes: Sizes) -> float:
    """Nanoseconds that a float node takes more where a unit ahead of it is in integers."""
    return slowed.cost.of(elements=sizes.get(slowed.value.name or "", 0.0))


def _elements(unit: Unit, sizes: Sizes) -> float:
    return sum(sizes.get(out.name or "", 0.0) for out in unit.outputs)
