"""The pipeline: clones, fixed points, cycles, failures, needs, and finding the guilty pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import api, pipeline, store
from onnxopt.errors import DataError, PassFailedError, UsageError
from onnxopt.graph import Editor
from onnxopt.recipe import Group, Recipe
from onnxopt.transform import Context, Exactness, Need, Note, Pass

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x) => (float[2] y) <float[2] one = {1, 1}>
{ a = Relu(x)  b = Relu(a)  c = Add(b, one)  y = Add(c, one) }"""


@dataclass(frozen=True)
class DropOneRelu(Pass):
    """relu(relu(x)) → relu(x), one a run."""

    exactness: ClassVar[Exactness] = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        for node in model.graph:
            source = node.inputs[0]
            if node.op_type == "Relu" and source is not None and source.producer() is not None:
                Editor(model).bypass(node.outputs[0], source)
                Editor(model).sweep(node)
                yield Note.applied(node, "relu of relu")
                return


@dataclass(frozen=True)
class Flip(Pass):
    """Relu ↔ Abs: never at rest."""

    exactness: ClassVar[Exactness] = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        node = model.graph[0]
        node.op_type = "Abs" if node.op_type == "Relu" else "Relu"
        yield Note.applied(node, "flipped")


@dataclass(frozen=True)
class Grow(Pass):
    """relu(x) → relu(relu(x)): never at rest, and never the same."""

    exactness: ClassVar[Exactness] = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        node, editor = model.graph[0], Editor(model)
        made = editor.insert_before(node, "Relu", [node.inputs[0]], "more")
        node.replace_input_with(0, made)
        yield Note.applied(node, "one more")


@dataclass(frozen=True)
class Damage(Pass):
    """y → y with the constant doubled."""

    exactness: ClassVar[Exactness] = Exactness.BITWISE

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        value = model.graph.initializers["one"]
        value.const_value = ir.tensor(np.full(2, 2, np.float32), name="one")
        yield Note.applied("one", "doubled")


@dataclass(frozen=True)
class Explode(Pass):
    """Raises after a first edit."""

    loud: bool = False

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        model.graph[0].op_type = "Neg"
        yield Note.applied(model.graph[0], "negated")
        raise KeyError("boom")


@dataclass(frozen=True)
class Hungry(Pass):
    """Needs data."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA})

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        yield from ()


@dataclass(frozen=True)
class Aimed(Hungry):
    """Needs a target."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})


def test_runs_to_a_fixed_point_on_a_clone() -> None:
    model = store.from_text(MODEL)
    result = pipeline.run(model, Recipe((Group((DropOneRelu(),)),)))
    assert [r.applied for r in result.results] == [1, 0]
    assert [n.op_type for n in result.model.graph] == ["Relu", "Add", "Add"]
    assert [n.op_type for n in model.graph] == ["Relu", "Relu", "Add", "Add"]
    assert result.changed and result.exactness is Exactness.BITWISE
    first = result.results[0]
    assert (first.before.nodes, first.after.nodes, first.changed) == (4, 3, True)


def test_a_cycle_is_seen_and_said() -> None:
    result = pipeline.run(store.from_text(MODEL), Recipe((Group((Flip(),)),)))
    assert len(result.results) < pipeline.MAX_ROUNDS
    assert "undoes its own work" in result.remarks[0]


def test_goes_on_while_nodes_become_fewer() -> None:
    body = " ".join(f"v{i + 1} = Relu(v{i})" for i in range(25))
    model = store.from_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[2] v0) => (float[2] y) '
        f"{{ {body} y = Neg(v25) }}"
    )
    result = pipeline.run(model, Recipe((Group((DropOneRelu(),)),)))
    assert [n.op_type for n in result.model.graph] == ["Relu", "Neg"]
    assert not result.remarks


def test_stops_where_there_is_no_end() -> None:
    result = pipeline.run(store.from_text(MODEL), Recipe((Group((Grow(),)),)))
    assert len(result.results) == pipeline.MAX_ROUNDS
    assert "stopped after 10 rounds" in result.remarks[0]


def test_counted_groups_run_as_often_as_written() -> None:
    result = pipeline.run(store.from_text(MODEL), Recipe((Group((Flip(),), times=3),)))
    assert len(result.results) == 3


def test_a_failing_pass_is_named_and_leaves_the_model_alone() -> None:
    model = store.from_text(MODEL)
    with pytest.raises(
        PassFailedError, match=r"pass explode\{loud=true\} failed: KeyError: 'boom'"
    ):
        pipeline.run(model, Recipe((Explode(loud=True),)))
    assert model.graph[0].op_type == "Relu"


def test_needs_are_checked_before_the_first_step() -> None:
    seen: list[str] = []

    class Spy(pipeline.SilentObserver):
        def step_started(self, step: Pass) -> None:
            seen.append(step.name)

    with pytest.raises(DataError, match="hungry needs calibration data"):
        pipeline.run(store.from_text(MODEL), Recipe((Flip(), Hungry())), observer=Spy())
    with pytest.raises(UsageError, match="aimed needs a target"):
        pipeline.run(store.from_text(MODEL), Recipe((Flip(), Aimed())), observer=Spy())
    assert seen == []


@pytest.mark.parametrize("position", range(5))
def test_the_guilty_pass_is_found_wherever_it_stands(position: int) -> None:
    model = store.from_text(MODEL)
    chain: list[Pass] = [DropOneRelu() for _ in range(4)]
    chain.insert(position, Damage())

    def agrees(candidate: ir.Model) -> bool:
        value = candidate.graph.initializers["one"].const_value
        return value is not None and float(value.numpy()[0]) == 1.0

    assert pipeline.guilty_pass(model, chain, Context(), agrees) == Damage()
    clean = [step for step in chain if step != Damage()]
    assert pipeline.guilty_pass(model, clean, Context(), agrees) is None


def test_call_is_the_door_for_foreign_pipelines() -> None:
    model = store.from_text(MODEL)
    result = ir.passes.PassManager([DropOneRelu()], steps=3)(model)
    assert result.modified
    assert len(model.graph) == 3


def test_foreign_steps_run() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) { a = Identity(x)  y = Relu(a) }"""
    recipe = Recipe.parse("onnx-ir:IdentityEliminationPass", allow_foreign=True)
    result = pipeline.run(store.from_text(text), recipe)
    assert [n.op_type for n in result.model.graph] == ["Relu"]
    assert result.results[0].applied == 1


def test_rewrite_rules_of_onnxscript_are_steps() -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,3] x) => (float[2,3] y)
    { a = Transpose <perm = [1, 0]> (x)  y = Transpose <perm = [1, 0]> (a) }"""
    path = "onnxscript.rewriter.rules.common:transpose_transpose_rule"
    result = pipeline.run(store.from_text(text), Recipe.parse(path, allow_foreign=True))
    assert result.changed
    assert [n.op_type for n in result.model.graph] != ["Transpose", "Transpose"]


def test_a_model_is_edited_itself_only_where_its_owner_says_so() -> None:
    recipe = Recipe((DropOneRelu(),))
    kept, spent = store.from_text(MODEL), store.from_text(MODEL)
    content = store.content_hash(kept)
    assert pipeline.run(kept, recipe).model is not kept
    assert store.content_hash(kept) == content
    result = pipeline.run(spent, recipe, spend=True)
    assert result.model is spent
    assert store.content_hash(spent) == store.content_hash(pipeline.run(kept, recipe).model)


def test_optimizing_without_verifying_leaves_the_callers_model_alone() -> None:
    model = store.from_text(MODEL)
    content = store.content_hash(model)
    result = api.optimize(model, recipe="exact", options=api.RunOptions(verify=False))
    assert result.verdict == "optimized"
    assert store.content_hash(model) == content
