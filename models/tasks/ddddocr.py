"""The task ddddocr: read a generated captcha of four letters or digits, whatever the case."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxopt.errors import ModelError
from onnxopt.metrics import Metric, Outputs
from onnxopt.metrics.cer import ctc_greedy
from onnxopt.progress import Progress
from onnxopt_models.fetch import fetch_all
from onnxopt_models.tasks.captcha import ALPHABET, LENGTHS
from onnxopt_models.tasks.captcha_pictures import CaptchaRenderer, captchas
from onnxopt_models.tasks.ctc import label_text, only_scores
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.render import Pixels
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe

MODEL = "ddddocr"
REVISION = 1
EXACT = f"{__name__}:exact"
HEIGHT = 64
DEGREES = 10
CHARSET = "CHARSET_BETA"


def feed(picture: Pixels) -> Arrays:
    """The model's input as ddddocr makes it: height 64, Lanczos, grey, x/255."""
    from PIL import Image

    width = picture.shape[1] * HEIGHT // picture.shape[0]
    image = Image.fromarray(picture).resize((width, HEIGHT), Image.Resampling.LANCZOS)
    grey = np.asarray(image.convert("L"), np.float32) / np.float32(255)
    return {"input1": grey[None, None]}


def samples(request: Request) -> Iterator[Arrays]:
    """Draw the requested captchas, letters turned a little and without gaps between them."""
    renderer = CaptchaRenderer(degrees=DEGREES, gaps=False)
    for text, picture in captchas(renderer, ALPHABET, LENGTHS, request):
        yield {**feed(picture), "labels": np.array([text])}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    description = describe(
        MODEL,
        REVISION,
        request,
        metrics=(EXACT,),
        sources=(),
        packages=("captcha", "pillow", "numpy"),
    )
    return build_folder(cache_dir, description, samples(request), progress)


def read_charset(source: Path) -> tuple[str, ...]:
    """What each class stands for, from the literal list in ddddocr's ``charsets.py``; not run.

    Raises:
        ModelError: The file holds no such list.
    """
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == CHARSET:
            return tuple(map(str, ast.literal_eval(node.value)))
    raise ModelError(f"{source} holds no {CHARSET}")


@functools.cache
def characters() -> tuple[str, ...]:
    """The charset of the catalog's model, which is fetched where it is not cached."""
    return read_charset(fetch_all(MODEL)[1])


def _is_read(outputs: Outputs, label: object) -> float:
    classes = characters()
    steps = only_scores(outputs, len(classes))
    text = "".join(classes[index] for index in ctc_greedy(steps, blank=0))
    return float(text.upper() == label_text(label))


exact = Metric(EXACT, _is_read, span=1)
"""Share of captchas read without a fault. ``--metric onnxopt_models.tasks.ddddocr:exact``."""

TASK = Task(
    name=MODEL,
    model=MODEL,
    metric=EXACT,
    description="generated captchas of four capitals or digits, slightly turned; case is free",
    builder=build,
    requires=(("captcha", "zoo"), ("PIL", "images")),
)
