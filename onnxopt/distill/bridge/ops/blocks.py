"""com.microsoft's layers and tables whose fixed weights lie in blocks of few bits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value

_MICROSOFT = "com.microsoft"
_BITS = (2, 4, 8)


def _unpacked(packed: Value, bits: int) -> Value:
    """The codes of bytes, lowest bits first, along the last axis."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    codes = (packed.unsqueeze(-1) >> shifts) & (2**bits - 1)
    return codes.flatten(-2)


def _bits(site: Site) -> int:
    bits = int(site.attr("bits", 4))
    if bits not in _BITS:
        raise UnsupportedError(f"its codes have {bits} bits")
    return bits


def _real(codes: Value, scales: Value, zeros: Value, bits: int, block: int) -> Value:
    """Codes [rows, columns] by scales [rows, blocks] and packed zero points."""
    rows, columns = codes.shape
    scales = scales.reshape(rows, -1)
    if zeros is None:
        middle: Value = 2 ** (bits - 1)
    elif zeros.is_floating_point():
        middle = zeros.reshape(rows, -1).repeat_interleave(block, 1)[:, :columns]
    else:
        found = _unpacked(zeros.reshape(rows, -1), bits)[:, : scales.shape[1]]
        middle = found.to(scales.dtype).repeat_interleave(block, 1)[:, :columns]
    return (codes.to(scales.dtype) - middle) * scales.repeat_interleave(block, 1)[:, :columns]


def _product(site: Site) -> Function:
    bits, block, columns = _bits(site), site.attr("block_size"), site.attr("K")
    if site.has(4):
        raise UnsupportedError("its columns are permuted (g_idx)")

    def run(x: Value, packed: Value, scales: Value, zeros: Value = None, *rest: Value) -> Value:
        codes = _unpacked(packed.reshape(packed.shape[0], -1), bits)[:, :columns]
        weight = _real(codes, scales, zeros, bits, block)
        return F.linear(x, weight, rest[1] if len(rest) > 1 else None)

    return run


def _table(site: Site) -> Function:
    bits, block = _bits(site), site.attr("block_size", 128)
    if site.attr("gather_axis", 0) != 0 or site.attr("quantize_axis", 1) != 1:
        raise UnsupportedError("it gathers along other axes than rows in blocks of columns")

    def run(packed: Value, at: Value, scales: Value, zeros: Value = None) -> Value:
        codes = _unpacked(packed, bits) if packed.dtype == torch.uint8 else packed
        table = _real(codes, scales, zeros, bits, block)
        at = at.to(torch.int64)
        return F.embedding(torch.where(at < 0, at + table.shape[0], at), table)

    return run


OPS: Mapping[tuple[str, str], Builder] = {
    (_MICROSOFT, "GatherBlockQuantized"): _table,
    (_MICROSOFT, "MatMulNBits"): _product,
}
