"""The task mlp: predict how well nearest neighbours do on the diabetes data.

The model stands in for a function of the package `surfaces` (Blanke): the cross-validated R² of
scikit-learn's k-neighbours regressor, from the number of neighbours, the algorithm, the data set
and the number of folds. scikit-learn computes the truth here. The model was fitted on every fifth
number of neighbours from 3 to 148; the others are new to it. Its second data set, California
housing, is not bundled with scikit-learn and left out.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxopt.errors import DataError
from onnxopt.progress import Progress
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe

MODEL = "mlp"
REVISION = 1
NEIGHBOURS = range(3, 149)
FOLDS = (2, 3, 5, 10)
ALGORITHMS = 4
"""auto, ball_tree, brute and kd_tree: they find the same neighbours, so the truth is the same."""
DIABETES = 1

Point = tuple[int, int, int]
"""Neighbours, algorithm, folds."""


def points(request: Request) -> list[Point]:
    """Different settings of the split in an order by seed.

    Raises:
        DataError: There are not that many.
    """
    pairs = itertools.product(NEIGHBOURS, FOLDS)
    own = [
        (n, folds) for n, folds in pairs if is_in(f"{n} neighbours {folds} folds", request.split)
    ]
    found = [(n, algorithm, folds) for n, folds in own for algorithm in range(ALGORITHMS)]
    if request.samples > len(found):
        raise DataError(
            f"{len(found)} settings in split {request.split}",
            wanted=f"at most {len(found)} samples",
        )
    order = np.random.default_rng([request.seed, 17]).permutation(len(found))
    return [found[index] for index in order[: request.samples]]


@functools.cache
def truth(neighbours: int, folds: int) -> float:
    """The mean R² over the folds, as scikit-learn finds it."""
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsRegressor

    table, target = load_diabetes(return_X_y=True)
    scores = cross_val_score(KNeighborsRegressor(neighbours), table, target, cv=folds, scoring="r2")
    return float(scores.mean())


def samples(request: Request) -> Iterator[Arrays]:
    """A setting in each sample, [1, 4]; the label is the true R²."""
    for neighbours, algorithm, folds in points(request):
        row = np.array([[neighbours, algorithm, DIABETES, folds]], np.float32)
        yield {"input": row, "labels": np.array([truth(neighbours, folds)])}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    description = describe(
        MODEL,
        REVISION,
        request,
        metrics=("r2", "mae"),
        sources=(),
        packages=("scikit-learn", "numpy"),
    )
    return build_folder(cache_dir, description, samples(request), progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="r2",
    description="cross-validated R² of k nearest neighbours on the diabetes data, by scikit-learn",
    builder=build,
    requires=(("sklearn", "zoo"),),
)
