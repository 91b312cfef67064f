"""Builds effnet-lite0: the pinned weights in the pinned code, exported to ONNX.

The code of the wheel is imported from the wheel, and the weights are read as tensors only.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch

from onnxopt_models.built.export import export

NAME = "efficientnet-lite0"
SIDE = 224


def main(weights: str, code: str, output: str) -> None:
    """Export the network to ``output``.

    Its ``set_swish`` is not called: that would put Swish in the place of the trained ReLU6.
    """
    torch.set_num_threads(1)
    sys.path.insert(0, code)
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(NAME)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    pictures = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    export(network, {"image": pictures}, "logits", Path(output), "effnet-lite0")


if __name__ == "__main__":
    main(*sys.argv[1:])
