"""What happens to a picture before it is an input: a preset, or a small TOML file."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from onnxopt.errors import UsageError

FILE = "preprocess.toml"

_Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
_Channels = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]


class Preprocess(BaseModel):
    """The steps, in this order: fit, channel order, ``(pixel·scale − mean) / std``, layout, dtype.

    Attributes:
        fit: ``crop`` resizes until the picture covers ``size / crop_fraction`` and takes the
            middle; ``letterbox`` resizes until it fits inside ``size`` and centres it on ``fill``;
            ``stretch`` ignores the aspect; ``height`` resizes to the height and keeps the
            aspect; ``none`` keeps the picture as it is.
        size: Height and width of the input; None takes what the model declares.
        crop_fraction: Share of the shorter side that ``crop`` keeps.
        interpolation: Pillow's filter of that name, which averages when it makes smaller.
        fill: Grey value around a letterboxed picture.
        channels: What the channels are; None is gray for one channel and rgb for three.
        scale: Factor for pixels of 0 to 255.
        mean: Taken off after scaling, one number or one a channel.
        std: Divided by after that, one number or one a channel.
        layout: Where the channels stand; None takes what the model declares.
        input: The input that gets the picture; None where only one can.
        constants: Values for the other inputs, the same for every sample.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fit: Literal["crop", "letterbox", "stretch", "height", "none"]
    size: _Size | None = None
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    fill: Annotated[int, Field(ge=0, le=255)] = 114
    channels: Literal["rgb", "bgr", "gray", "rgba"] | None = None
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    mean: _Channels = (0.0,)
    std: _Channels = (1.0,)
    layout: Literal["nchw", "nhwc"] | None = None
    input: str | None = None
    constants: dict[str, Any] = {}

    @model_validator(mode="after")
    def _std_divides(self) -> Self:
        if not all(self.std) or not self.std or not self.mean:
            raise ValueError("std must not be zero, and neither it nor mean be empty")
        return self


_PIXEL = 1 / 255
PRESETS = MappingProxyType(
    {
        "imagenet": Preprocess(
            fit="crop",
            crop_fraction=0.875,
            scale=_PIXEL,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        "imagenet-pm1": Preprocess(
            fit="crop", crop_fraction=0.875, scale=_PIXEL, mean=(0.5,), std=(0.5,)
        ),
        "yolo": Preprocess(fit="letterbox", scale=_PIXEL),
    }
)
DEFAULT_SIZES = MappingProxyType({"crop": (224, 224), "letterbox": (640, 640)})
"""What a fit takes where neither the file nor the model says a size."""


def find_preprocess(asked: str | None, folder: Path) -> Preprocess:
    """The preset or file asked for, else the folder's own file.

    Raises:
        UsageError: There is none, or it says something unknown.
    """
    if asked is None:
        path = folder / FILE
        if not path.is_file():
            raise UsageError(
                f"folder {folder} does not say how its images become inputs",
                f"a {FILE} in it, or --preprocess with a TOML file or one of {', '.join(PRESETS)}",
            )
        return read_preprocess(path)
    if asked in PRESETS:
        return PRESETS[asked]
    if not asked.endswith(".toml"):
        raise UsageError(
            f"unknown preprocessing {asked!r}", f"a .toml file or one of {', '.join(PRESETS)}"
        )
    return read_preprocess(Path(asked))


def read_preprocess(path: Path) -> Preprocess:
    """Read a TOML file of the fields; ``preset`` names one to start from.

    Raises:
        UsageError: The file is missing, no TOML, or says something unknown.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML ({error})") from error
    preset = data.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"{path}: unknown preset {preset!r}", f"one of {', '.join(PRESETS)}")
    if preset is not None:
        data = PRESETS[preset].model_dump() | data
    for name in ("mean", "std"):
        if isinstance(data.get(name), int | float):
            data[name] = [data[name]]
    try:
        return Preprocess.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        known = ", ".join(["preset", *Preprocess.model_fields])
        wanted = f"one of {known}" if first["type"] == "extra_forbidden" else ""
        raise UsageError(f"{path}: {where}: {first['msg']}", wanted) from error


def covering(width: int, height: int, size: tuple[int, int], fraction: float) -> tuple[int, int]:
    """Width and height, aspect kept, that cover ``size / fraction`` (size is height, width).

    The side that decides is exactly ``floor(side / fraction)``, the other is cut to an integer,
    as torchvision's ``Resize`` does.
    """
    rows, columns = (math.floor(side / fraction) for side in size)
    if rows * width >= columns * height:
        return max(rows * width // height, columns), rows
    return columns, max(columns * height // width, rows)


def inside(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height, aspect kept, that fit inside ``size``; rounded, at least 1."""
    ratio = min(size[0] / height, size[1] / width)
    return max(round(width * ratio), 1), max(round(height * ratio), 1)
