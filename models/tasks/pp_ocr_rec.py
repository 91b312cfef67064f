"""The task pp-ocr-rec: read one rendered line of one or two words."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np

from onnxopt_models.fetch import fetch
from onnxopt_models.tasks.ctc import character_error_rate, charset, exact_match
from onnxopt_models.tasks.folder import Arrays
from onnxopt_models.tasks.render import (
    LineRenderer,
    Pixels,
    bgr_planes,
    draw_look,
    resized,
)
from onnxopt_models.tasks.rendered import rendered
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import deal

MODEL = "pp-ocr-rec"
REVISION = 1
HEIGHT = 48
LEAST_WIDTH = 320
CER = f"{__name__}:cer"
EXACT = f"{__name__}:exact"


def feed(picture: Pixels) -> Arrays:
    """The model's input for a picture of one line, as RapidOCR feeds a line alone.

    Height 48, the aspect ratio kept, BGR, (x/255 - .5)/.5, zeros to the right up to a width of
    320; wider lines are as wide as they are.
    """
    width = math.ceil(HEIGHT * picture.shape[1] / picture.shape[0])
    planes = bgr_planes(resized(picture, width, HEIGHT), (0.5,) * 3, (0.5,) * 3)
    padding = max(0, LEAST_WIDTH - width)
    return {"x": np.pad(planes, ((0, 0), (0, 0), (0, 0), (0, padding)))}


def samples(words: tuple[str, ...], renderer: LineRenderer, request: Request) -> Iterator[Arrays]:
    """Render the requested samples; no word is in two of them."""
    for index, chosen in enumerate(deal(words, request, at_most=2)):
        rng = np.random.default_rng([request.seed, 2, index])
        text = " ".join(_written(word, rng) for word in chosen)
        look = draw_look(rng, len(renderer.font_files))
        yield {**feed(renderer.line(text, look, rng)), "labels": np.array([text])}


def _written(word: str, rng: np.random.Generator) -> str:
    """The word as text has it: cased, and now and then with a number or a mark."""
    case = rng.choice(["lower", "capital", "upper"], p=[0.6, 0.25, 0.15])
    cased = {"lower": word, "capital": word.capitalize(), "upper": word.upper()}[str(case)]
    match int(rng.integers(12)):
        case 0:
            return f"{cased}{rng.choice(list(',.:;!?'))}"
        case 1:
            return f"{cased}-{rng.integers(1, 1000)}"
        case 2:
            return f"{cased} {rng.integers(1, 100)}.{rng.integers(10)}"
    return cased


@functools.cache
def characters() -> tuple[str, ...]:
    """The charset of the catalog's model, which is fetched where it is not cached."""
    return charset(fetch(MODEL))


cer = character_error_rate(CER, characters)
"""Character error rate; lower is better. ``--metric onnxopt_models.tasks.pp_ocr_rec:cer``."""

exact = exact_match(EXACT, characters)
"""Exact match; higher is better. ``--metric onnxopt_models.tasks.pp_ocr_rec:exact``."""

TASK = Task(
    name=MODEL,
    model=MODEL,
    metric=CER,
    description="lines of one or two English words in two font families, blurred, slanted, noisy",
    builder=rendered(MODEL, REVISION, samples, (CER, EXACT)),
    requires=(("PIL", "images"),),
)
