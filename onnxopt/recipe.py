"""A recipe: a chain of passes as a value, with a text form that round-trips.

Grammar::

    recipe = step { "|" step }
    step   = name [ "{" key=value { "," key=value } "}" ] | "(" recipe ")" [ "{times=N}" ]

A name is a pass, a preset (which is expanded) or, where foreign code is allowed,
``module:Class`` or ``path/to/file.py:Class``.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from onnxopt import literal, registry
from onnxopt.errors import RecipeError
from onnxopt.presets import PRESETS
from onnxopt.transform import Exactness, Need, Pass

MAX_NESTING = 20

_T = TypeVar("_T")


@dataclass(frozen=True)
class Group:
    """Steps that repeat: ``times`` rounds, or, when wholly exact and ``times`` is None, until
    nothing changes any more.
    """

    steps: tuple[Step, ...]
    times: int | None = None

    @property
    def exactness(self) -> Exactness:
        """The loosest promise among the steps."""
        return _exactness(self.steps)

    @property
    def to_fixed_point(self) -> bool:
        """Whether the group repeats until nothing changes."""
        return self.times is None and self.exactness.is_exact

    def __str__(self) -> str:
        suffix = "" if self.times is None else f"{{times={self.times}}}"
        return f"({_join(self.steps)}){suffix}"


Step: TypeAlias = Pass | Group
"""One link of a recipe."""


@dataclass(frozen=True)
class Recipe:
    """A chain of steps; ``str(recipe)`` spells it in full, ``Recipe.parse`` reads that back."""

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str, *, allow_foreign: bool = False) -> Recipe:
        """Read the text form; presets are expanded.

        Args:
            text: The recipe.
            allow_foreign: Whether ``module:Class`` steps may import code. Only for recipes from
                the command line or a local file, never for those out of a bundle.

        Raises:
            RecipeError: The text does not parse; the message points at the word.
        """
        return cls(_Parser(text, allow_foreign).parse())

    @classmethod
    def from_toml(cls, rows: Iterable[Mapping[str, Any]], *, allow_foreign: bool = False) -> Recipe:
        """Read the TOML form: a list of tables, each ``{pass = "name", option = value …}`` or
        ``{group = [tables], times = N}``.

        Raises:
            RecipeError: A table has neither key, or its options do not fit.
        """
        return cls(tuple(step for row in rows for step in _from_table(row, allow_foreign)))

    @property
    def exactness(self) -> Exactness:
        """The loosest promise among the steps; ``BITWISE`` for an empty recipe."""
        return _exactness(self.steps)

    @property
    def needs(self) -> frozenset[Need]:
        """What any step needs."""
        return frozenset(need for step in self.passes() for need in step.needs)

    def passes(self) -> Iterator[Pass]:
        """Every pass, once for each place it is written in."""
        yield from _leaves(self.steps)

    def then(self, other: Recipe) -> Recipe:
        """This recipe followed by another."""
        return Recipe(self.steps + other.steps)

    def without(self, name: str) -> Recipe:
        """This recipe with every pass of that name left out, and groups that this empties."""
        return Recipe(tuple(_without(self.steps, name)))

    def with_option(self, option: str, value: Any) -> Recipe:
        """This recipe with an option of every step that has it set to a value.

        Raises:
            RecipeError: No step has such an option, or one has no such value for it.
        """
        if not any(option in _options(step) for step in self.passes()):
            raise RecipeError(f"no step of {str(self) or 'an empty recipe'} has an option {option}")
        return Recipe(tuple(_with_option(self.steps, option, value)))

    def __str__(self) -> str:
        return _join(self.steps)


def _options(step: Pass) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(step))


def _with_option(steps: Iterable[Step], option: str, value: Any) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Group):
            yield Group(tuple(_with_option(step.steps, option, value)), step.times)
        elif option in _options(step):
            yield type(step).from_options({**step.changed_options(), option: value})
        else:
            yield step


def _without(steps: Iterable[Step], name: str) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Group):
            kept = tuple(_without(step.steps, name))
            if kept:
                yield Group(kept, step.times)
        elif step.name != name:
            yield step


def _join(steps: Iterable[Step]) -> str:
    return " | ".join(str(step) for step in steps)


def _exactness(steps: Iterable[Step]) -> Exactness:
    return functools.reduce(operator.or_, (s.exactness for s in steps), Exactness.BITWISE)


def _leaves(steps: Iterable[Step]) -> Iterator[Pass]:
    for step in steps:
        if isinstance(step, Group):
            yield from _leaves(step.steps)
        else:
            yield step


def _make_steps(name: str, options: Mapping[str, Any], allow_foreign: bool) -> tuple[Step, ...]:
    if ":" in name:
        if not allow_foreign:
            raise RecipeError(f"{name!r} would import foreign code", "built-in or installed passes")
        return (registry.foreign(name, options),)
    if name in PRESETS:
        if options:
            raise RecipeError(f"preset {name!r} takes no options", todo="write its passes out")
        return Recipe.parse(PRESETS[name]).steps
    pass_class = registry.find_builtin(name)
    if pass_class is None:
        known = registry.passes()
        if name not in known:
            hint = registry.suggestion(name, {**known, **PRESETS})
            raise RecipeError(f"unknown pass {name!r}", todo=hint)
        pass_class = known[name]
    return (pass_class.from_options(options),)


def _from_table(row: Mapping[str, Any], allow_foreign: bool) -> tuple[Step, ...]:
    options = dict(row)
    if "group" in options:
        inner = Recipe.from_toml(options.pop("group"), allow_foreign=allow_foreign)
        return (Group(inner.steps, _times(options)),)
    name = options.pop("pass", None)
    if not isinstance(name, str):
        raise RecipeError(f"recipe table {dict(row)!r} has no pass", 'pass = "name" or group = […]')
    return _make_steps(name, options, allow_foreign)


def _times(options: Mapping[str, Any]) -> int | None:
    unknown = set(options) - {"times"}
    times = options.get("times")
    if unknown or (times is not None and (type(times) is not int or times < 1)):
        raise RecipeError(f"group options {dict(options)!r}", "only times=N with N at least 1")
    return times


class _Parser:
    """Recursive descent over the text; ``position`` is where the next word starts."""

    _NAME = re.compile(r"[A-Za-z./][A-Za-z0-9_.:/-]*")
    _SPACE = re.compile(r"\s*")

    def __init__(self, text: str, allow_foreign: bool) -> None:
        self.text = text
        self.allow_foreign = allow_foreign
        self.position = 0

    def parse(self) -> tuple[Step, ...]:
        if not self.text.strip():
            return ()
        steps = self._chain(0)
        if self.position < len(self.text):
            raise self._error(f"unexpected {self.text[self.position]!r}", "'|' or the end")
        return steps

    def _chain(self, depth: int) -> tuple[Step, ...]:
        if depth > MAX_NESTING:
            raise self._error("too many nested groups", f"at most {MAX_NESTING}")
        steps = list(self._step(depth))
        while self._take("|"):
            steps.extend(self._step(depth))
        return tuple(steps)

    def _step(self, depth: int) -> tuple[Step, ...]:
        if self._take("("):
            inner = self._chain(depth + 1)
            if not self._take(")"):
                raise self._error("group is not closed", "')'")
            start = self.position
            return (self._at(start, lambda: Group(inner, _times(self._options()))),)
        match = self._NAME.match(self.text, self.position)
        if match is None:
            found = self.text[self.position : self.position + 12] or "the end"
            raise self._error(f"no pass name at {found!r}", "a pass, a preset or '('")
        start, self.position = self.position, match.end()
        options = self._options()
        return self._at(start, lambda: _make_steps(match[0], options, self.allow_foreign))

    def _options(self) -> dict[str, Any]:
        self._skip()
        if not self.text.startswith("{", self.position):
            self._skip()
            return {}
        start = self.position
        body, end = self._braced(start)
        options: dict[str, Any] = {}
        for item in literal.split_outside(body, ",") if body.strip() else []:
            key, equals, value = item.partition("=")
            if not equals or not key.strip():
                raise self._error(f"option {item.strip()!r}", "key=value", start)
            if key.strip() in options:
                raise self._error(f"option {key.strip()!r} twice", "each once", start)
            try:
                options[key.strip()] = literal.parse(value)
            except ValueError as error:
                raise self._error(f"option {key.strip()!r}: {error}", "a value", start) from error
        self.position = end
        self._skip()
        return options

    def _braced(self, start: int) -> tuple[str, int]:
        pieces = literal.split_outside(self.text[start + 1 :], "}")
        if len(pieces) < 2:
            raise self._error("options are not closed", "'}'", start)
        return pieces[0], start + 1 + len(pieces[0]) + 1

    def _take(self, char: str) -> bool:
        self._skip()
        if not self.text.startswith(char, self.position):
            return False
        self.position += 1
        self._skip()
        return True

    def _skip(self) -> None:
        match = self._SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position

    def _at(self, start: int, make: Callable[[], _T]) -> _T:
        try:
            return make()
        except RecipeError as error:
            place = f"recipe, column {start + 1}: {error.found}"
            raise RecipeError(place, error.wanted, error.todo) from error

    def _error(self, found: str, wanted: str, start: int | None = None) -> RecipeError:
        column = (self.position if start is None else start) + 1
        return RecipeError(f"recipe, column {column}: {found}", wanted)
