"""The task captcha: read a generated captcha of four letters or digits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxopt_models.tasks.captcha_pictures import CaptchaRenderer
from onnxopt_models.tasks.captcha_task import captcha_task, drawn, read_whole
from onnxopt_models.tasks.folder import Arrays
from onnxopt_models.tasks.render import Pixels
from onnxopt_models.tasks.task import Request

MODEL = "captcha"
REVISION = 1
EXACT = f"{__name__}:exact"
CLASSES = (*"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")
"""The blank is the last."""


def feed(picture: Pixels) -> Arrays:
    """The model's input: BGR, 0 to 255."""
    planes = picture[None, ..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    return {"image": np.ascontiguousarray(planes)}


def samples(request: Request) -> Iterator[Arrays]:
    """Draw the requested captchas."""
    return drawn(CaptchaRenderer(), feed, request)


exact = read_whole(EXACT, lambda: CLASSES, blank=-1)
"""Share of captchas read without a fault. ``--metric onnxopt_models.tasks.captcha:exact``."""

TASK = captcha_task(
    MODEL,
    REVISION,
    samples,
    exact,
    "generated captchas of four capitals or digits, without 0, 1, I and O",
)
