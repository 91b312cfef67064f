"""Nearest neighbours among embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError, UsageError
from onnxopt.metrics.counting import Floats, ratio, totals
from onnxopt.metrics.metric import Counts, Metric, Outputs, pick_output
from onnxopt.metrics.naming import spell_metric

_Pair = tuple[npt.NDArray[np.float32], npt.NDArray[Any]]
_BLOCK_ROWS = 512


def knn(*, k: int = 5, output: str | None = None) -> Metric:
    """Share of rows whose ``k`` nearest others by cosine vote for the row's own label.

    Each row is asked about with all others of the set as the gallery; the interval is over the
    rows asked about, the gallery is taken as given. Equal votes go to the label of the nearest.

    Args:
        k: How many neighbours.
        output: Embeddings [rows, …]; the first float output by default.

    Raises:
        UsageError: ``k`` is below 1.
    """
    if k < 1:
        raise UsageError(f"knn with k={k}", "a number from 1")
    return knn_of(
        spell_metric("knn", {"k": k, "output": output}, {"k": 5}),
        lambda outputs: pick_output(outputs, output),
        k,
    )


def knn_of(name: str, embed: Callable[[Outputs], npt.NDArray[Any]], k: int) -> Metric:
    """``knn`` with embeddings that a function takes from the outputs."""

    def observe(outputs: Outputs, label: Any) -> _Pair:
        labels = np.asarray(label).reshape(-1)
        rows = embed(outputs)
        if labels.size == 0 or rows.size == 0 or rows.size % labels.size:
            raise DataError(f"{labels.size} labels for embeddings of shape {list(rows.shape)}")
        flat = rows.reshape(labels.size, -1).astype(np.float32)
        if not np.isfinite(flat).all():
            raise DataError("an embedding is not finite")
        return flat, labels

    def statistic(pairs: Sequence[_Pair]) -> Callable[[Counts], Floats]:
        rows = np.array([[labels.size] for _, labels in pairs])
        hits = np.zeros((len(pairs), 1), np.int64)
        samples = np.repeat(np.arange(len(pairs)), rows[:, 0])
        np.add.at(hits[:, 0], samples, _hits(pairs, k))

        return lambda counts: ratio(totals(counts, hits)[:, 0], totals(counts, rows)[:, 0])

    return Metric(name, observe, span=1, statistic=statistic)


def _hits(pairs: Sequence[_Pair], k: int) -> npt.NDArray[np.int64]:
    """For each row, whether its neighbours vote for its label."""
    if len({vectors.shape[1] for vectors, _ in pairs}) > 1:
        raise DataError("embeddings of different lengths", todo="pool them to one length")
    vectors = np.concatenate([vectors for vectors, _ in pairs])
    _, labels = np.unique(np.concatenate([labels for _, labels in pairs]), return_inverse=True)
    if len(labels) <= k:
        raise DataError(f"{len(labels)} embeddings for {k} neighbours", f"at least {k + 1}")
    norms = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1, keepdims=True))
    unit = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    blocks = []
    for start in range(0, len(unit), _BLOCK_ROWS):
        near = unit[start : start + _BLOCK_ROWS] @ unit.T
        own = np.arange(start, start + len(near))
        near[np.arange(len(near)), own] = -np.inf
        blocks.append(_vote(near, labels, k) == labels[own])
    return np.concatenate(blocks).astype(np.int64)


def _vote(
    near: npt.NDArray[np.float32], labels: npt.NDArray[np.intp], k: int
) -> npt.NDArray[np.intp]:
    """The label that most of the ``k`` nearest have, the nearest one's among equals."""
    rows = np.arange(len(near))[:, None]
    chosen = np.argpartition(-near, k - 1, axis=1)[:, :k]
    nearest = chosen[rows, np.argsort(-near[rows, chosen], axis=1, kind="stable")]
    votes = labels[nearest]
    support = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    return np.asarray(votes[rows[:, 0], support.argmax(axis=1)])
