"""The task ddddocr: read a generated captcha of four letters or digits, whatever the case."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxopt.errors import ModelError
from onnxopt_models.fetch import fetch_all
from onnxopt_models.tasks.captcha_pictures import CaptchaRenderer
from onnxopt_models.tasks.captcha_task import captcha_task, drawn, read_whole
from onnxopt_models.tasks.folder import Arrays
from onnxopt_models.tasks.render import Pixels
from onnxopt_models.tasks.task import Request

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
    return drawn(CaptchaRenderer(degrees=DEGREES, gaps=False), feed, request)


def read_charset(source: Path, name: str = CHARSET) -> tuple[str, ...]:
    """What each class stands for, from the literal list in ddddocr's ``charsets.py``; not run.

    Raises:
        ModelError: The file holds no such list.
    """
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return tuple(map(str, ast.literal_eval(node.value)))
    raise ModelError(f"{source} holds no {name}")


@functools.cache
def characters() -> tuple[str, ...]:
    """The charset of the catalog's model, which is fetched where it is not cached."""
    return read_charset(fetch_all(MODEL)[1])


exact = read_whole(EXACT, characters, blank=0, same=str.upper)
"""Share of captchas read without a fault. ``--metric onnxopt_models.tasks.ddddocr:exact``."""

TASK = captcha_task(
    MODEL,
    REVISION,
    samples,
    exact,
    "generated captchas of four capitals or digits, slightly turned; case is free",
)
