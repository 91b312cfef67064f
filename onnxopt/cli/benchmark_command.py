"""``onnxopt benchmark``: models timed side by side, or profiled node by node."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from onnxopt.cli.options import dim_option, run_options
from onnxopt.cli.reading import with_reading
from onnxopt.cli.settings import RUNS, Settings, with_settings
from onnxopt.errors import UsageError

if TYPE_CHECKING:
    from onnxopt.data import DataOptions
    from onnxopt.runtime import Layout, Precision, SessionConfig
    from onnxopt.timing import BenchmarkResult

_ONLY_WITHOUT_PROFILE = ("rounds", "within", "max_rounds", "warmup")
_ONLY_WITH_PROFILE = ("top",)


@dataclass(frozen=True)
class Request:
    """What the options ask for; a field an option."""

    models: tuple[Path, ...]
    provider: str
    precision: Precision
    layout: Layout
    data: str | None
    samples: int
    batch: int
    rounds: int
    within: str | None
    max_rounds: int
    warmup: int
    io_binding: bool
    cuda_graph: bool
    profile: bool
    top: int
    dims: tuple[str, ...]
    reading: DataOptions


def _as_request(function: Callable[[Settings, Request], None]) -> Callable[..., None]:
    """Give the command its options as one value."""

    @functools.wraps(function)
    def wrapper(settings: Settings, **values: Any) -> None:
        function(settings, Request(**values))

    return wrapper


@click.command("benchmark")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--provider", default="cpu", show_default=True, help="Execution provider.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Arithmetic of the provider for fp32 models.",
)
@click.option(
    "--layout",
    type=click.Choice(["nchw", "nhwc"]),
    default="nchw",
    show_default=True,
    help="How the provider lays out convolutions.",
)
@click.option("--data", help="Samples to run; made up by default.")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Different inputs that take turns.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Items in one run, for models whose first axis is open.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=2),
    default=12,
    show_default=True,
    help="Turns of each model; with --within, the least.",
)
@click.option(
    "--within",
    metavar="PERCENT",
    help="Go on until the interval of each ratio (of one model: of its time) is at most this far "
    "to each side, such as 3%.",
)
@click.option(
    "--max-rounds",
    type=click.IntRange(min=2),
    default=200,
    show_default=True,
    help="Where --within gives up.",
)
@click.option(
    "--warmup",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Least number of runs before the first turn; more until the time is steady.",
)
@click.option("--io-binding", is_flag=True, help="Keep inputs and outputs in the device's memory.")
@click.option(
    "--cuda-graph", is_flag=True, help="Replay the kernels as one CUDA graph (with --io-binding)."
)
@click.option("--profile", is_flag=True, help="Time by node, operator and kind, model by model.")
@click.option(
    "--top", type=click.IntRange(min=1), default=15, show_default=True, help="Rows of --profile."
)
@dim_option
@with_settings(*RUNS)
@with_reading
@_as_request
def command(settings: Settings, request: Request) -> None:
    """Time MODELS, interleaved, each in a process of its own; ratios are over the first.

    With --profile, say instead where the time of each model goes, in the graph as ONNX Runtime
    optimised it.
    """
    from onnxopt.runtime import SessionConfig

    session = SessionConfig(
        request.provider,
        settings.threads,
        request.precision,
        request.layout,
        io_binding=request.io_binding,
        cuda_graph=request.cuda_graph,
    )
    _check_options(request)
    if request.profile:
        _profile(settings, request, session)
    else:
        _benchmark(settings, request, session)


def _benchmark(settings: Settings, request: Request, session: SessionConfig) -> None:
    from onnxopt import api
    from onnxopt.api.timing import benchmark_sizes
    from onnxopt.cli.watch import watching
    from onnxopt.timing import BenchmarkConfig

    config = BenchmarkConfig(
        session=session,
        rounds=request.rounds,
        within=_fraction(request.within),
        most_rounds=request.max_rounds,
        warmup_runs=request.warmup,
        batch=request.batch,
        seed=settings.seed,
    )
    with watching(settings, f"timing {len(request.models)} model(s)") as watch:
        options = run_options(settings, watch.progress, dims=request.dims, reading=request.reading)
        if not any(isinstance(size, tuple) for size in options.dims.values()):
            found = api.benchmark(
                request.models,
                data=request.data,
                config=config,
                samples=request.samples,
                options=options,
            )
            by_size = None
        elif request.data is not None:
            raise UsageError("--dim with several sizes next to --data", "the sizes of the data")
        else:
            by_size = benchmark_sizes(
                request.models, config=config, samples=request.samples, options=options
            )
    if by_size is None:
        _show(settings, found)
        settings.emit(asdict(found))
        return
    for sizes, at_size in by_size:
        settings.say(", ".join(f"{name}={size}" for name, size in sizes.items()))
        _show(settings, at_size)
    settings.emit([{"dims": dict(sizes), **asdict(at_size)} for sizes, at_size in by_size])


def _show(settings: Settings, found: BenchmarkResult) -> None:
    from onnxopt.cli.timing_tables import benchmark_lines, benchmark_table, benchmark_warnings

    settings.console.print(benchmark_table(found))
    for line in benchmark_lines(found):
        settings.say(line)
    for warning in benchmark_warnings(found):
        settings.warn(warning)


def _profile(settings: Settings, request: Request, session: SessionConfig) -> None:
    from onnxopt.api.timing import profile
    from onnxopt.cli.timing_tables import profile_lines, profile_tables
    from onnxopt.cli.watch import watching
    from onnxopt.timing import ProfileConfig

    profiles = []
    for model in request.models:
        with watching(settings, f"profiling {model.name}") as watch:
            found = profile(
                model,
                data=request.data,
                config=ProfileConfig(session=session),
                samples=request.samples,
                batch=request.batch,
                options=run_options(
                    settings, watch.progress, dims=request.dims, reading=request.reading
                ),
            )
        profiles.append(asdict(found))
        for line in profile_lines(found):
            settings.say(line)
        for part in profile_tables(found, request.top):
            settings.console.print(part)
        for note in found.notes:
            settings.warn(note)
    settings.emit({"profiles": profiles})


def _check_options(request: Request) -> None:
    """Refuse options that would be without effect."""
    context = click.get_current_context()
    without_effect = _ONLY_WITHOUT_PROFILE if request.profile else _ONLY_WITH_PROFILE
    for name in (*without_effect, *([] if request.within else ["max_rounds"])):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            partner = "--within" if name == "max_rounds" and not request.profile else "--profile"
            clash = "with" if request.profile else "without"
            raise UsageError(f"{option} does nothing {clash} {partner}")


def _fraction(text: str | None) -> float | None:
    """``3%`` or ``0.03``.

    Raises:
        UsageError: It is no number.
    """
    if text is None:
        return None
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise UsageError(f"--within {text!r}", "a percentage such as 3%") from error
