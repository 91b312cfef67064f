"""The task digits: name a handwritten digit; the pictures ship beside the embedded model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from onnxopt.errors import DataError
from onnxopt.progress import Progress
from onnxopt_models.digits import CALIBRATION, TEST
from onnxopt_models.tasks.folder import Arrays, Description, build_folder
from onnxopt_models.tasks.task import Request, Split, Task

MODEL = "digits"
FILES: Mapping[Split, tuple[Path, ...]] = MappingProxyType(
    {
        "all": (TEST,),
        "calibration": (CALIBRATION,),
        "search": (CALIBRATION,),
        "test": (TEST,),
    }
)
"""Calibration and search share their few pictures; ``all`` leaves them out, as they come from
writers that the model was trained on."""


def samples(request: Request) -> Iterator[Arrays]:
    """Pictures of the split in an order by seed, none of them twice.

    Raises:
        DataError: There are not that many.
    """
    tables = [np.load(path, allow_pickle=False) for path in FILES[request.split]]
    pictures = np.concatenate([table["image"] for table in tables])
    labels = np.concatenate([table["labels"] for table in tables])
    if request.samples > len(labels):
        raise DataError(
            f"{len(labels)} pictures in split {request.split}",
            wanted=f"at most {len(labels)} samples",
        )
    order = np.random.default_rng([request.seed, 12]).permutation(len(labels))
    for index in order[: request.samples]:
        yield {"image": pictures[index : index + 1], "labels": labels[index]}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    sources = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES[request.split]
    }
    parameters = {"seed": request.seed, "split": request.split, "sources": sources}
    description = Description(MODEL, request.samples, parameters, {"metrics": ("top1",)})
    return build_folder(cache_dir, description, samples(request), progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="top1",
    description="handwritten digits of 32 x 32 from forms that the model was not trained on",
    builder=build,
)
