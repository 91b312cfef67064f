"""Rendering lines of text as a camera or scanner might have seen them. Pillow lives here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxopt_models.fetch import fetch_all

if TYPE_CHECKING:
    from PIL import Image, ImageFont

Pixels = npt.NDArray[np.uint8]
"""An RGB picture, [height, width, 3]."""

FONTS = ("font-lato", "font-caladea")


@dataclass(frozen=True)
class Look:
    """How a line is drawn and degraded; ``draw_look`` chooses one at random.

    Attributes:
        font: Position among the font files.
        size: Of the font, in pixels per em.
        ink: Grey levels of the text's three channels.
        paper: Grey levels of the background's three channels.
        slant: Shear, as horizontal over vertical; positive leans right.
        turn: Rotation in degrees, counter-clockwise.
        shrink: Factor to which the picture is reduced before it is used, at most 1.
        blur: Radius of a Gaussian blur in pixels, after shrinking.
        noise: Standard deviation of additive Gaussian noise in grey levels.
        margin: Space around the ink in em.
    """

    font: int
    size: int
    ink: tuple[int, int, int]
    paper: tuple[int, int, int]
    slant: float
    turn: float
    shrink: float
    blur: float
    noise: float
    margin: float


def draw_look(rng: np.random.Generator, fonts: int) -> Look:
    """Choose a look: mostly good scans, some of them bad enough to be misread."""
    dark, light = rng.integers(0, 100), rng.integers(160, 256)
    tint = rng.integers(-25, 26, (2, 3))
    ink, paper = np.clip(np.array([[dark], [light]]) + tint, 0, 255).tolist()
    if rng.random() < 0.15:
        ink, paper = paper, ink
    bad = rng.random() < 0.4
    return Look(
        font=int(rng.integers(fonts)),
        size=int(rng.integers(24, 49)),
        ink=tuple(ink),
        paper=tuple(paper),
        slant=float(rng.normal(0, 0.12)),
        turn=float(rng.normal(0, 0.8)),
        shrink=float(rng.uniform(0.37, 0.6) if bad else rng.uniform(0.6, 1.0)),
        blur=float(rng.uniform(0.3, 0.8) if bad else rng.uniform(0.0, 0.6)),
        noise=float(rng.gamma(2.0, 7.0 if bad else 3.0)),
        margin=float(rng.uniform(0.05, 0.3)),
    )


@dataclass(frozen=True)
class LineRenderer:
    """Draws single lines of text in the fonts of the catalog.

    Attributes:
        font_files: The font files to choose from.
    """

    font_files: tuple[Path, ...]

    @classmethod
    def fetched(cls, cache_dir: Path) -> LineRenderer:
        """A renderer with the pinned fonts, fetched where they are not cached."""
        return cls(tuple(path for name in FONTS for path in fetch_all(name, cache_dir)))

    def line(self, text: str, look: Look, rng: np.random.Generator) -> Pixels:
        """Draw ``text``; equal arguments and generator states give equal pixels."""
        from PIL import Image, ImageFilter

        mask = _tilt(self._mask(text, look), look)
        width = max(2, round(mask.width * look.shrink))
        height = max(2, round(mask.height * look.shrink))
        mask = mask.resize((width, height), Image.Resampling.BOX)
        mask = mask.filter(ImageFilter.GaussianBlur(look.blur))
        cover = np.asarray(mask, np.float32)[..., None] / 255
        ink, paper = np.array(look.ink, np.float32), np.array(look.paper, np.float32)
        return with_noise(paper + (ink - paper) * cover, look.noise, rng)

    def _mask(self, text: str, look: Look) -> Image.Image:
        """The ink's coverage, 0 to 255, with a margin around it."""
        from PIL import Image, ImageDraw

        font = self._font(look)
        left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
        margin = math.ceil(look.margin * look.size)
        size = (right - left + 2 * margin, bottom - top + 2 * margin)
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).text((margin - left, margin - top), text, fill=255, font=font)
        return mask

    def _font(self, look: Look) -> ImageFont.FreeTypeFont:
        """The look's font with Pillow's own layout, whatever else is installed."""
        from PIL import ImageFont

        file = self.font_files[look.font]
        return ImageFont.truetype(file, look.size, layout_engine=ImageFont.Layout.BASIC)


def _tilt(mask: Image.Image, look: Look) -> Image.Image:
    """Slant and turn about the middle, on a canvas that holds the whole result."""
    from PIL import Image

    lean = abs(look.slant) * mask.height
    angle = math.radians(look.turn)
    wide, high = mask.width + lean, float(mask.height)
    width = math.ceil(wide * math.cos(angle) + high * abs(math.sin(angle)))
    height = math.ceil(high * math.cos(angle) + wide * abs(math.sin(angle)))
    return mask.transform(
        (width, height),
        Image.Transform.AFFINE,
        _inverse(look, mask.size, (width, height)),
        resample=Image.Resampling.BICUBIC,
    )


def _inverse(look: Look, source: tuple[int, int], target: tuple[int, int]) -> tuple[float, ...]:
    """Pillow's six numbers: where in the source each target pixel comes from."""
    angle = math.radians(look.turn)
    shear = np.array([[1.0, -look.slant], [0.0, 1.0]])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    back = np.linalg.inv(turn @ shear)
    shift = np.array(source) / 2 - back @ (np.array(target) / 2)
    return (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])


def with_noise(
    picture: npt.NDArray[np.generic], deviation: float, rng: np.random.Generator
) -> Pixels:
    """The picture with Gaussian noise of this standard deviation, in grey levels."""
    noise = deviation * rng.standard_normal(picture.shape, np.float32)
    return np.clip(np.rint(picture.astype(np.float32) + noise), 0, 255).astype(np.uint8)


def resized(picture: Pixels, width: int, height: int) -> Pixels:
    """The picture at another size, bilinear."""
    from PIL import Image

    image = Image.fromarray(picture)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def bgr_planes(
    picture: Pixels, mean: tuple[float, ...], std: tuple[float, ...]
) -> npt.NDArray[np.float32]:
    """The picture as [1, 3, height, width] with BGR planes: (x/255 - mean)/std by plane."""
    scaled = picture[..., ::-1].astype(np.float32) / np.float32(255)
    planes = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(planes.transpose(2, 0, 1)[None])
