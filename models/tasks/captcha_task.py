"""What the tasks share that read generated captchas of four capitals or digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from onnxopt.metrics import Metric, Outputs
from onnxopt.metrics.cer import ctc_greedy
from onnxopt.progress import Progress
from onnxopt_models.tasks.captcha_pictures import CaptchaRenderer, captchas
from onnxopt_models.tasks.ctc import Charset, label_text, only_scores
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.render import Pixels
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Without 0, 1, I and O."""
LENGTHS = range(4, 5)


def captcha_task(
    name: str,
    revision: int,
    draw: Callable[[Request], Iterator[Arrays]],
    metric: Metric,
    description: str,
) -> Task:
    """A task of this kind.

    Args:
        name: Its name, which is also its model's.
        revision: Of its code: another one, other bytes.
        draw: Draws the requested samples.
        metric: What judges the model.
        description: What the samples are, in a line.
    """

    def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
        described = describe(
            name,
            revision,
            request,
            metrics=(metric.name,),
            sources=(),
            packages=("captcha", "pillow", "numpy"),
        )
        return build_folder(cache_dir, described, draw(request), progress)

    return Task(
        name=name,
        model=name,
        metric=metric.name,
        description=description,
        builder=build,
        requires=(("captcha", "zoo"), ("PIL", "images")),
    )


def drawn(
    renderer: CaptchaRenderer, feed: Callable[[Pixels], Arrays], request: Request
) -> Iterator[Arrays]:
    """The requested captchas as ``feed`` makes a model's input of them, with their text."""
    for text, picture in captchas(renderer, ALPHABET, LENGTHS, request):
        yield {**feed(picture), "labels": np.array([text])}


def read_whole(
    name: str, characters: Charset, *, blank: int, same: Callable[[str], str] = str
) -> Metric:
    """1 where a captcha is read without a fault, else 0.

    Args:
        name: What the metric is called.
        characters: What each class stands for; the blank's entry is not looked at.
        blank: Class of the blank; negative counts from the last.
        same: Makes equal what counts as equal, before the text is compared with the label.
    """

    def score(outputs: Outputs, label: object) -> float:
        classes = characters()
        steps = only_scores(outputs, len(classes))
        text = "".join(classes[index] for index in ctc_greedy(steps, blank=blank))
        return float(same(text) == label_text(label))

    return Metric(name, score, span=1)
