"""The task minilm-l3: texts about six subjects; neighbours should share theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from onnxopt.errors import DataError
from onnxopt.progress import Progress
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks.archives import sources
from onnxopt_models.tasks.docstrings import beginnings
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe
from onnxopt_models.tasks.wordpiece import WordPiece

MODEL = "minilm-l3"
REVISION = 2
VOCABULARY = "vocab-bert-uncased"
LIBRARIES = ("cirq-core", "django", "keras", "nltk", "scapy", "sympy")
"""Of quantum circuits, web sites, neural networks, language, network packets and algebra; each
holds at least 780 texts."""
ARCHIVES = tuple(f"source-{name}" for name in LIBRARIES)
EMBEDDING = "461"
METRIC = f'knn{{output="{EMBEDDING}"}}'


def collect(wheels: Iterable[tuple[str, Path]], request: Request) -> list[tuple[str, str]]:
    """Library and text, as many of each library; texts that name it are left out.

    The more texts, the nearer the neighbours: the score rises with the number of samples.

    Raises:
        DataError: A library has too few.
    """
    rng = np.random.default_rng([request.seed, 11])
    shares = np.diff(np.linspace(0, request.samples, len(LIBRARIES) + 1).astype(int))
    rows: list[tuple[str, str]] = []
    for (name, path), share in zip(wheels, shares, strict=True):
        library = name.removeprefix("source-")
        names = re.compile(library.split("-")[0], re.IGNORECASE)
        known = sorted({text for text in beginnings(path) if not names.search(text)})
        known = [text for text in known if is_in(text, request.split)]
        if len(known) < share:
            most = len(known) * len(LIBRARIES)
            raise DataError(
                f"{library} has {len(known)} texts in split {request.split}",
                wanted=f"at most about {most} samples",
            )
        rows += [(library, known[index]) for index in rng.permutation(len(known))[:share]]
    return [rows[index] for index in rng.permutation(len(rows))]


def feed(text: str, tokenizer: WordPiece) -> Arrays:
    """The model's inputs: token numbers and ones, [1, tokens] each."""
    tokens = np.array([tokenizer.encode(text)], np.int64)
    return {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    description = describe(
        MODEL,
        REVISION,
        request,
        metrics=(METRIC,),
        sources=(VOCABULARY, *ARCHIVES),
        packages=("numpy",),
    )

    def made() -> Iterator[Arrays]:
        tokenizer = WordPiece.read(fetch(VOCABULARY, cache_dir, progress))
        for library, text in collect(sources(ARCHIVES, cache_dir, progress), request):
            yield {**feed(text, tokenizer), "labels": np.array(library)}

    return build_folder(cache_dir, description, made(), progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric=METRIC,
    description="beginnings of docstrings in six Python libraries; the library by 5-NN",
    builder=build,
)
