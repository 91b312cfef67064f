"""The task ddddocr-int8: ddddocr's captchas, for the older reader with a charset of its own."""

from __future__ import annotations

import functools

from onnxopt_models.fetch import fetch_all
from onnxopt_models.tasks import ddddocr
from onnxopt_models.tasks.captcha_task import captcha_task, read_whole

MODEL = "ddddocr-int8"
EXACT = f"{__name__}:exact"
CHARSET = "CHARSET_OLD"


@functools.cache
def characters() -> tuple[str, ...]:
    """The charset of the catalog's model, which is fetched where it is not cached."""
    return ddddocr.read_charset(fetch_all(MODEL)[1], CHARSET)


exact = read_whole(EXACT, characters, blank=0, same=str.upper)
"""Share of captchas read without a fault. ``--metric onnxopt_models.tasks.ddddocr_int8:exact``."""

TASK = captcha_task(MODEL, ddddocr.REVISION, ddddocr.samples, exact, ddddocr.TASK.description)
