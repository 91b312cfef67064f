"""The few ops of ai.onnx.ml that stand before networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value


def _scaler(site: Site) -> Function:
    offset = torch.tensor(site.attr("offset", (0.0,)))
    scale = torch.tensor(site.attr("scale", (1.0,)))

    def run(x: Value) -> Value:
        wide = x if x.is_floating_point() else x.to(torch.float32)
        return (wide.float() - offset) * scale

    return run


def _normalizer(site: Site) -> Function:
    norm = site.text("norm", "MAX")

    def run(x: Value) -> Value:
        if norm == "MAX":
            size = x.amax(-1, keepdim=True)
        elif norm == "L1":
            size = x.abs().sum(-1, keepdim=True)
        else:
            size = x.square().sum(-1, keepdim=True).sqrt()
        return x / torch.where(size == 0, torch.ones_like(size), size)

    if norm not in ("MAX", "L1", "L2"):
        raise UnsupportedError(f"its norm is {norm!r}")
    return run


def _features(site: Site) -> Function:
    return lambda *values: torch.cat([x.float().reshape(x.shape[0], -1) for x in values], 1)


OPS: Mapping[tuple[str, str], Builder] = {
    ("ai.onnx.ml", "FeatureVectorizer"): _features,
    ("ai.onnx.ml", "Normalizer"): _normalizer,
    ("ai.onnx.ml", "Scaler"): _scaler,
}
