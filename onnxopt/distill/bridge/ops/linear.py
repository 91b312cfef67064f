"""Matrix products."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder, plain
from onnxopt.distill.bridge.site import Function, Site, Value


def _gemm(site: Site) -> Function:
    alpha, beta = site.attr("alpha", 1.0), site.attr("beta", 1.0)
    turn_a, turn_b = site.attr("transA", 0), site.attr("transB", 0)

    def run(a: Value, b: Value, c: Value = None) -> Value:
        a, b = (a.t() if turn_a else a), (b if turn_b else b.t())
        if alpha == 1 and (c is None or (beta == 1 and c.dim() == 1)) and a.is_floating_point():
            return F.linear(a, b, c)
        made = torch.matmul(a, b.t())
        made = made if alpha == 1 else made * alpha
        return made if c is None else made + (c if beta == 1 else c * beta)

    return run


def _einsum(site: Site) -> Function:
    equation = site.text("equation", "").replace(" ", "")
    return lambda *values: torch.einsum(equation, *values)


def _fused_matmul(site: Site) -> Function:
    alpha = site.attr("alpha", 1.0)
    turn_a, turn_b = site.attr("transA", 0), site.attr("transB", 0)

    def run(a: Value, b: Value) -> Value:
        left = a.transpose(-1, -2) if turn_a and a.dim() > 1 else a
        right = b.transpose(-1, -2) if turn_b and b.dim() > 1 else b
        made = torch.matmul(left, right)
        return made if alpha == 1 else made * alpha

    return run


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "Einsum"): _einsum,
    ("", "Gemm"): _gemm,
    ("", "MatMul"): plain(torch.matmul),
    ("com.microsoft", "FusedMatMul"): _fused_matmul,
}
