"""The task recommender: which films of ten that a user rated late are those he or she liked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.metrics import Metric, Outputs
from onnxopt.metrics.metric import pick_output
from onnxopt.progress import Progress
from onnxopt_models.built.movielens import MovieLens, read_movielens
from onnxopt_models.fetch import fetch_all
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe

MODEL = "recommender"
REVISION = 1
DATA = "data-movielens"
AUC = "roc-auc"
NDCG = f"{__name__}:ndcg"
SLATE = 10


def slates(data: MovieLens, request: Request) -> list[npt.NDArray[np.intp]]:
    """The late ratings of the split's users, ten or fewer neighbours in time of one user each.

    The model was trained on nobody's late ratings, but on the early ones of every user.

    Raises:
        DataError: There are too few.
    """
    rows = np.flatnonzero(data.late)
    starts = np.flatnonzero(np.diff(data.users[rows])) + 1
    found = []
    for own in np.split(rows, starts):
        if is_in(f"user {data.users[own[0]]}", request.split):
            found += np.array_split(own, -(-len(own) // SLATE))
    if request.samples > len(found):
        raise DataError(
            f"{len(found)} slates of films in split {request.split}",
            wanted=f"at most {len(found)} samples",
        )
    order = np.random.default_rng([request.seed, 16]).permutation(len(found))
    return [found[index] for index in order[: request.samples]]


def samples(data: MovieLens, request: Request) -> Iterator[Arrays]:
    """A slate in each sample, as a batch; the label of a film is 1 where it was liked."""
    for rows in slates(data, request):
        yield {**data.feeds(rows), "labels": data.liked[rows]}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    description = describe(
        MODEL, REVISION, request, metrics=(AUC, NDCG), sources=(DATA,), packages=("numpy",)
    )

    def made() -> Iterator[Arrays]:
        yield from samples(read_movielens(*fetch_all(DATA, cache_dir, progress)), request)

    return build_folder(cache_dir, description, made(), progress)


def _gain(outputs: Outputs, label: Any) -> float:
    """Järvelin and Kekäläinen, 2002, with a gain of 1 for a film that was liked."""
    liked = np.asarray(label, np.float64).reshape(-1)
    odds = pick_output(outputs, None).reshape(-1)
    if odds.size != liked.size:
        raise DataError(f"{liked.size} labels for {odds.size} scores")
    discount = 1 / np.log2(np.arange(2, min(SLATE, liked.size) + 2))
    ranked = liked[np.argsort(-odds, kind="stable")][:SLATE]
    best = np.sort(liked)[::-1][:SLATE]
    return float(ranked @ discount / (best @ discount)) if liked.any() else 0.0


def _counts(label: Any) -> float:
    """Slates of which nothing was liked have no best order and count for nothing."""
    return float(np.any(np.asarray(label)))


ndcg = Metric(NDCG, _gain, weight=_counts, span=1)
"""NDCG@10 of the slates. ``--metric onnxopt_models.tasks.recommender:ndcg``."""

TASK = Task(
    name=MODEL,
    model=MODEL,
    metric=AUC,
    description="films that MovieLens users rated last, ten in a slate; liked is 4 stars or 5",
    builder=build,
)
