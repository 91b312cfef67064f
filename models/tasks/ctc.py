"""CTC text recognition: the charset a model carries, reading its output, and metrics for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError, ModelError
from onnxopt.metrics import Metric, Outputs
from onnxopt.metrics.cer import ctc_greedy, edit_distance

BLANK = ""
Charset = Callable[[], Sequence[str]]
"""Gives what each class stands for; called when the first sample is scored."""


def charset(model_path: Path) -> tuple[str, ...]:
    """What each class of a PP-OCR recogniser stands for: the blank (empty), then characters.

    The characters are the lines of the model's metadata entry ``character``, and a space.

    Raises:
        ModelError: The file is no model or has no such entry.
    """
    from onnxopt.store import load

    characters = load(model_path).metadata_props.get("character")
    if characters is None:
        raise ModelError(f"{model_path} has no charset", wanted="the metadata entry `character`")
    return (BLANK, *characters.split("\n"), " ")


def read_text(scores: npt.NDArray[Any], characters: Sequence[str]) -> str:
    """The best class of each step, runs merged, blanks (class 0) dropped, no spaces around it.

    PP-OCR reads the margins of a line as spaces now and then; they are no part of the text.

    Args:
        scores: [steps, classes].
        characters: What each class stands for.
    """
    return "".join(characters[index] for index in ctc_greedy(scores, blank=0)).strip(" ")


def character_error_rate(name: str, characters: Charset) -> Metric:
    """Edit distance over the label's length, at least 1; samples weigh their label's length.

    Lower is better; the mean over samples is the corpus's rate.

    Args:
        name: What the metric is called.
        characters: The charset.
    """

    def score(outputs: Outputs, label: object) -> float:
        text = label_text(label)
        return edit_distance(_read(outputs, characters()), text) / max(len(text), 1)

    return Metric(name, score, higher_is_better=False, weight=_length, span=1)


def exact_match(name: str, characters: Charset) -> Metric:
    """1 where the line is read without a fault, else 0; arguments as above."""

    def score(outputs: Outputs, label: object) -> float:
        return float(_read(outputs, characters()) == label_text(label))

    return Metric(name, score, higher_is_better=True, span=1)


def label_text(label: object) -> str:
    """The text of a label: a string, or an array of one.

    Raises:
        DataError: It is neither.
    """
    value = label.item() if isinstance(label, np.ndarray) and label.size == 1 else label
    if not isinstance(value, str):
        raise DataError(f"the label is {value!r}", wanted="one string")
    return value


def only_scores(outputs: Outputs, classes: int) -> npt.NDArray[Any]:
    """The first output's scores of a single text as [steps, classes].

    Args:
        outputs: Of the model; [steps, 1, classes] or [1, steps, classes].
        classes: How many there must be.

    Raises:
        DataError: The first output is none of these.
    """
    name, scores = next(iter(outputs.items()))
    shape = np.shape(scores)
    if len(shape) != 3 or shape[2] != classes or 1 not in shape[:2]:
        raise DataError(f"the output {name} is {list(shape)}", f"[steps, 1, {classes}]")
    return np.asarray(scores).reshape(-1, classes)


def _length(label: object) -> float:
    return max(len(label_text(label)), 1)


def _read(outputs: Outputs, characters: Sequence[str]) -> str:
    classes = len(characters)
    for scores in outputs.values():
        shape = np.shape(scores)
        if len(shape) == 3 and shape[0] == 1 and shape[2] == classes:
            return read_text(scores[0], characters)
    shapes = ", ".join(f"{name} {list(np.shape(value))}" for name, value in outputs.items())
    raise DataError(f"the outputs are {shapes}", wanted=f"one of shape [1, steps, {classes}]")
