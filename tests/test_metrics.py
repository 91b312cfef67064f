from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt.errors import DataError, UsageError
from onnxopt.metrics import (
    Interval,
    Metric,
    bootstrap_mean,
    judge,
    metric,
    metric_names,
    paired_bootstrap,
)
from onnxopt.metrics.cer import ctc_greedy, edit_distance


def scores(*rows: list[float]) -> dict[str, np.ndarray]:
    return {"ids": np.zeros(1, np.int64), "y": np.array(rows, np.float32)}


class TestAccuracy:
    def test_top1(self) -> None:
        top1 = metric("top1")
        assert top1(scores([0, 2, 1]), 1) == 1
        assert top1(scores([0, 2, 1]), np.int64(2)) == 0
        assert top1({"y": np.array([0, 2, 1], np.float32)}, 1) == 1
        assert top1({"y": np.array([0, 2, 1], np.float16).reshape(1, 3, 1, 1)}, 1) == 1
        assert top1(scores([0, 2, 1], [5, 2, 1]), np.array([1, 1])) == 0.5

    def test_the_first_of_equal_scores_wins_as_with_argmax(self) -> None:
        assert metric("top1")(scores([2, 2]), 0) == 1
        assert metric("top1")(scores([2, 2]), 1) == 0

    def test_nan_is_wrong(self) -> None:
        assert metric("top1")(scores([0, np.nan]), 1) == 0

    def test_topk(self) -> None:
        row = scores([0.1, 0.5, 0.2, 0.9])
        assert [metric("topk{k=2}")(row, label) for label in range(4)] == [0, 1, 0, 1]
        assert metric("topk{k=9}")(row, 0) == 1

    def test_named_output(self) -> None:
        outputs = {"a": np.array([[1.0, 0]]), "b/c": np.array([[0, 1.0]])}
        assert metric('top1{output="b/c"}')(outputs, 1) == 1
        with pytest.raises(UsageError, match="no output 'z'; wanted one of a, b/c"):
            metric("top1{output=z}")(outputs, 1)
        with pytest.raises(UsageError, match="no output of floats"):
            metric("top1")({"i": np.zeros((1, 2), np.int64)}, 1)

    @pytest.mark.parametrize("label", [5, -1, "cat", 0.5, np.array([0, 1]), None])
    def test_labels_that_do_not_fit(self, label: object) -> None:
        with pytest.raises(DataError, match="s7"):
            metric("top1")(scores([0, 2, 1]), label, "s7")

    def test_exact_match(self) -> None:
        exact = metric("exact-match")
        assert exact({"label": np.array(["b"])}, "b") == 1
        assert exact({"label": np.array([3, 4])}, np.array([3, 5])) == 0.5
        assert exact({"mask": np.array([[1, 0], [1, 1]])}, np.array([[1, 0], [0, 1]])) == 0.5
        with pytest.raises(DataError, match="label of shape"):
            exact({"label": np.array([3, 4])}, 3)


class TestCharacterErrorRate:
    steps = np.eye(4, dtype=np.float32)[[0, 1, 1, 0, 1, 2, 2, 3, 0]][None]

    def test_decoding_collapses_repeats_and_drops_blanks(self) -> None:
        assert ctc_greedy(self.steps[0], 0) == (1, 1, 2, 3)
        assert ctc_greedy(self.steps[0], -1) == (0, 1, 0, 1, 2, 0)
        with pytest.raises(DataError, match="blank class 4 of 4"):
            ctc_greedy(self.steps[0], 4)

    def test_scores(self) -> None:
        outputs = {"y": self.steps}
        cer = metric("cer")
        assert not cer.higher_is_better
        assert cer(outputs, [1, 1, 2, 3]) == 0
        assert cer(outputs, [1, 2, 3, -1, -1]) == pytest.approx(1 / 3)
        text = metric('cer{charset=["a", "b", "c"]}')
        assert text(outputs, "aabc") == 0
        assert text(outputs, "xxabcx") == pytest.approx(3 / 6)
        assert text(outputs, "") == 4
        both = {"y": np.concatenate([self.steps, self.steps]).swapaxes(0, 1)}
        batch = metric('cer{charset=["a", "b", "c"], time_axis=0}')
        assert batch(both, np.array(["aabc", "ab"])) == pytest.approx(2 / 6)
        with pytest.raises(DataError, match="1 labels for a batch of 2"):
            batch(both, "aabc")

    def test_the_mean_over_samples_is_the_rate_of_the_corpus(self) -> None:
        text = metric('cer{charset=["a", "b", "c"]}')
        labels = ["aabcaaaa", "b"]
        rates = [text({"y": self.steps}, label) for label in labels]
        weights = [text.weight(label) for label in labels]
        assert weights == [8, 1]
        edits = sum(edit_distance("aabc", label) for label in labels)
        assert np.average(rates, weights=weights) == pytest.approx(edits / 9)

    def test_charset_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "keys.txt").write_text("a\nb\n \n", encoding="utf-8")
        text = metric(f'cer{{charset="{tmp_path / "keys.txt"}"}}')
        assert text({"y": self.steps}, "aab ") == 0
        with pytest.raises(UsageError, match="cannot read"):
            metric("cer{charset=nowhere.txt}")
        (tmp_path / "keys.txt").write_text("a", encoding="utf-8")
        with pytest.raises(DataError, match="class 3, but the charset has 1"):
            metric(f'cer{{charset="{tmp_path / "keys.txt"}"}}')({"y": self.steps}, "a")

    @given(st.text("abc", max_size=8), st.text("abc", max_size=8), st.text("abc", max_size=8))
    def test_edit_distance_is_a_metric(self, a: str, b: str, c: str) -> None:
        assert (edit_distance(a, b) == 0) == (a == b)
        assert edit_distance(a, b) == edit_distance(b, a)
        assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
        assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


class TestSpec:
    @pytest.mark.parametrize(
        "spec",
        [
            "top1",
            "top1{output=logits}",
            "topk{k=3}",
            'topk{k=2, output="a,b"}',
            "exact-match",
            "cer",
            'cer{blank=-1, charset=["{", "}"], time_axis=0}',
        ],
    )
    def test_names_parse_back(self, spec: str) -> None:
        assert metric(spec).name == spec
        assert metric(metric(spec).name).name == spec

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("top2", "unknown metric 'top2'; wanted top1, topk, exact-match, cer"),
            ("top1{", "metric 'top1{'"),
            ("topk{k=many}", "option 'k': input should be a valid integer"),
            ("topk{j=1}", "option 'j': unexpected keyword argument"),
            ("topk{k}", "expected key=value"),
            ("topk{k=1, k=2}", "each key once"),
            ("topk{k=0}", "k=0; wanted a number from 1"),
            ("cer{time_axis=2}", "wanted 0 or 1"),
            ("os:nothing", "has no "),
            ("no_such_thing:f", "cannot import"),
            ("math:pow{power=2}", "unexpected keyword"),
        ],
    )
    def test_mistakes(self, spec: str, message: str) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            metric(spec)
        assert "\n" not in str(caught.value)

    def test_functions(self, tmp_path: Path) -> None:
        source = (
            "from onnxopt.metrics import Metric\n"
            "def error(outputs, label):\n    return abs(float(outputs['y'][0]) - label)\n"
            "ready = Metric('ready', error, higher_is_better=False)\n"
        )
        (tmp_path / "mine.py").write_text(source)
        made = metric(f"{tmp_path / 'mine.py'}:error{{higher_is_better=false}}")
        assert not made.higher_is_better
        assert made({"y": np.array([3.0])}, 1) == 2
        assert metric(f"{tmp_path / 'mine.py'}:ready").name == "ready"
        assert metric(made) is made

    def test_scores_must_be_finite(self) -> None:
        broken = Metric("broken", lambda outputs, label: float("nan"))
        with pytest.raises(DataError, match="sample 3: broken is nan"):
            broken({}, 1, "sample 3")

    def test_metric_names(self) -> None:
        assert metric_names()[:4] == ("top1", "topk", "exact-match", "cer")
        for name in metric_names():
            assert metric(metric(name).name).name == metric(name).name


finite = st.floats(-1, 1, width=32)


class TestBootstrap:
    @settings(max_examples=50, deadline=None)
    @given(pairs=st.lists(st.tuples(finite, finite), min_size=1, max_size=30), span=st.floats(0, 1))
    def test_interval_holds_the_mean_and_flips_with_the_sign(
        self, pairs: list[tuple[float, float]], span: float
    ) -> None:
        before, after = zip(*pairs, strict=True)
        found = paired_bootstrap(before, after, span=span, resamples=200)
        assert found.mean == pytest.approx(np.mean(after) - np.mean(before), abs=1e-6)
        assert found.low <= found.mean <= found.high
        assert found.samples == len(pairs)
        swapped = paired_bootstrap(after, before, span=0, resamples=200)
        plain = paired_bootstrap(before, after, resamples=200)
        assert (-swapped).low == pytest.approx(plain.low, abs=1e-12)
        assert (-swapped).high == pytest.approx(plain.high, abs=1e-12)

    @settings(max_examples=20, deadline=None)
    @given(values=st.lists(finite, min_size=2, max_size=20), seed=st.integers(0, 9))
    def test_chunks_and_weights_change_nothing(self, values: list[float], seed: int) -> None:
        from onnxopt.metrics import bootstrap

        plain = bootstrap_mean(values, seed=seed, resamples=300)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bootstrap, "_CHUNK_ELEMENTS", 7 * len(values))
            assert bootstrap_mean(values, seed=seed, resamples=300) == plain
        same = bootstrap_mean(values, weights=[3.0] * len(values), seed=seed, resamples=300)
        assert same.low == pytest.approx(plain.low, abs=1e-9)

    def test_the_interval_covers_the_truth(self) -> None:
        generator = np.random.default_rng(0)
        inside = 0
        for trial in range(200):
            drawn = generator.choice([-1.0, 0, 1], p=[0.1, 0.85, 0.05], size=100)
            found = bootstrap_mean(drawn, span=1, seed=trial, resamples=500)
            inside += found.low <= -0.05 <= found.high
        assert inside >= 186  # 95 % of 200, less two standard deviations

    def test_no_change_seen_is_the_rule_of_three(self) -> None:
        found = bootstrap_mean(np.zeros(300), span=1)
        assert found.mean == 0
        assert 2 / 300 < found.high < 4 / 300
        assert bootstrap_mean(np.zeros(300)).high == 0

    def test_weights(self) -> None:
        assert bootstrap_mean([0, 1], weights=[3, 1]).mean == 0.25

    def test_bad_values(self) -> None:
        for values in ([], [np.nan], [np.inf]):
            with pytest.raises(DataError):
                bootstrap_mean(values)
        with pytest.raises(DataError, match="1 scores before and 2 after"):
            paired_bootstrap([1], [1, 2])
        with pytest.raises(DataError):
            bootstrap_mean([1.0], weights=[0.0])

    def test_memory_and_time_are_bounded(self) -> None:
        tracemalloc.start()
        started = time.perf_counter()
        bootstrap_mean(np.arange(20_000.0), resamples=1000)
        assert time.perf_counter() - started < 10
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 50_000_000  # all at once would be 320 MB


class TestVerdict:
    def test_inside_outside_undecided(self) -> None:
        assert judge(Interval(0.001, -0.002, 0.004, 500), 0.01).status == "inside"
        assert judge(Interval(0.03, 0.02, 0.04, 500), 0.01).status == "outside"
        undecided = judge(Interval(0.005, -0.005, 0.015, 100), 0.01)
        assert undecided.status == "undecided"
        assert undecided.more_samples == 300
        assert undecided.is_likely_inside
        assert "about 300 more samples" in str(undecided)
        assert judge(Interval(0.01, 0, 0.02, 100), 0.01).more_samples is None
        unseen = judge(Interval(0.0, -0.03, 0.03, 100, unseen=0.03), 0.01)
        assert unseen.more_samples == 200  # the rule of three: 3/n
        partly = judge(Interval(0.0, -0.03, 0.03, 100, unseen=0.02), 0.01).more_samples
        plain = judge(Interval(0.0, -0.03, 0.03, 100), 0.01).more_samples
        assert partly is not None
        assert 200 < partly < (plain or 0) == 800
        worse = judge(Interval(0.02, 0.005, 0.035, 100), 0.01)
        assert (worse.status, worse.is_likely_inside) == ("undecided", False)

    def test_few_samples_decide_nothing(self) -> None:
        few = judge(Interval(0, 0, 0, 7), 0.01)
        assert few.status == "undecided"
        assert few.more_samples == 1
        assert judge(Interval(0, 0, 0, 8), 0.01).status == "inside"
        assert judge(Interval(0, 0, 0, 7), 0).more_samples == 1
        assert judge(Interval(np.inf, np.inf, np.inf, 3), 0.01).more_samples is None

    @given(
        mean=st.floats(-1, 1), half=st.floats(0, 1), limit=st.floats(0, 1), n=st.integers(1, 500)
    )
    def test_a_verdict_always_comes_with_a_way_on(
        self, mean: float, half: float, limit: float, n: int
    ) -> None:
        verdict = judge(Interval(mean, mean - half, mean + half, n), limit)
        assert (verdict.status == "undecided") == (verdict.more_samples != 0)
        assert verdict.more_samples is None or verdict.more_samples >= 0
        assert str(verdict)


def test_samples_of_one_item_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=20), 50)
    items = [str(number) for number in range(20) for _ in range(50)]
    alone, together = bootstrap_mean(values), bootstrap_mean(values, items=items)
    assert together.mean == pytest.approx(alone.mean)
    assert together.samples == alone.samples == 1000
    assert together.high - together.low > 5 * (alone.high - alone.low)
    single = bootstrap_mean(values, items=[str(number) for number in range(1000)])
    assert single == alone
