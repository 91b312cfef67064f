"""The task pp-ocr-cls: whether a rendered line stands upright or on its head."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from onnxopt_models.tasks.folder import Arrays
from onnxopt_models.tasks.render import LineRenderer, Pixels, bgr_planes, draw_look, resized
from onnxopt_models.tasks.rendered import rendered, turned
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import deal

MODEL = "pp-ocr-cls"
REVISION = 1
HEIGHT, WIDTH = 48, 192
TURNS = (0, 2)


def feed(picture: Pixels) -> Arrays:
    """The model's input as RapidOCR makes it: 48 x 192, BGR, (x/255 - .5)/.5, zeros to the right.

    Lines that are too wide are squeezed.
    """
    width = min(WIDTH, math.ceil(HEIGHT * picture.shape[1] / picture.shape[0]))
    planes = bgr_planes(resized(picture, width, HEIGHT), (0.5,) * 3, (0.5,) * 3)
    return {"x": np.pad(planes, ((0, 0), (0, 0), (0, 0), (0, WIDTH - width)))}


def samples(words: tuple[str, ...], renderer: LineRenderer, request: Request) -> Iterator[Arrays]:
    """Render the requested lines, half of them turned by 180 degrees; class 1 is turned."""

    def lines() -> Iterator[tuple[Pixels, np.random.Generator]]:
        for index, (word,) in enumerate(deal(words, request, at_most=1)):
            rng = np.random.default_rng([request.seed, 6, index])
            look = draw_look(rng, len(renderer.font_files))
            yield renderer.line(word, look, rng), rng

    return turned(lines(), TURNS, feed)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="top1",
    description="single English words in two font families, half of them upside down",
    builder=rendered(MODEL, REVISION, samples, ("top1",)),
    requires=(("PIL", "images"),),
)
