"""Job files: the same steps as by hand, from one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onnxopt.api.delivering import DeliverPlan, Delivery, default_plan, deliver
from onnxopt.api.exporting import ExportResult
from onnxopt.api.job_source import JobSource, located, open_job_source
from onnxopt.api.optimizing import OptimizeResult, optimize
from onnxopt.api.options import Budget, RunOptions
from onnxopt.api.quantizing import QuantizeResult, quantize
from onnxopt.api.specializing import Specialization
from onnxopt.api.workbench import DataSource, held_out
from onnxopt.data import DataOptions
from onnxopt.deploy import check_destination
from onnxopt.errors import UsageError
from onnxopt.pipeline import Observer
from onnxopt.recipe import Recipe

RecipeSpec = str | list[dict[str, Any]]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobData(_Table):
    """``samples`` is split; or ``calibration`` and ``test`` are given apart.

    The others are those of ``DataOptions``.
    """

    samples: str | None = None
    calibration: str | None = None
    test: str | None = None
    labels: str = DataOptions.labels
    items: str | None = None
    state: dict[str, str] = {}
    limit: int | None = Field(default=None, ge=1)
    preprocess: str | None = None
    tokenizer: str | None = None
    max_length: int | None = Field(default=None, ge=1)


class JobBudget(_Table):
    """See ``Budget``."""

    metric: str | None = None
    max_drop: float | None = Field(default=None, ge=0)
    max_error: float | None = Field(default=None, ge=0)
    accept_undecided: bool = False


class JobTarget(_Table):
    """The device and how many threads to use on it."""

    name: str = "auto"
    threads: int = Field(default=1, ge=1)


class JobSpecialization(_Table):
    """See ``Specialization``."""

    dims: dict[str, int] = {}
    inputs: dict[str, Any] = {}
    keep_inputs: bool = False


class JobOutput(_Table):
    """What to write: a model, a bundle, or both."""

    model: str | None = None
    bundle: str | None = None
    force: bool = False


class JobFile(_Table):
    """A job as its TOML file says it; paths are relative to the file.

    Attributes:
        source: The model: an ONNX file, or anything that ``export`` takes; a table where there
            is more to say than its name.
        data: Samples.
        budget: How much worse the result may be.
        target: The device.
        recipe: For ``output.model``: what to do, as text or as a list of tables; the target's
            exact recipe by default. A lossy recipe runs after the exact one.
        candidates: For ``output.bundle``: name → steps that follow the exact recipe; static int8 by
            default.
        output: What to write.
        seed: Of everything random.
        measure: Whether ``output.model`` is also timed and only kept where it is faster.
        dims: Sizes of dynamic dimensions for made-up inputs.
        specialize: Sizes and input values to build in.
        keep_default_inputs: Whether callers may still feed inputs that have a default.
    """

    source: str | JobSource
    data: JobData = JobData()
    budget: JobBudget = JobBudget()
    target: JobTarget = JobTarget()
    recipe: RecipeSpec | None = None
    candidates: dict[str, RecipeSpec] = {}
    output: JobOutput
    seed: int = 0
    measure: bool = False
    dims: dict[str, int | tuple[int, ...]] = {}
    specialize: JobSpecialization = JobSpecialization()
    keep_default_inputs: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """A job ready to run: its file and the folder its paths start from."""

    file: JobFile
    folder: Path


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job made: a model, a bundle, or both; and the export it began with, if any."""

    model: OptimizeResult | QuantizeResult | None
    bundle: Delivery | None
    exported: ExportResult | None = None

    def to_json(self) -> dict[str, Any]:
        """The results as plain values."""
        return {
            "source": self.exported.to_json() if self.exported else None,
            "model": self.model.to_json() if self.model else None,
            "bundle": self.bundle.to_json() if self.bundle else None,
        }


def load_job(path: Path | str) -> Job:
    """Read a job file.

    Raises:
        UsageError: It is missing, no TOML, or says something unknown.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no job file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", "a TOML file") from error
    try:
        job = JobFile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {where}: {first['msg'].lower()}") from error
    if job.output.model is None and job.output.bundle is None:
        raise UsageError(f"{path}: nothing to write", "output.model or output.bundle")
    return Job(job, path.parent)


def run_job(
    job: Job, *, options: RunOptions | None = None, observer: Observer | None = None
) -> JobResult:
    """Do what a job says; see ``optimize``, ``quantize`` and ``deliver`` for what is raised."""
    _check(job)
    file = job.file
    options = replace(
        options or RunOptions(),
        target=_target(job),
        threads=file.target.threads,
        seed=file.seed,
        measure=file.measure,
        dims=file.dims,
        specialize=Specialization(**file.specialize.model_dump()),
        keep_default_inputs=file.keep_default_inputs,
        allow_foreign=True,
        reading=_reading(job),
    )
    source, exported = open_job_source(file.source, job.folder, options)
    data = _data(job, source, options)
    budget = Budget(**file.budget.model_dump())
    made = _model(job, source, data, budget, options, observer) if file.output.model else None
    bundle = None
    if file.output.bundle is not None and data is not None:
        bundle = deliver(
            source,
            job.folder / file.output.bundle,
            data=data,
            budget=budget,
            plan=_plan(job),
            options=options,
            observer=observer,
            force=file.output.force,
        )
    return JobResult(made, bundle, ExportResult(exported, None, None) if exported else None)


def _model(
    job: Job,
    source: Path | ir.Model,
    data: DataSource | None,
    budget: Budget,
    options: RunOptions,
    observer: Observer | None,
) -> OptimizeResult | QuantizeResult:
    file = job.file
    output = job.folder / str(file.output.model)
    recipe = None if file.recipe is None else _recipe(file.recipe)
    if recipe is None or recipe.exactness.is_exact or data is None:
        return optimize(
            source, output, recipe=recipe, data=data, options=options, observer=observer
        )
    return quantize(
        source,
        output,
        data=data,
        recipe=recipe,
        budget=budget,
        options=options,
        observer=observer,
    )


def _plan(job: Job) -> DeliverPlan:
    plan = default_plan()
    if not job.file.candidates:
        return plan
    return replace(plan, recipes={name: _recipe(r) for name, r in job.file.candidates.items()})


def _recipe(spec: RecipeSpec) -> Recipe:
    if isinstance(spec, str):
        return Recipe.parse(spec, allow_foreign=True)
    return Recipe.from_toml(spec, allow_foreign=True)


def _target(job: Job) -> str:
    name = job.file.target.name
    return str(job.folder / name) if name.endswith(".toml") else name


def _data(job: Job, source: Path | ir.Model, options: RunOptions) -> DataSource | None:
    data = job.file.data
    if data.samples is not None and (data.calibration or data.test):
        raise UsageError("data.samples next to calibration or test", "one or the other")
    if data.samples is not None:
        return _spec(job, data.samples)
    if data.calibration is None and data.test is None:
        return None
    if data.calibration is None or data.test is None:
        raise UsageError("only one of data.calibration and data.test", "both, or data.samples")
    return held_out(source, _spec(job, data.calibration), _spec(job, data.test), options)


def _reading(job: Job) -> DataOptions:
    data = job.file.data
    preprocess = data.preprocess
    if preprocess is not None and preprocess.endswith(".toml"):
        preprocess = str(job.folder / preprocess)
    return DataOptions(
        labels=data.labels,
        items=data.items,
        state=data.state,
        limit=data.limit,
        preprocess=preprocess,
        tokenizer=job.folder / data.tokenizer if data.tokenizer else None,
        max_length=data.max_length,
    )


def _spec(job: Job, spec: str) -> str:
    return located(spec, job.folder)


def _check(job: Job) -> None:
    """Find what is wrong before anything is written.

    Raises:
        UsageError: A section would be ignored, data is missing, or an output is in the way.
    """
    file, output = job.file, job.file.output
    lossy = file.recipe is not None and not _recipe(file.recipe).exactness.is_exact
    for recipe in file.candidates.values():
        _recipe(recipe)
    has_data = file.data != JobData()
    if output.model is None and file.recipe is not None:
        raise UsageError("recipe without output.model", "candidates for a bundle")
    if output.bundle is None and file.candidates:
        raise UsageError("candidates without output.bundle", "a bundle to put the best into")
    if file.budget != JobBudget() and output.bundle is None and not lossy:
        raise UsageError("a budget for an exact recipe", "none, its result computes the same")
    if not has_data and (output.bundle is not None or lossy):
        raise UsageError("there is no data to calibrate and compare with", "data.samples")
    if output.model is not None and (job.folder / output.model).exists() and not output.force:
        raise UsageError(f"{job.folder / output.model} exists", todo="output.force replaces it")
    if output.bundle is not None:
        check_destination(job.folder / output.bundle, force=output.force)
