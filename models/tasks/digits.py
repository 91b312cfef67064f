"""The task digits: name a handwritten digit; the originals ship beside the embedded model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from onnxopt.errors import DataError
from onnxopt.progress import Progress
from onnxopt_models.digits import CALIBRATION, TEST
from onnxopt_models.tasks.distortion import distorted
from onnxopt_models.tasks.folder import Arrays, Description, build_folder
from onnxopt_models.tasks.task import Request, Split, Task

MODEL = "digits"
REVISION = 2
VARIANTS: Mapping[Split, int] = MappingProxyType(
    {"all": 8, "calibration": 64, "search": 64, "test": 8}
)
"""Pictures of one original: few where a score is taken, many to learn from."""
PARTS: Mapping[Split, tuple[Path, slice]] = MappingProxyType(
    {
        "all": (TEST, slice(None)),
        "calibration": (CALIBRATION, slice(0, None, 2)),
        "search": (CALIBRATION, slice(1, None, 2)),
        "test": (TEST, slice(None)),
    }
)
"""Where the originals of a part lie, and which of the file's they are. ``all`` leaves out those
of calibration and search, as they come from writers that the model was trained on."""


def samples(request: Request) -> Iterator[Arrays]:
    """Distorted pictures of the part's originals in an order by seed.

    Every original is used once before one is used again; the model does too well on the originals
    themselves for a change to show.

    Raises:
        DataError: There are not that many.
    """
    path, chosen = PARTS[request.split]
    with np.load(path, allow_pickle=False) as table:
        pictures, labels = table["image"][chosen], table["labels"][chosen]
    variants = VARIANTS[request.split]
    if request.samples > variants * len(labels):
        raise DataError(
            f"{len(labels)} originals in split {request.split}, {variants} pictures of each",
            wanted=f"at most {variants * len(labels)} samples",
        )
    order = np.random.default_rng([request.seed, 12]).permutation(len(labels))
    for number in range(request.samples):
        at = order[number % len(order)]
        look = np.random.default_rng([request.seed, 13, number])
        yield {"image": distorted(pictures[at, 0], look)[None, None], "labels": labels[at]}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    path, _ = PARTS[request.split]
    parameters = {
        "revision": REVISION,
        "seed": request.seed,
        "split": request.split,
        "sources": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        "versions": {"numpy": np.__version__},
    }
    description = Description(MODEL, request.samples, parameters, {"metrics": ("top1",)})
    return build_folder(cache_dir, description, samples(request), progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="top1",
    description="handwritten digits of 32 x 32 from forms that the model was not trained on, "
    "turned, scaled, shifted and noisy",
    builder=build,
)
