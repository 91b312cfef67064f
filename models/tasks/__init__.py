"""The tasks by name."""

from __future__ import annotations

from onnxopt.errors import UsageError
from onnxopt_models.tasks import (
    captcha,
    chars2vec,
    ddddocr,
    ddddocr_int8,
    digits,
    effnet_lite0,
    magika,
    minilm_l3,
    mlp,
    orientation,
    pp_ocr_cls,
    pp_ocr_det,
    pp_ocr_rec,
    recommender,
    silero_vad,
)
from onnxopt_models.tasks.task import SPLITS, Request, Split, Task

__all__ = ["SPLITS", "TASKS", "Request", "Split", "Task", "find_task"]

TASKS: tuple[Task, ...] = (
    pp_ocr_rec.TASK,
    pp_ocr_det.TASK,
    pp_ocr_cls.TASK,
    orientation.TASK,
    ddddocr.TASK,
    ddddocr_int8.TASK,
    captcha.TASK,
    minilm_l3.TASK,
    magika.TASK,
    chars2vec.TASK,
    digits.TASK,
    effnet_lite0.TASK,
    recommender.TASK,
    mlp.TASK,
    silero_vad.TASK,
)


def find_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        UsageError: There is none; the message lists those there are.
    """
    for task in TASKS:
        if task.name == name:
            return task
    known = ", ".join(task.name for task in TASKS)
    raise UsageError(f"there is no task called {name!r}", wanted=f"one of {known}")
