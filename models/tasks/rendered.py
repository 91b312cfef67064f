"""What tasks share whose samples are drawn from the pinned words in the pinned fonts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from onnxopt.progress import Progress
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.render import LineRenderer, Pixels
from onnxopt_models.tasks.task import Builder, Request
from onnxopt_models.tasks.text_sources import describe, source_words

Draw = Callable[[tuple[str, ...], LineRenderer, Request], Iterator[Arrays]]
"""Draws the requested samples from the words of the asked part."""


def rendered(task: str, revision: int, draw: Draw, metrics: tuple[str, ...]) -> Builder:
    """The builder of a task.

    Args:
        task: Its name, which is also its model's.
        revision: Of its code: another one, other bytes.
        draw: Draws its samples.
        metrics: What may judge them.
    """

    def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
        description = describe(task, revision, request, metrics=metrics)
        words = source_words(cache_dir, request.split)
        made = draw(words, LineRenderer.fetched(cache_dir), request)
        return build_folder(cache_dir, description, made, progress)

    return build


def turned(
    pictures: Iterable[tuple[Pixels, np.random.Generator]],
    turns: Sequence[int],
    feed: Callable[[Pixels], Arrays],
) -> Iterator[Arrays]:
    """Each picture turned by one of some angles; which one is the label.

    Args:
        pictures: Each with the generator that draws its angle.
        turns: The angles, in counter-clockwise quarters.
        feed: Makes a model's input of a picture.
    """
    for picture, rng in pictures:
        label = int(rng.integers(len(turns)))
        sample = feed(np.ascontiguousarray(np.rot90(picture, turns[label])))
        yield {**sample, "labels": np.array(label)}
