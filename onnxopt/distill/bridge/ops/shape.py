"""Ops that only move entries around or make tensors of a shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.convolution import torch_pads
from onnxopt.distill.bridge.ops.elementwise import Builder, plain
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value
from onnxopt.distill.bridge.tensors import to_tensor, torch_type


def _identity(x: Value, *rest: Value) -> Value:
    return x


def _dropout(site: Site) -> Function:
    """The identity: what a trained model does."""
    if len(site.node.outputs) > 1:
        return lambda x, *rest: (x, torch.ones_like(x, dtype=torch.bool))
    return _identity


def _constant(site: Site) -> Function:
    """A Constant in a function body, where an attribute may be the function's."""
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        given = site.attr(name)
        if given is not None:
            tensor = to_tensor(given) if name == "value" else _numbers(given, name)
            if tensor is not None:
                return lambda: tensor
    raise UnsupportedError("torch has no such tensor")


def _numbers(given: Any, name: str) -> torch.Tensor:
    kind = torch.float32 if "float" in name else torch.int64
    return torch.tensor(list(given) if name.endswith("s") else given, dtype=kind)


def _shape(site: Site) -> Function:
    start, end = site.attr("start", 0), site.attr("end")
    if start == 0 and end is None:
        return lambda x: torch.tensor(x.shape, dtype=torch.int64)
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _size(x: Value) -> Value:
    return torch.tensor(x.numel())


def _reshape(site: Site) -> Function:
    read, literal = site.ints(1), site.attr("allowzero", 0)

    def run(*values: Value) -> Value:
        x, sizes = values[0], read(values)
        if 0 in sizes and not literal:
            sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


def _flatten(site: Site) -> Function:
    axis = site.attr("axis", 1)

    def run(x: Value) -> Value:
        first = axis + x.dim() if axis < 0 else axis
        rows, columns = torch.Size(x.shape[:first]).numel(), torch.Size(x.shape[first:]).numel()
        return x.reshape(rows, columns)

    return run


def _transpose(site: Site) -> Function:
    order = site.attr("perm")
    if order is None:
        return lambda x: x.permute(*range(x.dim() - 1, -1, -1))
    return lambda x: x.permute(order)


def _squeeze(site: Site) -> Function:
    read = site.ints(1, "axes")

    def run(*values: Value) -> Value:
        axes = read(values)
        return values[0].squeeze() if axes is None else values[0].squeeze(axes)

    return run


def _unsqueeze(site: Site) -> Function:
    read = site.ints(1, "axes")

    def run(*values: Value) -> Value:
        x, axes = values[0], read(values)
        if len(axes) == 1:
            return x.unsqueeze(axes[0])
        rank = x.dim() + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return run


def _concat(site: Site) -> Function:
    axis = site.attr("axis", 1)
    return lambda *values: torch.cat(values, axis)


def _split(site: Site) -> Function:
    axis, read, parts = site.attr("axis", 0), site.ints(1, "split"), len(site.node.outputs)

    def run(*values: Value) -> Value:
        x, sizes = values[0], read(values)
        if sizes is None:
            each = -(-x.shape[axis] // parts)
            sizes = [each] * (parts - 1)
            sizes.append(x.shape[axis] - sum(sizes))
        return tuple(torch.split(x, list(sizes), axis))

    return run


def _pad(site: Site) -> Function:
    mode = site.text("mode", "constant")
    read, fill, chosen = site.ints(1, "pads"), site.number(2, "value", 0), site.ints(3)

    def run(*values: Value) -> Value:
        x, pads, axes = values[0], read(values), chosen(values)
        if axes is not None:
            whole, half = [0] * 2 * x.dim(), len(axes)
            for index, axis in enumerate(axes):
                whole[axis % x.dim()] = pads[index]
                whole[axis % x.dim() + x.dim()] = pads[index + half]
            pads = whole
        if mode == "constant":
            return F.pad(x, torch_pads(pads), value=fill(values))
        return _mirrored(x, pads, mode)

    return run


def _mirrored(x: Value, pads: Sequence[int], mode: str) -> Value:
    """Pad with entries of the tensor itself, axis by axis."""
    for axis in range(x.dim()):
        before, after = pads[axis], pads[axis + x.dim()]
        if before == after == 0:
            continue
        size = x.shape[axis]
        at = torch.arange(-before, size + after, device=x.device)
        if mode == "edge":
            at = at.clamp(0, size - 1)
        elif mode == "wrap":
            at = at % size
        elif mode == "reflect":
            period = max(2 * (size - 1), 1)
            at = at % period
            at = torch.where(at >= size, period - at, at)
        else:
            raise UnsupportedError(f"its mode is {mode!r}")
        x = x.index_select(axis, at)
    return x


def _tile(site: Site) -> Function:
    read = site.ints(1)
    return lambda *values: values[0].repeat(read(values))


def _expand(site: Site) -> Function:
    read = site.ints(1)

    def run(*values: Value) -> Value:
        x, sizes = values[0], read(values)
        return x.expand(torch.broadcast_shapes(x.shape, sizes))

    return run


def _filled(site: Site) -> Function:
    given = site.attr("value")
    tensor = torch.zeros(1) if given is None else to_tensor(given)
    if tensor is None:
        raise UnsupportedError("torch has no such tensor")
    read, number, kind = site.ints(0), tensor.item(), tensor.dtype
    return lambda *values: torch.full(read(values), number, dtype=kind)


def _range(start: Value, limit: Value, delta: Value) -> Value:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _eye(site: Site) -> Function:
    kind, shift = site.attr("dtype"), site.attr("k", 0)

    def run(x: Value) -> Value:
        made = torch.zeros(x.shape, dtype=x.dtype if kind is None else torch_type(kind))
        made.diagonal(shift).fill_(1) if -x.shape[0] < shift < x.shape[1] else None
        return made

    return run


def _depth_to_space(site: Site) -> Function:
    block, by_column = site.attr("blocksize"), site.text("mode", "DCR") == "CRD"

    def run(x: Value) -> Value:
        if by_column:
            return F.pixel_shuffle(x, block)
        n, c, h, w = x.shape
        deep = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return deep.reshape(n, c // block**2, h * block, w * block)

    return run


def _space_to_depth(site: Site) -> Function:
    block = site.attr("blocksize")

    def run(x: Value) -> Value:
        n, c, h, w = x.shape
        wide = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return wide.reshape(n, c * block**2, h // block, w // block)

    return run


def _triangle(site: Site) -> Function:
    function = torch.triu if site.attr("upper", 1) else torch.tril
    read = site.number(1, default=0)
    return lambda *values: function(values[0], int(read(values)))


def _fold(site: Site) -> Function:
    """Col2Im."""
    image, block = site.ints(1), site.ints(2)
    pads, strides = site.attr("pads"), site.attr("strides")
    dilations = site.attr("dilations")

    def run(*values: Value) -> Value:
        size, kernel = image(values), block(values)
        axes = len(size)
        if axes != 2 or (pads and tuple(pads[:2]) != tuple(pads[2:])):
            raise UnsupportedError("only two axes with equal pads at both ends")
        return F.fold(
            values[0], size, kernel, dilations or 1, pads[:2] if pads else 0, strides or 1
        )

    return run


def _reversed(site: Site) -> Function:
    batch, time = site.attr("batch_axis", 1), site.attr("time_axis", 0)

    def run(x: Value, lengths: Value) -> Value:
        return reverse_sequences(x, lengths, batch, time)

    return run


def reverse_sequences(x: Value, lengths: Value, batch: int, time: int) -> Value:
    """Turn round the first entries along time, as many as each sequence is long."""
    steps = torch.arange(x.shape[time], device=x.device).unsqueeze(1)
    ends = lengths.to(torch.int64).unsqueeze(0)
    at = torch.where(steps < ends, ends - 1 - steps, steps)
    moved = x.movedim((time, batch), (0, 1))
    columns = torch.arange(moved.shape[1], device=x.device).unsqueeze(0)
    return moved[at, columns].movedim((0, 1), (time, batch))


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "Col2Im"): _fold,
    ("", "Concat"): _concat,
    ("", "Constant"): _constant,
    ("", "ConstantOfShape"): _filled,
    ("", "DepthToSpace"): _depth_to_space,
    ("", "Dropout"): _dropout,
    ("", "Expand"): _expand,
    ("", "EyeLike"): _eye,
    ("", "Flatten"): _flatten,
    ("", "Identity"): plain(_identity),
    ("", "Pad"): _pad,
    ("", "Range"): plain(_range),
    ("", "Reshape"): _reshape,
    ("", "ReverseSequence"): _reversed,
    ("", "Shape"): _shape,
    ("", "Size"): plain(_size),
    ("", "SpaceToDepth"): _space_to_depth,
    ("", "Split"): _split,
    ("", "Squeeze"): _squeeze,
    ("", "Tile"): _tile,
    ("", "Transpose"): _transpose,
    ("", "Trilu"): _triangle,
    ("", "Unsqueeze"): _unsqueeze,
}
