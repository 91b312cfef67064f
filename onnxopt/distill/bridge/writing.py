"""Trained weights back into a model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import DataType

from onnxopt.distill.bridge.coded import Coded, constant_of
from onnxopt.distill.bridge.tensors import tensor_of, to_array, to_tensor
from onnxopt.distill.bridge.weights import constants
from onnxopt.errors import ModelError
from onnxopt.graph import is_op, rewrite_constant


def write_back(
    model: ir.Model, parameters: Mapping[str, torch.Tensor], coded: Mapping[str, Coded]
) -> list[str]:
    """Put every weight that has changed into the constant of its name.

    Args:
        model: Edited in place.
        parameters: Weights by name.
        coded: How the integer ones are coded.

    Returns:
        The names written.

    Raises:
        ModelError: The model has no constant of some name and shape, a weight is NaN or infinite,
            or a scale is not positive; nothing is written then.
    """
    values = {value.name: value for value in constants(model)}
    parameters = {**parameters, **_bias_scales(values, parameters, coded)}
    changed: dict[str, tuple[ir.Value, torch.Tensor, DataType]] = {}
    for name, parameter in parameters.items():
        value = values.get(name)
        old = None if value is None else tensor_of(value)
        if value is None or old is None or tuple(old.shape.numpy()) != tuple(parameter.shape):
            raise ModelError(
                f"the model has no constant {name!r} of shape {list(parameter.shape)}",
                todo="write back into the model that was bridged",
            )
        _check(name, parameter)
        made = _changed(old, parameter, coded.get(name), parameters)
        if made is not None:
            changed[name] = value, made, DataType(old.dtype)
    for value, made, kind in changed.values():
        rewrite_constant(value, to_array(made, kind))
    return list(changed)


def _bias_scales(
    values: Mapping[str | None, ir.Value],
    parameters: Mapping[str, torch.Tensor],
    coded: Mapping[str, Coded],
) -> dict[str, torch.Tensor]:
    """Scales of int32 biases where those of input or weight have changed.

    Runtimes add the bias to sums of products of codes, so its scale has to be their product.
    """
    found = {}
    for name, form in coded.items():
        scales = _factors(values.get(name)) if form.kind == DataType.INT32 else None
        old = constant_of(form.scale)
        if scales is None or old is None:
            continue
        now = [parameters.get(scale.name or "", constant_of(scale)) for scale in scales]
        before = [constant_of(scale) for scale in scales]
        if any(a is None or b is None for a, b in zip(now, before, strict=True)):
            continue
        if all(_same(a.detach(), b) for a, b in zip(now, before, strict=True)):
            continue
        product = (now[0].detach() * now[1].detach()).reshape(-1)
        found[form.scale.name or ""] = product.expand(old.numel()).reshape(old.shape).clone()
    return found


def _factors(bias: ir.Value | None) -> list[ir.Value] | None:
    """The scales of input and weight of the layer that adds an integer bias."""
    uses = () if bias is None else bias.uses()
    readers = [use for node, _ in uses for use in node.outputs[0].uses()]
    if len(readers) != 1 or not is_op(readers[0].node, "Conv", "ConvTranspose", "Gemm"):
        return None
    scales = []
    for value in readers[0].node.inputs[:2]:
        producer = None if value is None else value.producer()
        scale = producer.inputs[1] if producer and is_op(producer, "DequantizeLinear") else None
        if scale is None or tensor_of(scale) is None:
            return None
        scales.append(scale)
    return scales


def _check(name: str, parameter: torch.Tensor) -> None:
    if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
        raise ModelError(f"weight {name!r} holds NaN or infinity", todo="lower the learning rate")


def _changed(
    old: ir.TensorProtocol,
    parameter: torch.Tensor,
    form: Coded | None,
    parameters: Mapping[str, torch.Tensor],
) -> torch.Tensor | None:
    before = to_tensor(old)
    if before is None:
        return None
    now = parameter.detach()
    if form is None:
        made = now.to(before.dtype)
        return None if _same(made, before) else made
    first = constant_of(form.scale)
    scale = parameters.get(form.scale.name or "", first)
    if first is None or scale is None:
        return None
    scale = scale.detach()
    if not bool((scale > 0).all()):
        raise ModelError(
            f"scale {form.scale.name!r} is not positive", todo="lower the learning rate of scales"
        )
    if _same(scale.to(first.dtype), first) and _same(now.to(first.dtype), form.real(before, first)):
        return None
    made = form.codes(now, scale)
    return None if _same(made, before.double()) else made


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and np.array_equal(
        one.cpu().contiguous().flatten().view(torch.uint8).numpy(),
        other.cpu().contiguous().flatten().view(torch.uint8).numpy(),
    )
