"""Finished rows, kept in the user's cache: an interrupted or repeated run goes on from there."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxopt
import onnxopt_models
import onnxopt_passes
from onnxopt.runtime import environment

_SHOWING = ("results.py", "standing.py", "picture.py", "options.py", "peers.toml")


@dataclass(frozen=True)
class Ledger:
    """The rows of one comparison.

    Attributes:
        folder: Where they lie.
        fresh: Whether to measure anew what is there.
        script: What measures them beside this package: rows are of one version of it.
    """

    folder: Path
    fresh: bool = False
    script: Path | None = None

    def row(self, key: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of a key: files by hash, versions, settings. This machine is part of it."""
        script = hash_of(self.script) if self.script else ""
        text = json.dumps([key, script, environment().digest], sort_keys=True, default=str)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
        if path.is_file() and not self.fresh:
            known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return known
        found = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        scratch.write_text(json.dumps(found, default=str), encoding="utf-8")
        scratch.replace(path)
        restored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return restored


@functools.cache
def our_version() -> str:
    """Hash over our own sources: rows of ours are as new as the code that made them."""
    packages = (onnxopt, onnxopt_passes, onnxopt_models)
    return _hash_of_sources([Path(package.__path__[0]) for package in packages])


@functools.cache
def harness_version() -> str:
    """Hash over what measures, as opposed to what shows the results."""
    return _hash_of_sources([Path(__file__).parent], _SHOWING)


def _hash_of_sources(roots: Sequence[Path], but: Collection[str] = ()) -> str:
    digest = hashlib.sha256()
    for root in roots:
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.toml")]):
            if path.name in but:
                continue
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
