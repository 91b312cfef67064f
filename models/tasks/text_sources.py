"""What rendered text is made of: a pinned word list, cut into parts that share no word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from onnxopt.errors import DataError
from onnxopt_models.catalog import Archive, Asset, ZooModel, load_catalog
from onnxopt_models.debian import DebianPackage
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks.folder import Description
from onnxopt_models.tasks.render import FONTS
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.task import Request, Split

WORDS = "words-eff-long"


def source_words(cache_dir: Path, split: Split) -> tuple[str, ...]:
    """The words of one part, in the list's order: a quarter, a quarter and a half of them.

    A word's part is decided by its sha256 alone, so no two parts share a word at any seed.
    """
    text = fetch(WORDS, cache_dir).read_text(encoding="utf-8")
    return tuple(word for word in text.split() if is_in(word, split))


def deal(words: tuple[str, ...], request: Request, at_most: int) -> Iterator[tuple[str, ...]]:
    """Deal shuffled words out to samples, one to ``at_most`` each and none of them twice.

    Raises:
        DataError: There are not enough words.
    """
    rng = np.random.default_rng([request.seed, 1])
    counts = rng.integers(1, at_most + 1, request.samples)
    if counts.sum() > len(words):
        possible = 2 * len(words) // (at_most + 1)
        raise DataError(
            f"the {len(words)} source words of split {request.split} "
            f"do not last for {request.samples} samples",
            wanted=f"about {possible} samples or fewer",
        )
    order = rng.permutation(len(words))
    ends = np.cumsum(counts)
    for start, end in zip(ends - counts, ends, strict=True):
        yield tuple(words[index] for index in order[start:end])


def describe(
    task: str,
    revision: int,
    request: Request,
    metrics: tuple[str, ...] = (),
    *,
    sources: tuple[str | DebianPackage, ...] = (WORDS, *FONTS),
    packages: tuple[str, ...] = ("pillow", "numpy"),
) -> Description:
    """What a folder of samples depends on.

    Args:
        task: The task's name, which is also its model's.
        revision: Of the task's code: another one, other bytes.
        request: Which samples.
        metrics: What may judge them.
        sources: The catalog's entries and the Debian packages that they are made of.
        packages: Whose versions may decide the bytes.
    """
    return Description(
        task=task,
        samples=request.samples,
        parameters={
            "revision": revision,
            "seed": request.seed,
            "split": request.split,
            "sources": dict(_hashes(source) for source in sources),
            "versions": {name: version(name) for name in packages},
        },
        notes={"model": task, "metrics": metrics, "python": sys.version.split()[0]},
    )


def _hashes(source: str | DebianPackage) -> tuple[str, dict[str, str]]:
    """A source's name, and the hashes of its files by name."""
    if isinstance(source, DebianPackage):
        return source.name, {source.file: source.sha256}
    entry = load_catalog().find(source)
    if isinstance(entry, ZooModel | Asset):
        return source, {file.name: file.sha256 for file in entry.files}
    if isinstance(entry, Archive):
        return source, {entry.wheel: load_catalog().wheel_of(entry).sha256}
    return source, {}
