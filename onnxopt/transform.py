"""What a pass is: a frozen set of options that maps a model to a model and says what it did."""

from __future__ import annotations

import abc
import dataclasses
import enum
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import onnx_ir as ir
from pydantic import ConfigDict, TypeAdapter, ValidationError

from onnxopt import literal
from onnxopt.errors import DataError, RecipeError
from onnxopt.exactness import Exactness
from onnxopt.graph import GraphStats, label
from onnxopt.progress import Progress, no_progress

if TYPE_CHECKING:
    from onnxopt.calibrate import Detail, Statistics
    from onnxopt.data import Dataset
    from onnxopt.metrics import Metric
    from onnxopt.targets import Target

_WORD = "_recipe_word"
_REQUIRED = dataclasses.MISSING
_WORD_START = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"

__all__ = ["Context", "Exactness", "Goal", "Need", "Note", "Pass", "StepResult"]


class Need(enum.Enum):
    """What a pass cannot run without; checked for a whole recipe before its first step."""

    DATA = "calibration data"
    LABELS = "labelled data"
    TEACHER = "the original model"
    TORCH = "the torch extra"
    TARGET = "a target"


@dataclass(frozen=True)
class Note:
    """One thing a pass did, or could not do for a reason the user can act on.

    Attributes:
        kind: ``applied`` or ``refused``.
        node: The node or value concerned, by its name in the model.
        reason: One sentence without the node's name.
        figures: Numbers behind the reason, by name; ``replay`` is the step that does the same
            again without measuring or searching.
    """

    kind: Literal["applied", "refused"]
    node: str
    reason: str
    figures: Mapping[str, float | str] = field(default_factory=dict, compare=False)

    @classmethod
    def applied(cls, node: ir.Node | ir.Value | str, reason: str) -> Self:
        """Something was changed here."""
        return cls("applied", _name_of(node), reason)

    @classmethod
    def refused(cls, node: ir.Node | ir.Value | str, reason: str) -> Self:
        """Something could have been changed here, but for this reason."""
        return cls("refused", _name_of(node), reason)


@dataclass(frozen=True)
class StepResult:
    """What one run of one pass did.

    Attributes:
        step: The pass in its recipe spelling.
        exactness: What the pass promised.
        notes: Its hits and refusals, in order.
        seconds: Wall time of the rewrite.
        before: Size of the model before the step.
        after: Size of the model after the step.
    """

    step: str
    exactness: Exactness
    notes: tuple[Note, ...]
    seconds: float
    before: GraphStats
    after: GraphStats

    @property
    def changed(self) -> bool:
        """Whether any note says that something was applied."""
        return any(note.kind == "applied" for note in self.notes)

    @property
    def applied(self) -> int:
        """Number of hits."""
        return sum(note.kind == "applied" for note in self.notes)

    @property
    def refused(self) -> int:
        """Number of refusals."""
        return len(self.notes) - self.applied

    @property
    def replay(self) -> str:
        """The step that does the same again: itself, or what its search has chosen."""
        found = (note.figures.get("replay") for note in self.notes)
        return str(next((step for step in found if step is not None), self.step))


@dataclass(frozen=True)
class Goal:
    """How much worse a lossy result may be than the original.

    Attributes:
        metric: Of the task; needs labels.
        max_drop: The most the metric may lose, in its own unit; None for any loss.
        max_error: The most the mean relative L2 error of the worst output may be; None for any.
        samples: How many unseen samples the verdict will rest on; None where that is not known.
        cautious: Whether a choice that a few samples spoke for was mistaken once already.
    """

    metric: Metric | None = None
    max_drop: float | None = None
    max_error: float | None = None
    samples: int | None = None
    cautious: bool = False


@dataclass(frozen=True)
class Context:
    """What a pass may look at besides the model.

    Attributes:
        target: The device the model is meant for.
        calibration: Samples for statistics; the final verdict never sees them.
        search: Samples for choices between variants.
        goal: How much worse the result may be; None for a pass's own idea of that.
        teacher: The model as loaded.
        cache: Folder of the content-addressed cache; None caches nothing.
        seed: Of everything random.
        threads: For calibration runs.
        workers: Samples that calibration may run at once.
        progress: Told how far a long step is.
    """

    target: Target | None = None
    calibration: Dataset | None = None
    search: Dataset | None = None
    goal: Goal | None = None
    teacher: ir.Model | None = None
    cache: Path | None = None
    seed: int = 0
    threads: int = 1
    workers: int = 1
    progress: Progress = field(default=no_progress, compare=False)

    def statistics(
        self, model: ir.Model, tensors: Iterable[str], what: Detail | None = None
    ) -> Statistics:
        """Calibrate the model as it stands now on the named tensors (float values).

        Memoised on disk by the content of graph, data and tensor names.

        Args:
            model: As it stands now.
            tensors: Their names.
            what: All that will be asked of them; everything by default, and wherever there is a
                cache, for whoever asks next.

        Raises:
            DataError: There is no calibration data.
        """
        from onnxopt.calibrate import EVERYTHING, collect

        if self.calibration is None:
            raise DataError("there is no calibration data", todo="give some with --data")
        return collect(
            model,
            tuple(tensors),
            self.calibration,
            what=EVERYTHING if what is None or self.cache is not None else what,
            threads=self.threads,
            workers=self.workers,
            cache=self.cache,
            progress=self.progress,
        )

    def has(self, need: Need) -> bool:
        """Whether this context meets a need."""
        match need:
            case Need.DATA:
                return self.calibration is not None
            case Need.LABELS:
                samples = self.calibration
                return samples is not None and all(s.label is not None for s in samples.take([0]))
            case Need.TEACHER:
                return self.teacher is not None
            case Need.TARGET:
                return self.target is not None
            case Need.TORCH:
                return _has_torch()


@dataclass(frozen=True)
class Pass(ir.passes.InPlacePass):
    """A rewrite as a value: its fields are its options, ``str(p)`` is its recipe spelling.

    A concrete pass is a frozen dataclass with a ``rewrite`` method, whose class name in kebab
    case is the recipe word, and whose docstring opens with the equation it applies.
    """

    exactness: ClassVar[Exactness] = Exactness.ROUNDING
    needs: ClassVar[frozenset[Need]] = frozenset()
    looks_for: ClassVar[frozenset[str] | None] = None
    """Ops, spelled as in ``GraphStats.ops``, without one of which it has nothing to do or say; None
    where that depends on more. The pipeline does not run it on a model that has none of them."""
    settles: ClassVar[bool] = False
    """Whether it surely finds nothing in its own result; the pipeline does not ask it again."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @abc.abstractmethod
    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Edit the model in place, giving a note for each hit and each useful refusal."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Run with a default context: the door for onnx_ir's own pass manager."""
        notes = list(self.rewrite(model, Context()))
        changed = any(note.kind == "applied" for note in notes)
        return ir.passes.PassResult(model, modified=changed)

    @classmethod
    def pass_name(cls) -> str:
        """The recipe word: the class name in kebab case."""
        return re.sub(_WORD_START, "-", cls.__name__).lower()

    @property
    def name(self) -> str:
        """The recipe word of this pass; its import path where it was made from one."""
        word: str = vars(self).get(_WORD) or self.pass_name()
        return word

    def imported_as(self, path: str) -> Self:
        """This pass, spelled by the import path it came from; for passes without entry point."""
        copy = dataclasses.replace(self)
        object.__setattr__(copy, _WORD, path)
        return copy

    @classmethod
    def is_concrete(cls, module: ModuleType) -> bool:
        """Whether this is a finished pass, public, and defined in the given module."""
        abstract = bool(cls.__abstractmethods__)
        return cls.__module__ == module.__name__ and not abstract and cls.__name__[0] != "_"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build the pass from option names and values, validated by their types.

        Raises:
            RecipeError: An option is unknown or its value has the wrong type.
        """
        keys = {key.replace("-", "_"): value for key, value in options.items()}
        if not keys and all(default_of(f) is not _REQUIRED for f in dataclasses.fields(cls)):
            return cls()
        try:
            return TypeAdapter(cls).validate_json(json.dumps(keys), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "options"
            raise RecipeError(
                f"{cls.pass_name()}: option {where!r}: {first['msg'].lower()}",
                wanted=cls.options_help() or "no options at all",
            ) from error

    @classmethod
    def options_help(cls) -> str:
        """The options with their defaults, as one line."""
        return ", ".join(
            f.name
            if (default := default_of(f)) is _REQUIRED
            else f"{f.name}={literal.spell(default)}"
            for f in dataclasses.fields(cls)
        )

    def changed_options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        fields = dataclasses.fields(self)
        pairs = ((f.name, getattr(self, f.name), default_of(f)) for f in fields)
        return {name: value for name, value, default in pairs if value != default}

    def __str__(self) -> str:
        options = self.changed_options()
        if not options:
            return self.name
        inner = ", ".join(f"{key}={literal.spell(value)}" for key, value in options.items())
        return f"{self.name}{{{inner}}}"


def default_of(field: dataclasses.Field[Any]) -> Any:
    """What an option is where it is not given; ``dataclasses.MISSING`` where it has to be."""
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _name_of(thing: ir.Node | ir.Value | str) -> str:
    if isinstance(thing, str):
        return thing
    return label(thing) if isinstance(thing, ir.Node) else thing.name or ""


def _has_torch() -> bool:
    import importlib.util

    return importlib.util.find_spec("torch") is not None
