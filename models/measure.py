"""Measures the catalog's models on their tasks: ``python -m onnxopt_models.measure``.

Scores are written to ``scores.toml`` beside this file, and nowhere by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from onnxopt.errors import OnnxoptError
from onnxopt.literal import spell
from onnxopt_models.scores import MeasuredScore, load_scores
from onnxopt_models.scoring import SampleChoice, TaskScore, score
from onnxopt_models.tasks import TASKS

SCORES = Path(__file__).parent / "scores.toml"
SAMPLES: Mapping[str, int] = MappingProxyType(
    {
        "captcha": 4000,
        "chars2vec": 4000,
        "ddddocr": 4000,
        "ddddocr-int8": 4000,
        "digits": 4080,
        "effnet-lite0": 3936,
        "magika": 4000,
        "minilm-l3": 4200,
        "mlp": 2336,
        "orientation": 4000,
        "pp-ocr-cls": 5000,
        "pp-ocr-det": 320,
        "pp-ocr-rec": 4000,
        "recommender": 2393,
        "silero-vad": 10000,
    }
)
"""As many as take a few minutes each on one thread."""

_HEAD = "# Written by `python -m onnxopt_models.measure`; scores of the catalog's own models.\n"


def measured(found: TaskScore, runtime: str) -> MeasuredScore:
    """The row of a score."""
    interval = found.score
    return MeasuredScore(
        task=found.task,
        metric=found.metric,
        score=round(interval.mean, 4),
        low=round(interval.low, 4),
        high=round(interval.high, 4),
        samples=interval.samples,
        split=found.split,
        seed=found.seed,
        dataset=found.dataset,
        runtime=runtime,
    )


def to_toml(rows: Iterable[MeasuredScore]) -> str:
    """The content of ``scores.toml``, by name of the task."""
    text = [_HEAD]
    for row in sorted(rows, key=lambda row: row.task):
        fields = (f"{key} = {_value(value)}\n" for key, value in row.model_dump().items())
        text.append("\n[[score]]\n" + "".join(fields))
    return "".join(text)


def _value(value: object) -> str:
    return "'" + value + "'" if isinstance(value, str) else spell(value)


def measure(
    names: Iterable[str], cache_dir: Path | None, samples: int | None
) -> Iterable[MeasuredScore | OnnxoptError]:
    """Score one task after the other; a task that cannot be made gives its error."""
    for name in names:
        choice = SampleChoice(samples or SAMPLES[name], split="all")
        try:
            found = score(name, choice=choice, cache_dir=cache_dir)
            yield measured(found, f"{found.run.provider} {found.run.runtime_version}")
        except OnnxoptError as error:
            yield _named(error, name)


def _named(error: OnnxoptError, name: str) -> OnnxoptError:
    """The same error with the task's name before it."""
    return type(error)(f"{name}: {error.found}", error.wanted, error.todo)


def main(arguments: list[str] | None = None) -> int:
    """Measure the named tasks, or all, and bring ``scores.toml`` up to date."""
    parser = argparse.ArgumentParser(prog="onnxopt_models.measure")
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    parser.add_argument("--cache", type=Path, help="where models and samples are kept")
    parser.add_argument("--samples", type=int, help="of each task; for a quick look")
    parser.add_argument("--output", type=Path, default=SCORES)
    asked = parser.parse_args(arguments)
    failures = 0
    for found in measure(asked.tasks or [task.name for task in TASKS], asked.cache, asked.samples):
        if isinstance(found, OnnxoptError):
            failures += 1
            sys.stderr.write(f"not measured: {found}\n")
            continue
        rows = {row.task: row for row in load_scores(asked.output)} | {found.task: found}
        asked.output.write_text(to_toml(rows.values()), encoding="utf-8")
        sys.stderr.write(f"{found.task} {found.metric} {found.score} n={found.samples}\n")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
