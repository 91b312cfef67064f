"""Finds passes: built-in ones and plug-ins by entry point, foreign ones by import path."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import onnx_ir as ir

from onnxopt import literal
from onnxopt.data.function import import_object
from onnxopt.errors import DataError, RecipeError, UsageError
from onnxopt.transform import Context, Note, Pass

GROUP = "onnxopt.passes"
"""Entry-point group: each entry is a callable that gives pass classes."""

_SHORT_MODULES = {"onnx-ir": "onnx_ir.passes.common"}


@functools.cache
def passes() -> Mapping[str, type[Pass]]:
    """All installed passes by name, sorted.

    Raises:
        UsageError: A plug-in does not load, or two passes share a name.
    """
    found: dict[str, type[Pass]] = {}
    for point in entry_points(group=GROUP):
        for pass_class in _load(point):
            name = pass_class.pass_name()
            other = found.setdefault(name, pass_class)
            if other is not pass_class:
                raise UsageError(
                    f"two passes are called {name!r}: {other.__module__} and "
                    f"{pass_class.__module__}",
                    todo=f"uninstall or rename one (entry point {point.name!r})",
                )
    return dict(sorted(found.items()))


def find(name: str) -> type[Pass]:
    """The pass class of a recipe word.

    Raises:
        RecipeError: No installed pass has this name.
    """
    quick = find_builtin(name)
    if quick is not None:
        return quick
    known = passes()
    if name not in known:
        raise RecipeError(f"unknown pass {name!r}", todo=suggestion(name, known))
    return known[name]


def find_builtin(name: str) -> type[Pass] | None:
    """A built-in pass without importing the others, where there are no plug-ins to clash with."""
    find = _finder()
    return None if find is None else find(name)


def suggestion(name: str, known: Mapping[str, object]) -> str:
    """A hint for a misspelled word."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return "`onnxopt passes` lists them all"


@dataclass(frozen=True)
class ForeignPass(Pass):
    """model → pass(model), for an onnx_ir pass or onnxscript rewrite rules from elsewhere.

    Holds what the foreign code promises, which nobody has checked: it is treated as exact up to
    rounding, and verified like every other step.

    Attributes:
        path: ``module:name`` of a pass class, pass object, rewrite rule, rule set or function.
        options: Keyword arguments for a class or function, as sorted pairs.
    """

    path: str = ""
    options: tuple[tuple[str, Any], ...] = ()

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Run it; one note says whether it changed anything."""
        before = len(model.graph)
        count = _apply_foreign(_build(self.path, dict(self.options)), model)
        if count:
            gone = before - len(model.graph)
            yield Note.applied(self.path, f"changed the model ({gone} nodes fewer)")

    @property
    def name(self) -> str:
        """The import path: that is the recipe word of a foreign pass."""
        return self.path

    def __str__(self) -> str:
        if not self.options:
            return self.path
        inner = ", ".join(f"{key}={literal.spell(value)}" for key, value in self.options)
        return f"{self.path}{{{inner}}}"


def foreign(path: str, options: Mapping[str, Any]) -> Pass:
    """Make a pass out of an import path, so that a bad one is found before the first step.

    A pass class of ours keeps its options, promises and needs; everything else is wrapped.

    Raises:
        RecipeError: It cannot be imported or built.
    """
    made = _build(path, options)
    if isinstance(made, Pass):
        return made.imported_as(path)
    return ForeignPass(path=path, options=tuple(sorted(options.items())))


def _build(path: str, options: Mapping[str, Any]) -> Any:
    module_name, _, attribute = path.rpartition(":")
    try:
        thing = import_object(f"{_SHORT_MODULES.get(module_name, module_name)}:{attribute}")
    except DataError as error:
        raise RecipeError(f"foreign pass {path!r}: {error}") from error
    if isinstance(thing, type) and issubclass(thing, Pass):
        return thing.from_options(options)
    if _is_step(thing) or not callable(thing):
        return thing
    try:
        return thing(**options)
    except Exception as error:  # foreign code may raise anything
        cause = f"{type(error).__name__}: {error}"
        raise RecipeError(f"foreign pass {path!r} cannot be made: {cause}") from error


def _is_step(thing: Any) -> bool:
    from onnxscript.rewriter import RewriteRule, RewriteRuleSet

    return isinstance(thing, ir.passes.PassBase | RewriteRule | RewriteRuleSet)


def _apply_foreign(thing: Any, model: ir.Model) -> int:
    from onnxscript.rewriter import RewriteRule, RewriteRuleSet

    if isinstance(thing, RewriteRule):
        thing = RewriteRuleSet([thing])
    if isinstance(thing, RewriteRuleSet):
        return int(thing.apply_to_model(model))
    if isinstance(thing, ir.passes.PassBase):
        if not thing.in_place:
            raise RecipeError(
                f"foreign pass {type(thing).__name__} makes a new model",
                wanted="a pass that edits in place",
            )
        return int(thing(model).modified)
    raise RecipeError(
        f"foreign step is a {type(thing).__name__}",
        wanted="an onnx_ir pass or an onnxscript rewrite rule (set)",
    )


@functools.cache
def _finder() -> Callable[[str], type[Pass] | None] | None:
    points = entry_points(group=GROUP)
    if len(points) != 1:
        return None
    (point,) = points
    try:
        return getattr(importlib.import_module(point.module), "find", None)
    except ImportError:
        return None  # whoever loads all of them says so


def _load(point: EntryPoint) -> Iterator[type[Pass]]:
    try:
        yield from point.load()()
    except ImportError as error:
        raise UsageError(
            f"pass plug-in {point.name!r} ({point.value}) does not load: {error}",
            todo="uninstall it or mend it",
        ) from error
