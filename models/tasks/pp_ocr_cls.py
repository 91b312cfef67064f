"""The task pp-ocr-cls: whether a rendered line stands upright or on its head."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxopt.progress import Progress
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.render import LineRenderer, Pixels, bgr_planes, draw_look, resized
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import deal, describe, source_words

MODEL = "pp-ocr-cls"
REVISION = 1
HEIGHT, WIDTH = 48, 192


def feed(picture: Pixels) -> Arrays:
    """The model's input as RapidOCR makes it: 48 x 192, BGR, (x/255 - .5)/.5, zeros to the right.

    Lines that are too wide are squeezed.
    """
    width = min(WIDTH, math.ceil(HEIGHT * picture.shape[1] / picture.shape[0]))
    planes = bgr_planes(resized(picture, width, HEIGHT), (0.5,) * 3, (0.5,) * 3)
    return {"x": np.pad(planes, ((0, 0), (0, 0), (0, 0), (0, WIDTH - width)))}


def samples(words: tuple[str, ...], renderer: LineRenderer, request: Request) -> Iterator[Arrays]:
    """Render the requested lines, half of them turned by 180 degrees; class 1 is turned."""
    for index, chosen in enumerate(deal(words, request, at_most=1)):
        rng = np.random.default_rng([request.seed, 6, index])
        picture = renderer.line(" ".join(chosen), draw_look(rng, len(renderer.font_files)), rng)
        label = int(rng.integers(2))
        turned = picture[::-1, ::-1] if label else picture
        yield {**feed(np.ascontiguousarray(turned)), "labels": np.array(label)}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    description = describe(MODEL, REVISION, request, metrics=("top1",))
    words = source_words(cache_dir, request.split)
    made = samples(words, LineRenderer.fetched(cache_dir), request)
    return build_folder(cache_dir, description, made, progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="top1",
    description="single English words in two font families, half of them upside down",
    builder=build,
    requires=(("PIL", "images"),),
)
