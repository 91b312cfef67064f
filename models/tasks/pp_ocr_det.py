"""The task pp-ocr-det: find the lines on rendered pages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxopt.metrics.boxes import hmean_of
from onnxopt_models.tasks.folder import Arrays
from onnxopt_models.tasks.pages import draw_page
from onnxopt_models.tasks.render import LineRenderer, bgr_planes
from onnxopt_models.tasks.rendered import rendered
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_boxes import find_boxes

MODEL = "pp-ocr-det"
REVISION = 2
SIDE = 640
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
HMEAN = f"{__name__}:hmean"


def samples(words: tuple[str, ...], renderer: LineRenderer, request: Request) -> Iterator[Arrays]:
    """Render the requested pages as the model takes them: BGR, ImageNet's mean and deviation.

    A sample is a page; the metric counts its lines, about 13.
    """
    for index in range(request.samples):
        rng = np.random.default_rng([request.seed, 3, index])
        page = draw_page(words, renderer, rng, SIDE)
        yield {"x": bgr_planes(page.pixels, MEAN, STD), "labels": page.boxes}


hmean = hmean_of(HMEAN, find_boxes)
"""Harmonic mean of precision and recall at IoU .5.
``--metric onnxopt_models.tasks.pp_ocr_det:hmean``."""

TASK = Task(
    name=MODEL,
    model=MODEL,
    metric=HMEAN,
    description="pages of about 13 rendered lines, 640 x 640, with the box of each line",
    builder=rendered(MODEL, REVISION, samples, (HMEAN,)),
    requires=(("PIL", "images"),),
)
