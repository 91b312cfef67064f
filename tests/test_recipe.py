"""Recipes: text round trip, errors that point at the word, groups, presets, TOML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxopt import literal, registry
from onnxopt.errors import RecipeError
from onnxopt.recipe import Group, Recipe
from onnxopt.transform import Context, Exactness, Note, Pass


@dataclass(frozen=True)
class Tame(Pass):
    """x → x."""

    exactness: ClassVar[Exactness] = Exactness.BITWISE
    amount: float = 0.5
    mode: Literal["fast", "slow"] = "fast"
    names: tuple[str, ...] = ()
    deep: bool = False

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        yield from ()


@dataclass(frozen=True)
class Lossy(Tame):
    """x → about x."""

    exactness: ClassVar[Exactness] = Exactness.LOSSY


@pytest.fixture(autouse=True)
def two_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "passes", lambda: {"lossy": Lossy, "tame": Tame})


def test_text_round_trip() -> None:
    text = '(tame | tame{amount=0.25, names=[a, "b c"]}) | lossy{mode=slow, deep=true}'
    recipe = Recipe.parse(text)
    assert str(recipe) == text
    assert Recipe.parse(str(recipe)) == recipe
    assert recipe.exactness is Exactness.LOSSY


@given(
    amount=st.floats(allow_nan=False),
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    deep=st.booleans(),
)
def test_any_options_round_trip(amount: float, names: list[str], deep: bool) -> None:
    step = Tame(amount=amount, names=tuple(names), deep=deep)
    parsed = literal.split_outside(str(step), "|")
    assert len(parsed) == 1
    (again,) = Recipe(Recipe.parse(str(step)).steps).steps
    assert again == step


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tame | tam", "column 8: unknown pass 'tam'; did you mean 'tame'?"),
        ("tame{amuont=1}", "column 1: tame: option 'amuont'"),
        ("tame{mode=medium}", "option 'mode'"),
        ("(tame", "column 6: group is not closed"),
        ("tame{amount=1", "options are not closed"),
        ("tame tame", "column 6: unexpected 't'"),
        ("| tame", "column 1: no pass name"),
        ("tame{amount}", "option 'amount'; wanted key=value"),
        ("(tame){times=0}", "times=N with N at least 1"),
        ("(tame){time=2}", "times=N"),
        ("os:system", "would import foreign code"),
        ("(" * 30 + "tame" + ")" * 30, "too many nested groups"),
    ],
)
def test_errors_point_at_the_word(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_exact_groups_run_to_a_fixed_point_and_lossy_ones_do_not() -> None:
    exact, lossy, counted = Recipe.parse("(tame) | (tame | lossy) | (tame){times=3}").steps
    assert isinstance(exact, Group) and exact.to_fixed_point
    assert isinstance(lossy, Group) and not lossy.to_fixed_point
    assert isinstance(counted, Group) and not counted.to_fixed_point and counted.times == 3


def test_toml_form() -> None:
    rows = [{"pass": "tame", "amount": 0.1}, {"group": [{"pass": "tame"}], "times": 2}]
    assert str(Recipe.from_toml(rows)) == "tame{amount=0.1} | (tame){times=2}"
    with pytest.raises(RecipeError, match="unexpected keyword"):
        Recipe.from_toml([{"pass": "tame", "amout": 1}])
    with pytest.raises(RecipeError, match="has no pass"):
        Recipe.from_toml([{"amount": 1}])


def test_foreign_steps_only_where_allowed() -> None:
    text = "onnx-ir:IdentityEliminationPass"
    recipe = Recipe.parse(text, allow_foreign=True)
    assert str(recipe) == text
    with pytest.raises(RecipeError, match="no_such_module"):
        Recipe.parse("no_such_module:Thing", allow_foreign=True)


@pytest.mark.parametrize("names", [['\\"', "z"], ["a\\\\"], ['"', "\\", "}"]])
def test_quotes_and_backslashes_round_trip(names: list[str]) -> None:
    step = Tame(names=tuple(names))
    assert Recipe.parse(f"{step} | tame").steps == (step, Tame())


def test_empty_recipe() -> None:
    assert Recipe.parse("  ").steps == ()
    assert Recipe.parse("").exactness is Exactness.BITWISE
