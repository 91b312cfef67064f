"""The task magika: tell a file's type from its bytes."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError
from onnxopt.progress import Progress
from onnxopt_models.fetch import fetch_all
from onnxopt_models.tasks.archives import members, sources
from onnxopt_models.tasks.folder import Arrays, build_folder
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.task import Request, Task
from onnxopt_models.tasks.text_sources import describe

MODEL = "magika"
REVISION = 1
ARCHIVES = tuple(
    f"source-{name}"
    for name in (
        "ansible-core",
        "bokeh",
        "cmake",
        "django",
        "googleapis-common-protos",
        "jupyterlab",
        "keras",
        "nltk",
        "sphinx",
        "sympy",
    )
)
TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".bat": "batch",
        ".cmake": "cmake",
        ".cs": "cs",
        ".css": "css",
        ".csv": "csv",
        ".gif": "gif",
        ".html": "html",
        ".ini": "ini",
        ".j2": "jinja",
        ".js": "javascript",
        ".json": "json",
        ".md": "markdown",
        ".png": "png",
        ".po": "po",
        ".proto": "proto",
        ".ps1": "powershell",
        ".psm1": "powershell",
        ".py": "python",
        ".rst": "rst",
        ".sh": "shell",
        ".svg": "svg",
        ".toml": "toml",
        ".ts": "typescript",
        ".ttf": "ttf",
        ".txt": "txt",
        ".woff": "woff",
        ".woff2": "woff2",
        ".yaml": "yaml",
        ".yml": "yaml",
    }
)
LEAST_BYTES = 64
MOST_OF_A_TYPE = 600
BEGIN = END = 1024
BLOCK = 4096
PADDING = 256
CUT_SHARE = 0.35
LEAST_CUT, MOST_CUT = 48, 400


def feed(content: bytes) -> Arrays:
    """The model's input as magika makes it: the first and the last 1024 bytes without white space.

    They are taken from the first and last 4096 bytes; 256 fills what is missing, at the end of
    the first and at the start of the last.
    """
    first, last = content[:BLOCK].lstrip()[:BEGIN], content[-BLOCK:].rstrip()[-END:]
    row: npt.NDArray[np.int32] = np.full(BEGIN + END, PADDING, np.int32)
    row[: len(first)] = np.frombuffer(first, np.uint8)
    row[len(row) - len(last) :] = np.frombuffer(last, np.uint8)
    return {"bytes": row[None]}


@functools.cache
def labels(config: Path) -> tuple[str, ...]:
    """What each class stands for, from the configuration beside the model."""
    return tuple(json.loads(config.read_text(encoding="utf-8"))["target_labels_space"])


def collect(wheels: Iterable[tuple[str, Path]], request: Request) -> list[tuple[str, bytes]]:
    """Type and content of different files of the split, a type's share capped, shuffled by seed.

    Raises:
        DataError: There are not that many.
    """
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for _, path in wheels:
        for name, content in members(path, tuple(TYPES), LEAST_BYTES):
            key = hashlib.sha256(content).hexdigest()
            if is_in(content, request.split):
                found[TYPES[Path(name).suffix.lower()]].setdefault(key, content)
    rows = []
    for kind in sorted(found):
        keys = sorted(found[kind])[:MOST_OF_A_TYPE]
        rows += [(kind, found[kind][key]) for key in keys]
    if len(rows) < request.samples:
        raise DataError(
            f"the sources hold {len(rows)} files of split {request.split}",
            wanted=f"at most {len(rows)} samples",
        )
    order = np.random.default_rng([request.seed, 9]).permutation(len(rows))
    return [rows[index] for index in order[: request.samples]]


def samples(
    files: Iterable[tuple[str, bytes]], classes: tuple[str, ...], request: Request
) -> Iterator[Arrays]:
    """Feeds and classes; a third of the text files are cut to a fragment, so that it is hard."""
    for index, (kind, content) in enumerate(files):
        rng = np.random.default_rng([request.seed, 10, index])
        part = fragment(content, rng) if rng.random() < CUT_SHARE else content
        yield {**feed(part), "labels": np.array(classes.index(kind))}


def fragment(content: bytes, rng: np.random.Generator) -> bytes:
    """Whole lines from somewhere in a text; other files stay as they are."""
    if b"\0" in content or not content.isascii():
        return content
    size = int(rng.integers(LEAST_CUT, MOST_CUT))
    start = int(rng.integers(max(1, len(content) - size)))
    begin = content.rfind(b"\n", 0, start) + 1
    end = content.find(b"\n", begin + size)
    return content[begin : len(content) if end < 0 else end]


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples; see ``Task.build``."""
    description = describe(
        MODEL, REVISION, request, metrics=("top1",), sources=ARCHIVES, packages=("numpy",)
    )

    def made() -> Iterator[Arrays]:
        classes = labels(fetch_all(MODEL, cache_dir, progress)[1])
        yield from samples(
            collect(sources(ARCHIVES, cache_dir, progress), request), classes, request
        )

    return build_folder(cache_dir, description, made(), progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="top1",
    description="files of 27 types from ten wheels by their extension, a third of them fragments",
    builder=build,
)
