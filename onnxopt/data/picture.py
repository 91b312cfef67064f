"""One picture file as one array. Pillow has its home here."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxopt.data.preprocess import Preprocess, covering, inside
from onnxopt.errors import BackendMissingError, DataError, LimitError

if TYPE_CHECKING:
    from PIL import Image

_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError)
_MAX_PIXELS = 1 << 26
_PER_BYTE = 257
_MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L", "rgba": "RGBA"}
_COUNTS = {1: "gray", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True)
class PictureInput:
    """An input that takes one picture.

    Attributes:
        steps: The preprocessing.
        dtype: numpy's name of the input's type.
        size: Height and width; None keeps each picture's own.
        channels: Number of channels.
        channels_last: Whether the layout is NHWC.
    """

    steps: Preprocess
    dtype: str
    size: tuple[int, int] | None
    channels: int
    channels_last: bool

    @property
    def order(self) -> str:
        """What the channels are."""
        return self.steps.channels or _COUNTS[self.channels]

    def read(self, path: Path) -> npt.NDArray[Any]:
        """The file's picture as the model takes it, with a batch axis of 1.

        Raises:
            DataError: The file is damaged or no picture.
            LimitError: It has too many pixels.
            BackendMissingError: Pillow is not installed.
        """
        decoded = decode(path, _MODES[self.order])
        try:
            pixels = np.asarray(self._fit(decoded))
        except LimitError as error:
            raise LimitError(f"{path}: {error.found}", error.wanted) from error
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if self.order == "bgr":
            pixels = pixels[:, :, ::-1]
        values = self._scaled(pixels)
        return np.ascontiguousarray(values if self.channels_last else values.transpose(2, 0, 1))[
            None
        ]

    def _scaled(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """``(pixel·scale − mean) / std`` in float32; integers are rounded to even and clipped."""
        steps, dtype = self.steps, np.dtype(self.dtype)
        values: npt.NDArray[Any] = pixels.astype(np.float32) * np.float32(steps.scale)
        values = (values - np.asarray(steps.mean, np.float32)) / np.asarray(steps.std, np.float32)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        made: npt.NDArray[Any] = values.astype(dtype)
        return made

    def _fit(self, image: Image.Image) -> Image.Image:
        if self.size is None or self.steps.fit == "none":
            return image
        height, width = self.size
        if self.steps.fit == "stretch":
            return self._resize(image, (width, height))
        if self.steps.fit == "height":
            own = round(image.width * height / image.height)
            return self._resize(image, (max(own, 1), height))
        if self.steps.fit == "crop":
            wide = covering(*image.size, self.size, self.steps.crop_fraction)
            image = self._resize(image, wide)
            left, top = round((wide[0] - width) / 2), round((wide[1] - height) / 2)
            return image.crop((left, top, left + width, top + height))
        narrow = inside(*image.size, self.size)
        filled = _canvas(image.mode, (width, height), self.steps.fill)
        corner = ((width - narrow[0]) // 2, (height - narrow[1]) // 2)
        filled.paste(self._resize(image, narrow), corner)
        return filled

    def _resize(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        if size[0] * size[1] > _MAX_PIXELS:
            raise LimitError(
                f"an image of {image.width}x{image.height} would become {size[0]}x{size[1]}",
                f"at most {_MAX_PIXELS} pixels",
            )
        filters = _pillow().Resampling
        return image.resize(size, filters[self.steps.interpolation.upper()])


def decode(path: Path, mode: str) -> Image.Image:
    """Read a picture, turned upright by its EXIF orientation, in 8 bits a channel.

    Transparency is dropped, not blended; 16 bits are divided down to 8.

    Raises:
        DataError: The file is damaged or no picture.
        LimitError: It has more pixels than Pillow thinks safe.
        BackendMissingError: Pillow is not installed.
    """
    image_module = _pillow()
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(path) as opened:
                return _in_mode(ImageOps.exif_transpose(opened), mode, path)
    except (image_module.DecompressionBombError, image_module.DecompressionBombWarning) as error:
        raise LimitError(f"image {path}: {error}", todo="make it smaller") from error
    except FileNotFoundError as error:
        raise DataError(f"no file {path}") from error
    except _DAMAGED as error:
        reason = str(error).replace(repr(str(path)), "it")
        raise DataError(f"{path} cannot be read as an image ({reason})") from error


def _in_mode(image: Image.Image, mode: str, path: Path) -> Image.Image:
    if image.mode == "F":
        raise DataError(f"image {path} holds floats", "8 or 16 bits a channel")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        if wide.size and (wide.min() < 0 or wide.max() > np.iinfo(np.uint16).max):
            raise DataError(f"image {path} holds values beyond 16 bits")
        image = _pillow().fromarray((wide // _PER_BYTE).astype(np.uint8))
    if image.mode == "P" and mode != "RGBA":
        image = image.convert("RGB")
    return image.convert(mode)


def _canvas(mode: str, size: tuple[int, int], fill: int) -> Image.Image:
    colour = {"L": fill, "RGB": (fill,) * 3, "RGBA": (fill,) * 3 + (255,)}[mode]
    made: Image.Image = _pillow().new(mode, size, colour)
    return made


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise BackendMissingError(
            "images need Pillow", todo="pip install 'onnxopt[images]'"
        ) from error
    return Image
