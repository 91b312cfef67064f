"""The task captcha: read a generated captcha of four letters or digits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxopt.metrics import Metric, Outputs
from onnxopt.metrics.cer import ctc_greedy
from onnxopt.progress import Progress
from onnxopt_models.tasks.captcha_pictures import CaptchaRenderer, captchas
from onnxopt_models.tasks.ctc import label_text, only_scores
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe

MODEL = "captcha"
REVISION = 1
EXACT = f"{__name__}:exact"
CLASSES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALPHABET = "".join(character for character in CLASSES if character not in "01IO")
LENGTHS = range(4, 5)


def samples(request: Request) -> Iterator[Arrays]:
    """Draw the requested captchas as the model takes them: BGR, 0 to 255."""
    for text, picture in captchas(CaptchaRenderer(), ALPHABET, LENGTHS, request):
        planes = picture[None, ..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        yield {"image": np.ascontiguousarray(planes), "labels": np.array([text])}


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


def _is_read(outputs: Outputs, label: object) -> float:
    steps = only_scores(outputs, len(CLASSES) + 1)
    text = "".join(CLASSES[index] for index in ctc_greedy(steps, blank=-1))
    return float(text == label_text(label))


exact = Metric(EXACT, _is_read, span=1)
"""Share of captchas read without a fault. ``--metric onnxopt_models.tasks.captcha:exact``."""

TASK = Task(
    name=MODEL,
    model=MODEL,
    metric=EXACT,
    description="generated captchas of four capitals or digits, without 0, 1, I and O",
    builder=build,
    requires=(("captcha", "zoo"), ("PIL", "images")),
)
