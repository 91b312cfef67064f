"""Plug-ins: found by entry point, clashes and broken ones named."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import onnx_ir as ir
import pytest

from onnxopt import registry
from onnxopt.errors import RecipeError, UsageError
from onnxopt.recipe import Recipe
from onnxopt.transform import Context, Note, Pass

PLUGIN = """
from collections.abc import Iterator
from dataclasses import dataclass
import onnx_ir as ir
from onnxopt.transform import Context, Note, Pass

@dataclass(frozen=True)
class {name}(Pass):
    '''x → x.'''
    amount: int = 1
    def rewrite(self, model, context):
        yield Note.applied("x", "seen")

def load():
    yield {name}
"""


def plug_in(monkeypatch: pytest.MonkeyPatch, *classes: str) -> None:
    import sys

    points = []
    for number, name in enumerate(classes):
        module = ModuleType(f"plugin_{number}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(PLUGIN.format(name=name), module.__dict__)
        points.append(EntryPoint(f"p{number}", f"plugin_{number}:load", registry.GROUP))
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    registry.passes.cache_clear()
    yield
    registry.passes.cache_clear()


def test_a_plug_in_is_a_recipe_word(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "DoNothing")
    assert list(registry.passes()) == ["do-nothing"]
    assert str(Recipe.parse("do-nothing{amount=3}")) == "do-nothing{amount=3}"


def test_two_passes_of_one_name_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "DoNothing", "DoNothing")
    with pytest.raises(UsageError, match="two passes are called 'do-nothing': plugin_0 and"):
        registry.passes()


def test_a_broken_plug_in_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("bad", "no_such_package_of_passes:load", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.raises(UsageError, match="pass plug-in 'bad'"):
        registry.passes()


def test_built_in_passes_come_through_the_same_door() -> None:
    found = registry.passes()
    assert {"fuse-conv-bn", "fold-constants", "quantize-static"} <= set(found)
    for name, pass_class in found.items():
        assert pass_class.pass_name() == name
        assert pass_class.__module__.rpartition(".")[2] == name.replace("-", "_")
        assert Recipe.parse(name).steps == (pass_class(),)


def test_foreign_passes_that_make_a_new_model_are_refused() -> None:

    wrapped = registry.ForeignPass(path="builtins:object")
    with pytest.raises(RecipeError, match="wanted an onnx_ir pass"):
        list(wrapped.rewrite(ir.Model(ir.Graph([], [], nodes=[]), ir_version=8), Context()))
    assert issubclass(registry.ForeignPass, Pass)
    assert Note.applied("a", "b").kind == "applied"


def test_a_built_in_pass_is_found_by_its_files_name() -> None:
    for name, pass_class in registry.passes().items():
        assert registry.find_builtin(name) is pass_class
    for name in ("no-such-pass", "_facts", "simplify", "../x", ""):
        assert registry.find_builtin(name) is None
