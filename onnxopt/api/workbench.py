"""What every verb that rewrites starts from: the model, the target and the data, opened once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from onnxopt import store
from onnxopt.api.options import RunOptions
from onnxopt.api.stateful import split_with_state, spread
from onnxopt.comparing import Filed, workable_inputs
from onnxopt.data import Dataset, Split, split
from onnxopt.errors import BackendMissingError
from onnxopt.recipe import Recipe
from onnxopt.runtime import Layout, Precision, SessionConfig, check_config, usable_cores
from onnxopt.signature import Signature, signature_of
from onnxopt.targets import Target, load_target
from onnxopt.transform import Context

DataSource = str | Dataset | Split
"""A data spec, an opened data set (both are split), or parts that the caller split."""

SPLIT = (0.4, 0.1, 0.5)
"""Shares of calibration, search and test where one data set is given for all."""

_TIMED_SAMPLES = 4
_FREEZE = "freeze-default-inputs"


_MOST_WORKERS = 4
"""Samples calibrated at once: each takes the memory of a run."""


@dataclass(frozen=True, eq=False)
class Workbench:
    """A model on its way through passes.

    Attributes:
        model: As loaded; never edited.
        specialized: The same with the sizes and input values built in that the options ask for;
            data fits this one.
        origin: Its file name, or ``memory``.
        target: The device.
        data: Its parts; None without data.
        context: What passes may look at.
        options: How the verb runs.
        file: Where the model was read from; None where it came in memory or as text.
    """

    model: ir.Model
    specialized: ir.Model
    origin: str
    target: Target
    data: Split | None
    context: Context
    options: RunOptions
    file: Path | None = None

    @classmethod
    def open(cls, source: store.Source, data: DataSource | None, options: RunOptions) -> Workbench:
        """Load the model and target, open and split the data.

        Raises:
            ModelError: The model cannot be used.
            DataError: The data cannot be used.
            UsageError: The target is unknown.
        """
        model = store.load(source)
        target = usable_target(options)
        specialized = options.specialize.applied_to(model)
        parts = _parts(data, specialized, options)
        context = Context(
            target=target,
            calibration=parts.calibration if parts else None,
            search=parts.search if parts else None,
            teacher=model,
            cache=options.cache,
            seed=options.seed,
            threads=options.threads,
            workers=min(usable_cores(), _MOST_WORKERS),
            progress=options.progress,
        )
        origin, file = _origin(source), _file(source)
        return cls(model, specialized, origin, target, parts, context, options, file)

    @property
    def session(self) -> SessionConfig:
        """How models run on the target, with the asked number of threads."""
        settings = self.target.session
        return SessionConfig(
            provider=self.target.provider,
            threads=self.options.threads,
            precision=settings.precision,
            layout=settings.layouts[0],
            optimization=settings.optimization,
        )

    def at(self, *, precision: Precision | None = None, layout: Layout | None = None) -> Workbench:
        """The bench with another precision or one layout in force on its target, for passes too."""
        settings = self.target.session
        changed = {
            "precision": settings.precision if precision is None else precision,
            "layouts": settings.layouts if layout is None else (layout,),
        }
        session = settings.model_copy(update=changed)
        target = self.target.model_copy(update={"session": session})
        return replace(self, target=target, context=replace(self.context, target=target))

    @property
    def exact(self) -> Recipe:
        """What is built in, and the target's exact recipe: where quantization starts from."""
        recipe = self.options.specialize.recipe.then(self.recipe(self.target.exact_recipe))
        return recipe.then(self.options.specialize.declaring(self.specialized))

    @property
    def exact_float(self) -> Recipe:
        """The same with what only float kernels like: for models that stay in float."""
        return self.exact.then(Recipe.parse(self.target.float_recipe))

    def recipe(self, recipe: str | Recipe) -> Recipe:
        """A recipe out of its text, without what the options rule out."""
        if not isinstance(recipe, Recipe):
            recipe = Recipe.parse(recipe, allow_foreign=self.options.allow_foreign)
        return recipe.without(_FREEZE) if self.options.keep_default_inputs else recipe

    def filed(self, model: ir.Model) -> ir.Model | Filed:
        """A model with its file, where it is the one that was opened from a file."""
        return Filed(model, self.file) if self.file and model is self.model else model

    def some_feeds(self, count: int = _TIMED_SAMPLES) -> list[Mapping[str, Any]]:
        """A few feeds for timing: of the test data, else made up in sizes the model takes."""
        if self.data is not None and len(self.data.test):
            return [sample.feeds for sample in spread(self.data.test, count)]
        options = self.options
        dims, seed = options.dims, options.seed
        filed = self.filed(self.specialized)
        made = workable_inputs(filed, dims=dims, seed=seed, samples=count)
        return [sample.feeds for sample in made]


def open_data(data: str | Dataset, signature: Signature, options: RunOptions) -> Dataset:
    """Open a data spec for a signature; an opened data set is returned as it is.

    With state these are steps without it; see ``with_state``.
    """
    if not isinstance(data, str):
        return data
    from onnxopt.data import open_dataset  # all readers of files: only for those who have some

    asked = replace(options.reading, seed=options.seed, dims=options.dims)
    return open_dataset(data, signature, asked)


def runnable(source: store.Source) -> Path | ir.Model:
    """A model as the runtime takes it: its file where it has one."""
    return Path(source) if isinstance(source, str | Path) else store.load(source)


def held_out(
    model: store.Source, calibration: str, test: str | None, options: RunOptions
) -> DataSource:
    """Data for a verb out of two specs: both opened, or the first to be split if it is alone."""
    if test is None:
        return calibration
    signature = signature_of(options.specialize.applied_to(store.load(model)))
    samples = open_data(calibration, signature, options)
    return Split(samples, samples.take([]), open_data(test, signature, options))


def usable_target(options: RunOptions) -> Target:
    """The target asked for, or the one it falls back to where this machine lacks its precision.

    Raises:
        UsageError: The target is unknown.
    """
    target = load_target(options.target)
    if not target.fallback:
        return target
    provider, precision = target.provider, target.session.precision
    try:
        check_config(SessionConfig(provider, threads=options.threads, precision=precision))
    except BackendMissingError:
        return load_target(target.fallback)
    return target


def _parts(data: DataSource | None, model: ir.Model, options: RunOptions) -> Split | None:
    if data is None:
        return None
    if not isinstance(data, Split):
        data = split(open_data(data, signature_of(model), options), options.seed, SPLIT)
    return split_with_state(data, model, options)


def _file(source: store.Source) -> Path | None:
    """A binary model file, as ONNX Runtime takes it."""
    path = Path(source) if isinstance(source, str | Path) else None
    return None if path is None or path.suffix == store.TEXT_SUFFIX else path


def _origin(source: store.Source) -> str:
    if isinstance(source, str | Path):
        return Path(source).name
    if isinstance(source, onnx.ModelProto | ir.Model):
        return source.graph.name or "memory"
    return "memory"
