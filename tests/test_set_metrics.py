"""Metrics that score whole sets, and those that need no bootstrap of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnxopt.errors import DataError, UsageError
from onnxopt.metrics import Metric, Scores, change_of, metric
from onnxopt.metrics.boxes import matched, overlaps

Pair = tuple[dict[str, Any], Any]
Maker = Callable[[np.random.Generator], Pair]


def scored(spec: str | Metric, pairs: list[Pair]) -> Scores:
    scores = Scores(metric(spec))
    for number, (outputs, label) in enumerate(pairs):
        scores.add(outputs, label, f"s{number}")
    return scores


def classified(rng: np.random.Generator) -> Pair:
    label = int(rng.integers(4))
    return {"y": rng.normal(size=(1, 4)) + 1.5 * np.eye(4)[[label]]}, label


def ranked(rng: np.random.Generator) -> Pair:
    labels = rng.integers(0, 2, 3)
    return {"y": np.round(rng.normal(size=3) + labels, 1)}, labels


def regressed(rng: np.random.Generator) -> Pair:
    label = rng.normal(size=2) + 100
    return {"y": label + 0.3 * rng.normal(size=2)}, label


def segmented(rng: np.random.Generator) -> Pair:
    label = rng.integers(0, 3, (1, 5, 4))
    label[0, 0] = 255
    return {"y": rng.normal(size=(1, 3, 5, 4))}, label


def spoken(rng: np.random.Generator) -> Pair:
    return {"y": rng.normal(size=(1, 4, 9))}, np.array([[1, 8, -1, 0]])


def detected(rng: np.random.Generator) -> Pair:
    corner = rng.integers(0, 90, (6, 2))
    truth = np.hstack([rng.integers(0, 2, (6, 1)), corner, corner + 10])
    boxes = truth[:5, 1:] + rng.integers(-4, 5, (5, 4))
    classes = np.where(rng.random(5) < 0.8, truth[:5, 0], 1 - truth[:5, 0])
    outputs = {"boxes": boxes.astype(np.float32), "scores": rng.random(5), "labels": classes}
    return outputs, truth


def found(rng: np.random.Generator) -> Pair:
    outputs, truth = detected(rng)
    return {"y": outputs["boxes"]}, truth[:, 1:]


MAKERS: dict[str, Maker] = {
    "f1": classified,
    "f1{average=weighted}": classified,
    "roc-auc": ranked,
    "r2": regressed,
    "mean-iou": segmented,
    "perplexity": spoken,
    "ap": detected,
    "hmean": found,
}


def made(spec: str, count: int, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [MAKERS[spec](rng) for _ in range(count)]


@pytest.mark.parametrize("spec", MAKERS)
def test_counts_are_the_same_as_repeated_samples(spec: str) -> None:
    pairs = made(spec, 12)
    counts = np.array([2, 0, 1, 1, 3, 0, 1, 0, 2, 1, 1, 0])
    repeated = [pair for pair, count in zip(pairs, counts, strict=True) for _ in range(count)]
    scores = scored(spec, pairs)
    statistic = scores.metric.statistic
    assert statistic is not None
    of_counts = statistic(scores.values)(counts[None].astype(np.float64))
    assert of_counts[0] == pytest.approx(scored(spec, repeated).value())


@pytest.mark.parametrize("spec", MAKERS)
def test_the_interval_is_reproducible_and_narrows(spec: str) -> None:
    few, many = (scored(spec, made(spec, count)) for count in (40, 640))
    interval = few.interval(seed=1)
    assert interval == few.interval(seed=1)
    assert interval.low < interval.mean < interval.high
    assert interval.mean == pytest.approx(few.value())
    wide, narrow = interval.high - interval.low, many.interval().high - many.interval().low
    assert 2 < wide / narrow < 8  # the root of 16 is 4


@pytest.mark.parametrize("spec", MAKERS)
def test_a_model_against_itself_changes_nothing(spec: str) -> None:
    scores = scored(spec, made(spec, 60))
    change = change_of(scores, scores)
    assert change.mean == 0
    span = scores.metric.span or 0.0
    assert change.high <= 4 * span / 60
    assert (change.high > 0) == bool(span)


@pytest.mark.parametrize("spec", [*MAKERS, "knn"])
def test_four_thousand_samples_take_about_a_second(spec: str) -> None:
    maker = MAKERS.get(spec, classified)
    rng = np.random.default_rng(0)
    scores = scored(spec, [maker(rng) for _ in range(4000)])
    started = time.perf_counter()
    scores.interval()
    assert time.perf_counter() - started < 15  # about 1 on a quiet machine


def test_the_paired_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(60):
        before, after = [], []
        for outputs, label in made("f1", 150, seed=trial):
            before.append((outputs, label))
            after.append(({"y": outputs["y"] + 0.2 * rng.normal(size=(1, 4))}, label))
        change = change_of(scored("f1", before), scored("f1", after))
        inside += change.low <= -0.0071 <= change.high  # the change over 400,000 samples
    assert inside >= 52


def test_sklearn_agrees() -> None:
    sk = pytest.importorskip("sklearn.metrics")
    pairs = made("f1", 200)
    truth, guess = [p[1] for p in pairs], [int(p[0]["y"].argmax()) for p in pairs]
    for average in ("macro", "weighted"):
        value = scored(f"f1{{average={average}}}", pairs).value()
        assert value == pytest.approx(sk.f1_score(truth, guess, average=average))
    pairs = made("roc-auc", 100)
    truth = np.concatenate([p[1] for p in pairs])
    area = sk.roc_auc_score(truth, np.concatenate([p[0]["y"] for p in pairs]))
    assert scored("roc-auc", pairs).value() == pytest.approx(area)
    pairs = made("r2", 50)
    truth, guess = (np.concatenate([np.ravel(v) for v in p]) for p in _columns(pairs))
    assert scored("r2", pairs).value() == pytest.approx(sk.r2_score(truth, guess))
    for spec, function in (("mae", sk.mean_absolute_error), ("mse", sk.mean_squared_error)):
        assert scored(spec, pairs).value() == pytest.approx(function(truth, guess))


def _columns(pairs: list[Pair]) -> tuple[list[Any], list[Any]]:
    return [p[1] for p in pairs], [p[0]["y"] for p in pairs]


def test_f1_takes_classes_as_they_are() -> None:
    pairs = [({"c": np.array(["a"])}, "a"), ({"c": np.array(["b"])}, "a")]
    assert scored("f1", pairs).value() == pytest.approx((2 / 3 + 0) / 2)


def test_auc_by_hand_and_by_column() -> None:
    scores = {"y": np.array([0.1, 0.4, 0.4, 0.8])}
    assert scored("roc-auc", [(scores, np.array([0, 0, 1, 1]))]).value() == 3.5 / 4
    table = {"y": np.array([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [0.2, 0.8]])}
    assert scored("roc-auc", [(table, np.array([0, 0, 1, 1]))]).value() == 3.5 / 4
    assert scored("roc-auc{positive=0}", [(table, np.array([1, 1, 0, 0]))]).value() == 0.5 / 4
    with pytest.raises(DataError, match="not defined"):
        scored("roc-auc", [(scores, np.array([1, 1, 1, 1]))]).value()


def test_mean_iou_by_hand() -> None:
    label = np.array([[0, 0, 1, 2, 255, -1]])
    guess = {"y": np.array([[0, 1, 1, 2, 2, 0]])}
    assert scored("mean-iou", [(guess, label)]).value() == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_perplexity_of_a_fair_die() -> None:
    pairs: list[Pair] = [({"y": np.full((1, 3, 6), 7.0)}, np.array([0, 5, -1]))]
    assert scored("perplexity", pairs).value() == pytest.approx(6)
    assert not metric("perplexity").higher_is_better


def test_perplexity_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="3 tokens for logits"):
        scored("perplexity", [({"y": np.zeros((1, 2, 6))}, np.array([0, 1, 2]))])
    with pytest.raises(DataError, match="token 6 of 6"):
        scored("perplexity", [({"y": np.zeros((1, 1, 6))}, np.array([6]))])


def test_average_precision_by_hand() -> None:
    truth = np.array([[0, 0, 0, 10, 10], [0, 20, 20, 30, 30]])
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10], [20, 20, 30, 30]], float)
    outputs = {"boxes": boxes, "scores": np.array([0.9, 0.8, 0.7, 0.6]), "labels": np.zeros(4)}
    assert scored("ap", [(outputs, truth)]).value() == pytest.approx((1 + 2 / 4) / 2)
    other = {**outputs, "labels": np.ones(4)}
    assert scored("ap", [(other, truth)]).value() == 0


def test_boxes() -> None:
    a = np.array([[0.0, 0, 2, 2], [0, 0, 0, 0]])
    b = np.array([[1.0, 0, 3, 2], [0, 0, 2, 2]])
    assert overlaps(a, b) == pytest.approx(np.array([[1 / 3, 1], [0, 0]]))
    assert matched(np.array([[0.0, 0, 2, 2], [0, 0, 2, 2.2]]), b, 0.5) == 1
    pairs: list[Pair] = [({"y": b}, a[:1]), ({"y": np.zeros((0, 4))}, np.zeros((0, 4)))]
    assert scored("hmean", pairs).value() == pytest.approx(2 * 1 / (2 + 1))
    with pytest.raises(DataError, match=r"s0: hmean: boxes of shape \[2, 3\]"):
        scored("hmean", [({"y": np.zeros((2, 3))}, a)])


class TestNeighbours:
    def test_votes(self) -> None:
        vectors = [[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [1, 0.15]]
        pairs: list[Pair] = [
            ({"y": np.array([v], np.float32)}, label)
            for v, label in zip(vectors, "aaabbb", strict=True)
        ]
        assert scored("knn{k=1}", pairs).value() == pytest.approx(3 / 6)
        assert scored("knn{k=3}", pairs).value() == pytest.approx(5 / 6)
        batch: list[Pair] = [({"y": np.array(vectors)}, np.array(list("aaabbb")))]
        assert scored("knn{k=1}", batch).value() == pytest.approx(3 / 6)

    def test_sklearn_agrees(self) -> None:
        neighbors = pytest.importorskip("sklearn.neighbors")
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 300)
        vectors = rng.normal(size=(300, 5)) + labels[:, None]
        pairs: list[Pair] = [({"y": v[None]}, int(n)) for v, n in zip(vectors, labels, strict=True)]
        right = 0
        for own in range(300):
            others = np.arange(300) != own
            model = neighbors.KNeighborsClassifier(5, metric="cosine")
            model.fit(vectors[others], labels[others])
            right += model.predict(vectors[own : own + 1])[0] == labels[own]
        assert scored("knn", pairs).value() == pytest.approx(right / 300)

    def test_mistakes(self) -> None:
        with pytest.raises(UsageError, match="k=0"):
            metric("knn{k=0}")
        with pytest.raises(DataError, match="1 embeddings for 5 neighbours"):
            scored("knn", [({"y": np.ones((1, 2))}, 1)]).value()


class TestAgreement:
    reference = {"y": np.array([[1.0, 0], [0, 2]], np.float32)}  # noqa: RUF012 - never changed

    def test_with_the_reference(self) -> None:
        found = {"y": np.array([[1.0, 0], [2, 0]], np.float32)}
        for spec, wanted in (("cosine", 1 / 5), ("argmax-agreement", 0.5)):
            before, after = Scores(metric(spec)), Scores(metric(spec))
            before.add(self.reference, None, reference=self.reference)
            after.add(found, None, reference=self.reference)
            assert before.value() == pytest.approx(1)
            assert after.value() == pytest.approx(wanted)
            assert change_of(before, after).mean == pytest.approx(wanted - 1)

    def test_without_a_reference(self) -> None:
        with pytest.raises(DataError, match="compares with a reference model"):
            Scores(metric("cosine")).add(self.reference, 1)

    def test_zeros(self) -> None:
        scores, zero = Scores(metric("cosine")), {"y": np.zeros(2)}
        scores.add(zero, None, reference=zero)
        scores.add({"y": np.ones(2)}, None, reference=zero)
        assert scores.values == [1.0, 0.0]


def test_a_set_score_is_no_score_of_a_sample() -> None:
    with pytest.raises(UsageError, match="f1 is a score of a whole set"):
        metric("f1")({"y": np.zeros((1, 2))}, 1)


def test_scores_need_samples_and_pairs() -> None:
    empty, some = Scores(metric("f1")), scored("f1", made("f1", 3))
    with pytest.raises(DataError, match="no samples for f1"):
        empty.value()
    with pytest.raises(DataError, match="0 samples before and 3 after"):
        change_of(empty, some)
    with pytest.raises(DataError, match="s0 has no label"):
        scored("f1", [({"y": np.zeros((1, 2))}, None)])
