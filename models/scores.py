"""The measured scores of the catalog's models, read from ``scores.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onnxopt.errors import DataError
from onnxopt_models.tasks import Split


class MeasuredScore(BaseModel):
    """What a catalog model got on its task.

    Attributes:
        task: The task's name.
        metric: What was measured.
        score: Over all samples.
        low: Lower end of the 95 % interval.
        high: Its upper end.
        samples: How many.
        split: Which part of the source items.
        seed: Of the samples.
        dataset: Fingerprint of the samples.
        runtime: Provider and version of ONNX Runtime.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    metric: str
    score: float
    low: float
    high: float
    samples: Annotated[int, Field(gt=0)]
    split: Split
    seed: int
    dataset: str
    runtime: str


def load_scores(path: Path | None = None) -> tuple[MeasuredScore, ...]:
    """The scores that ship with this package, or those in another file; none where it is missing.

    Raises:
        DataError: The file is no list of scores.
    """
    file = path or Path(__file__).parent / "scores.toml"
    if not file.is_file():
        return ()
    try:
        rows = tomllib.loads(file.read_text(encoding="utf-8")).get("score", [])
        return tuple(MeasuredScore.model_validate(row) for row in rows)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise DataError(f"{file} is no list of scores: {str(error).splitlines()[0]}") from error
