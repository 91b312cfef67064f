"""Exporting a torch network to ONNX, and checking the file against the network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from onnxopt.errors import MismatchError
from onnxopt.runtime import open_session

OPSET = 17
BATCH = "N"
CLOSE = 1e-4


def export(
    network: nn.Module, inputs: Mapping[str, Tensor], output: str, path: Path, title: str
) -> None:
    """Write ``network`` as ONNX with a dynamic batch, and compare both on ``inputs``.

    torch's TorchScript exporter is used because that is what most models in use came from.

    Args:
        network: Its arguments are the inputs, in order; gives one tensor.
        inputs: Of two or more rows.
        output: What its result is called.
        path: Where to.
        title: Of the graph.

    Raises:
        MismatchError: The results differ by more than 1e-4 of the largest.
    """
    network.eval()
    names = [*inputs, output]
    single = tuple(value[:1] for value in inputs.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        torch.onnx.export(
            network,
            single,
            path,
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={name: {0: BATCH} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    model.graph.name = title
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    _compare(network, inputs, output, path)


def _compare(network: nn.Module, inputs: Mapping[str, Tensor], output: str, path: Path) -> None:
    with torch.inference_mode():
        expected = network(*inputs.values()).numpy()
    with open_session(path) as session:
        found = session.run({name: value.numpy() for name, value in inputs.items()})[output]
    if not np.allclose(found, expected, rtol=0, atol=CLOSE * np.abs(expected).max()):
        difference = np.abs(found - expected).max()
        raise MismatchError(f"the exported file differs from torch by {difference:.2g}")
