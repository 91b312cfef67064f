"""As many integers as the goal allows: what is chosen, on which samples, and how it is replayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.data import Dataset, Sample, in_memory
from onnxopt.metrics import Metric
from onnxopt.recipe import Recipe
from onnxopt.store import serialize
from onnxopt.targets import load_target
from onnxopt.transform import Context, Goal, Note
from onnxopt_passes.quantize.quantize_mixed import QuantizeMixed

LENGTH = 2000
WEIGHT = "0.5, -0.25, 0.125, 1, 0.75, -0.5, 0.25, 0.5, -1"


def two_branches() -> ir.Model:
    """Two heavy Convs: what ``quiet`` loses is seen as it is, what ``loud`` loses a hundredfold."""
    weight = f"float[2,1,9] {{}} = {{{{{WEIGHT}, {WEIGHT}}}}}"
    return store.from_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[1,2,{LENGTH}] x) '
        f"=> (float[1,2,{LENGTH - 8}] y, float[1,2,{LENGTH - 8}] z) "
        f"<{weight.format('w')}, {weight.format('v')}, float many = {{100.0}}> {{"
        "e = Exp(x) quiet = Conv<group = 2>(e, w) y = Tanh(quiet) "
        "loud = Conv<group = 2>(e, v) s = Mul(loud, many) z = Sin(s) }"
    )


def samples(count: int, seed: int = 0) -> Dataset:
    generator = np.random.default_rng(seed)
    shape = (1, 2, LENGTH)
    return in_memory(
        Sample({"x": generator.uniform(-1, 1, shape).astype(np.float32)}, None, f"{seed}.{number}")
        for number in range(count)
    )


def context(goal: Goal | None = None, **more: object) -> Context:
    data = samples(8)
    plain = Context(target=load_target("x64-vnni"), calibration=data, search=data, goal=goal)
    return replace(plain, **more)  # type: ignore[arg-type]


def quantized(context: Context, step: str = "quantize-mixed") -> tuple[ir.Model, list[Note]]:
    model = two_branches()
    (found,) = Recipe.parse(step).steps
    return model, list(found.rewrite(model, context))  # type: ignore[union-attr]


def in_integers(notes: list[Note]) -> list[str]:
    return [n.node for n in notes if n.kind == "applied" and "replay" not in n.figures]


def test_what_makes_most_noise_stays_float() -> None:
    _, notes = quantized(context())
    assert in_integers(notes) == ["quiet"]
    (loud,) = (note for note in notes if note.node == "loud")
    assert loud.kind == "refused"
    assert "error" in loud.reason
    assert float(loud.figures["error"]) > 0.3 > float(loud.figures["gain_us"]) - 5


def test_all_is_quantized_where_any_error_will_do() -> None:
    _, notes = quantized(context(Goal()))
    assert in_integers(notes) == ["quiet", "loud"]
    assert not any("error" in note.figures for note in notes)  # nothing had to be measured


def test_nothing_is_quantized_where_no_error_will_do() -> None:
    model, notes = quantized(context(Goal(max_error=0.0)))
    assert in_integers(notes) == []
    assert store.same_graph(model, two_branches()) is None
    assert any("no placement" in note.reason for note in notes)


def test_replaying_gives_the_same_bytes_without_goal_or_search() -> None:
    model, notes = quantized(context())
    (replay,) = (str(note.figures["replay"]) for note in notes if "replay" in note.figures)
    again, _ = quantized(replace(context(), search=None, goal=None), replay)
    assert replay == "quantize-static{method=auto, only=[quiet]}"
    assert serialize(again) == serialize(model)


def test_it_is_deterministic_with_and_without_cache(tmp_path: Path) -> None:
    plain, notes = quantized(context())
    cold, _ = quantized(context(cache=tmp_path))
    assert list((tmp_path / "sensitivities").glob("*.json"))
    warm, same_notes = quantized(context(cache=tmp_path))
    assert serialize(plain) == serialize(cold) == serialize(warm)
    assert [note.figures for note in same_notes] == [note.figures for note in notes]


@pytest.mark.parametrize("content", ["", "{}", '{"tensors": {"e": -1}, "weights": {}}', "[1]"])
def test_a_damaged_cache_is_measured_anew(tmp_path: Path, content: str) -> None:
    plain, _ = quantized(context(cache=tmp_path))
    (path,) = (tmp_path / "sensitivities").glob("*.json")
    path.write_text(content)
    again, _ = quantized(context(cache=tmp_path))
    assert serialize(plain) == serialize(again)
    assert path.read_text() != content


class Watched:
    """A data set that knows whether it was read."""

    def __init__(self, inner: Dataset) -> None:
        self._inner = inner
        self.reads = 0

    def __iter__(self) -> Iterator[Sample]:
        self.reads += 1
        return iter(self._inner)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def __len__(self) -> int:
        return len(self._inner)


def test_variants_are_tried_on_search_data() -> None:
    search = Watched(samples(4, seed=1))
    quantized(context(search=search))
    assert search.reads == 1  # kept, not read for each variant


def test_a_metric_decides_where_there_is_one() -> None:
    labels = [Sample(s.feeds, 0, s.item) for s in samples(16)]
    data = in_memory(labels)
    blind = Metric("blind", lambda outputs, label: 1.0, span=1.0)
    goal = Goal(blind, max_drop=0.01)
    _, notes = quantized(context(goal, calibration=data, search=data))
    assert in_integers(notes) == ["quiet"]  # the metric sees nothing, and the error is large


def test_a_target_without_integers_refuses() -> None:
    target = load_target("x64-vnni").model_copy(update={"int8": None})
    model, notes = quantized(context(target=target))
    assert [note.kind for note in notes] == ["refused"]
    assert store.same_graph(model, two_branches()) is None


def test_old_opsets_are_raised_only_where_something_is_quantized() -> None:
    def old() -> ir.Model:
        model = two_branches()
        model.graph.opset_imports[""] = 12
        return model

    kept, raised = old(), old()
    list(QuantizeMixed().rewrite(kept, context(Goal(max_error=0.0))))
    list(QuantizeMixed().rewrite(raised, context()))
    assert kept.graph.opset_imports[""] == 12
    assert raised.graph.opset_imports[""] >= 14
