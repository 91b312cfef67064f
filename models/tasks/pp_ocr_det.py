"""The task pp-ocr-det: pages of rendered lines to feed the text detector; no labels yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxopt.progress import Progress
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.render import LineRenderer, Pixels, bgr_planes, draw_look, with_noise
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe, source_words

MODEL = "pp-ocr-det"
REVISION = 1
SIDE = 640
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def page(words: tuple[str, ...], renderer: LineRenderer, rng: np.random.Generator) -> Pixels:
    """A square page: lines of one to five words below each other, all in one font and colour."""
    look = draw_look(rng, len(renderer.font_files))
    clean = dataclasses.replace(look, noise=0.0)
    sheet = np.empty((SIDE, SIDE, 3), np.uint8)
    sheet[:] = look.paper
    top = int(rng.integers(8, 40))
    while True:
        text = " ".join(rng.choice(words, int(rng.integers(1, 6))))
        line = renderer.line(text, clean, rng)[:, : SIDE - 16]
        left = int(rng.integers(8, SIDE - line.shape[1] - 7))
        if top + line.shape[0] > SIDE:
            return with_noise(sheet, look.noise, rng)
        sheet[top : top + line.shape[0], left : left + line.shape[1]] = line
        top += line.shape[0] + int(rng.integers(2, 30))


def samples(words: tuple[str, ...], renderer: LineRenderer, request: Request) -> Iterator[Arrays]:
    """Render the requested pages as the model takes them: BGR, ImageNet's mean and deviation."""
    for index in range(request.samples):
        rng = np.random.default_rng([request.seed, 3, index])
        yield {"x": bgr_planes(page(words, renderer, rng), MEAN, STD)}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    description = describe(MODEL, REVISION, request)
    words = source_words(cache_dir, request.split)
    made = samples(words, LineRenderer.fetched(cache_dir), request)
    return build_folder(cache_dir, description, made, progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="",
    description="pages of rendered lines, 640 x 640; feeds without labels",
    builder=build,
    requires=(("PIL", "images"),),
)
