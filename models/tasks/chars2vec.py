"""The task chars2vec: find a word by its misspellings, and each of them by the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxopt.progress import Progress
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import WORDS, deal, describe, source_words

MODEL = "chars2vec"
REVISION = 2
ALPHABET = "!\"#$%&'()*+,-./0123456789:;<=>?@_abcdefghijklmnopqrstuvwxyz"
SHORTEST = 7
TYPOS = 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def feed(words: tuple[str, ...]) -> Arrays:
    """The model's input for words of one length: [words, characters, 59], a one a character."""
    places = np.array([[ALPHABET.index(character) for character in word] for word in words])
    return {"lstm_input": np.eye(len(ALPHABET), dtype=np.float32)[places]}


def misspelt(word: str, rng: np.random.Generator) -> str:
    """The word with one letter wrong, or with two neighbours swapped."""
    while True:
        at = int(rng.integers(len(word)))
        if rng.integers(2):
            found = word[:at] + str(rng.choice(list(LETTERS))) + word[at + 1 :]
        else:
            found = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
        if found != word:
            return found


def samples(words: tuple[str, ...], request: Request) -> Iterator[Arrays]:
    """A word and two misspellings in each sample, as a batch of three under one label.

    They are of one length, because the model's answer depends on padding. The more words, the
    more of them look alike: the score falls with the number of samples.
    """
    known = tuple(word for word in words if len(word) >= SHORTEST and set(word) <= set(ALPHABET))
    for index, (word,) in enumerate(deal(known, request, at_most=1)):
        rng = np.random.default_rng([request.seed, 8, index])
        written = (word, *(misspelt(word, rng) for _ in range(TYPOS)))
        yield {**feed(written), "labels": np.array([word] * len(written))}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    description = describe(
        MODEL, REVISION, request, metrics=("knn{k=1}",), sources=(WORDS,), packages=("numpy",)
    )
    words = source_words(cache_dir, request.split)
    return build_folder(cache_dir, description, samples(words, request), progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="knn{k=1}",
    description="English words of 7 letters or more, each twice with a typo; the word by 1-NN",
    builder=build,
)
