"""Train the embedded digits model from scratch; write `digits.onnx` and its two data files.

Run `python -m onnxopt_models.digits.train [--out DIR]`. It needs torch, scikit-learn, onnx and
onnxruntime, and takes minutes on two cores.

Data: the 1797 images of 8x8 pixels bundled with scikit-learn (UCI digits, ink 0..16), enlarged
bilinearly to 32x32 and divided by 16. A sample is float32 [1, 32, 32] in 0..1, where 0 is paper
and 1 is ink. The model takes exactly that; nothing further is subtracted or scaled.

Network: fused inverted residual blocks (Tan and Le, EfficientNetV2, 2021) at high resolution,
depthwise ones (Sandler et al., MobileNetV2, 2018) below, BatchNorm after every convolution,
hard-swish activations (Howard et al., MobileNetV3, 2019).
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from onnxopt.runtime import open_session

_LOG: Final = logging.getLogger(__name__)
_SIDE: Final = 32  # pixels, both axes
_CLASSES: Final = 10
_INPUT: Final = "image"
_OUTPUT: Final = "logits"


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, save the processor and the library versions."""

    seed: int = 0
    threads: int = 2
    epochs: int = 14
    batch: int = 64
    peak_learning_rate: float = 4e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    calibration_size: int = 128
    test_start: int = 1287  # position in the source file; see `load_splits`


class Split(NamedTuple):
    """Samples: `images` float32 [n, 1, 32, 32] in 0..1, `labels` int64 [n] in 0..9."""

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class Splits(NamedTuple):
    """The three splits; no source image is in two of them."""

    train: Split
    calibration: Split
    test: Split


def enlarge(small: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Enlarge bilinearly, pixel centres at halves: [n, 8, 8] in 0..16 -> [n, 1, 32, 32] in 0..1.

    Weights are multiples of 1/8 and pixels are integers, so results are multiples of 1/1024:
    exact in float32 in whatever order they are summed.
    """
    side = small.shape[1]
    centres = np.clip((np.arange(_SIDE) + 0.5) * side / _SIDE - 0.5, 0, side - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(centres[:, None] - np.arange(side)))
    large: npt.NDArray[np.float64] = weights @ small @ weights.T / 16.0
    return large[:, None].astype(np.float32)


def load_splits(settings: Settings) -> Splits:
    """Split the source images: test is the tail of the file, calibration is drawn from the rest.

    The file is not shuffled: it holds form after form, most of which open with 0..9 thrice. One
    such opening is at 1287, so the test images come from other forms than all the others do.
    """
    pixels, targets = load_digits(return_X_y=True)
    images, labels = enlarge(pixels.reshape(-1, 8, 8)), targets.astype(np.int64)
    rest, test = np.split(np.arange(len(labels)), [settings.test_start])
    size, seed = settings.calibration_size, settings.seed
    train, calibration = train_test_split(
        rest, test_size=size, stratify=labels[rest], random_state=seed
    )
    return Splits(*(Split(images[part], labels[part]) for part in (train, calibration, test)))


class HardSwish(nn.Module):  # type: ignore[misc, unused-ignore]
    """x * relu6(x + 3) / 6, so spelled in the exported graph: Add, Clip, Mul, Div.

    Training runs the same function as torch's one fused kernel, which nearly halves its time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 of any shape to the same shape."""
        if self.training:
            return F.hardswish(x)
        return x * F.relu6(x + 3) / 6


@dataclass(frozen=True)
class Convolution:
    """One row of the network: a square convolution, its BatchNorm and perhaps hard-swish."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    depthwise: bool = False
    linear: bool = False

    def build(self) -> nn.Sequential:
        """Build the layers, `conv`, `norm` and unless linear `act`."""
        pad, groups = self.kernel // 2, self.inputs if self.depthwise else 1
        shape = (self.inputs, self.outputs, self.kernel, self.stride, pad)
        conv = nn.Conv2d(*shape, groups=groups, bias=False)
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        layers["norm"] = nn.BatchNorm2d(self.outputs)
        if not self.linear:
            layers["act"] = HardSwish()
        return nn.Sequential(layers)


class Block(NamedTuple):
    """An inverted residual block: widen, filter, narrow; `fused` widens and filters at once."""

    kind: Literal["fused", "depthwise"]
    width: int
    outputs: int
    stride: int = 1


_STEM_CHANNELS: Final = 32
_HEAD_CHANNELS: Final = 256
_BLOCKS: Final = (
    Block("fused", 128, 64),  # 32x32
    Block("fused", 192, 64),
    Block("fused", 192, 64),
    Block("fused", 256, 64, stride=2),  # 16x16
    Block("fused", 256, 64),
    Block("depthwise", 256, 64),
    Block("depthwise", 256, 64),
    Block("depthwise", 384, 96, stride=2),  # 8x8
    Block("depthwise", 384, 96),
)


class InvertedResidual(nn.Module):  # type: ignore[misc, unused-ignore]
    """One `Block`, with the shortcut added where input and output have one shape."""

    def __init__(self, inputs: int, block: Block) -> None:
        super().__init__()
        kind, width, outputs, stride = block
        if kind == "fused":
            rows = OrderedDict(expand=Convolution(inputs, width, 3, stride))
        else:
            rows = OrderedDict(expand=Convolution(inputs, width, 1))
            rows["filter"] = Convolution(width, width, 3, stride, depthwise=True)
        rows["project"] = Convolution(width, outputs, 1, linear=True)
        self.layers = nn.Sequential(OrderedDict((k, row.build()) for k, row in rows.items()))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


def build_network() -> nn.Sequential:
    """Build the network with fresh weights: float32 [N, 1, 32, 32] -> logits [N, 10]."""
    inputs = [_STEM_CHANNELS, *(block.outputs for block in _BLOCKS)]
    blocks = [InvertedResidual(i, block) for i, block in zip(inputs, _BLOCKS, strict=False)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"] = Convolution(1, _STEM_CHANNELS, 3).build()
    layers["blocks"] = nn.Sequential(*blocks)
    layers["head"] = Convolution(inputs[-1], _HEAD_CHANNELS, 1).build()
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(_HEAD_CHANNELS, _CLASSES)
    return nn.Sequential(layers)


def augment(images: Tensor) -> Tensor:
    """Turn by up to 12 degrees, scale by up to 10 %, shift by up to 3 pixels, at random."""
    turn, scale, right, down = (torch.rand(len(images)) * 2 - 1 for _ in range(4))
    angle, factor = turn * math.radians(12), 1 + 0.1 * scale
    cos, sin, pixel = factor * angle.cos(), factor * angle.sin(), 2 / _SIDE
    rows = [cos, -sin, right * 3 * pixel, sin, cos, down * 3 * pixel]
    grid = F.affine_grid(
        torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, align_corners=False)


def train(split: Split, settings: Settings) -> nn.Sequential:
    """Fit a fresh network with AdamW under a one-cycle schedule; return it in inference mode."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    network = build_network()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.parameters() if p.ndim > 1]},
        {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    steps = len(labels) // settings.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.peak_learning_rate, total_steps=settings.epochs * steps
    )
    for epoch in range(settings.epochs):
        order = torch.randperm(len(labels))[: steps * settings.batch].view(steps, -1)
        total = 0.0
        for batch in order:
            logits = network(augment(images[batch]))
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=settings.label_smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            optimizer.step()
            schedule.step()
            total += loss.item()
        _LOG.info("epoch %d of %d: loss %.4f", epoch + 1, settings.epochs, total / steps)
    return network.eval()


def export(network: nn.Sequential, path: Path) -> None:
    """Write the network, BatchNorm unfused, as ONNX opset 17 with a dynamic batch size `N`.

    torch's TorchScript exporter is used because it keeps BatchNormalization nodes on request.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated and warns of PRESERVE
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, _SIDE, _SIDE),),
            path,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_axes={_INPUT: {0: "N"}, _OUTPUT: {0: "N"}},
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
    model = onnx.load(path)
    model.graph.name = "digits"
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def torch_accuracy(network: nn.Sequential, split: Split) -> float:
    """Share of samples that torch labels correctly, 0..1."""
    with torch.inference_mode():
        found = network(torch.from_numpy(split.images)).argmax(1).numpy()
    return float((found == split.labels).mean())


def onnx_accuracy(path: Path, split: Split) -> float:
    """Share of samples that ONNX Runtime labels correctly, one at a time, 0..1."""
    with open_session(path) as session:
        found = [session.run({_INPUT: x[None]})[_OUTPUT].argmax() for x in split.images]
    return float((np.asarray(found) == split.labels).mean())


def main() -> None:
    """Train, export, write the data files and report accuracies."""
    parser = argparse.ArgumentParser(description="Train the embedded digits model.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    arguments = parser.parse_args()
    out, settings = Path(arguments.out), Settings(epochs=arguments.epochs)
    out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    splits = load_splits(settings)
    network = train(splits.train, settings)
    export(network, out / "digits.onnx")
    for name in ("calibration", "test"):
        split: Split = getattr(splits, name)
        np.savez_compressed(out / f"{name}.npz", image=split.images, labels=split.labels)
        expected, got = torch_accuracy(network, split), onnx_accuracy(out / "digits.onnx", split)
        _LOG.info("%s: accuracy %.4f of n=%d (torch %.4f)", name, got, len(split.labels), expected)


if __name__ == "__main__":
    main()
