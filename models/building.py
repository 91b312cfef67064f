"""Building models here, of pinned sources, each in a process of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from onnxopt.errors import BackendMissingError, ModelError
from onnxopt.progress import Progress
from onnxopt_models.catalog import BuiltModel

BUILD_TIMEOUT_S = 3600
RECORD = "built.json"
_ROOM = Path(__file__).parent / "built"


def build_key(pins: Sequence[str]) -> str:
    """Equal for equal sources and equal code that builds; the versions of packages are left out.

    So a model that is cached stays in use where its packages are gone, and whoever wants it of
    another version deletes it. ``built.json`` beside a model says what made it.

    Args:
        pins: The sources' hashes.
    """
    code = [path.read_bytes() for path in sorted(_ROOM.glob("*.py"))]
    digests = [hashlib.sha256(content).hexdigest() for content in code]
    return hashlib.sha256("\n".join([*pins, *digests]).encode()).hexdigest()[:16]


def is_built(home: Path, entry: BuiltModel) -> bool:
    """True where ``home`` holds the model as it was when it was built."""
    try:
        record = json.loads((home / RECORD).read_text(encoding="utf-8"))
        return bool(record["sha256"] == _digest(home / entry.file_name))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_buildable(entry: BuiltModel) -> None:
    """Refuse where the package is missing that builds ``entry``.

    Raises:
        BackendMissingError: It is; the message names the command that installs it.
    """
    if find_spec(entry.package) is None:
        raise BackendMissingError(
            f"{entry.id} is built on this machine, which needs the package {entry.package}",
            todo=f"pip install onnxopt[{entry.package}]",
        )


def build(entry: BuiltModel, sources: Sequence[Path], home: Path, progress: Progress) -> None:
    """Build ``entry`` beside ``home``, then move it into place in one step.

    Args:
        entry: What to build.
        sources: Its sources' files, in the catalog's order.
        home: The folder it goes into.
        progress: Told of start and end.

    Raises:
        ModelError: The module failed; the message holds its last words.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    progress(f"building {entry.id}", 0, 1)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=home.parent) as scratch:
        fresh = Path(scratch, "files")
        fresh.mkdir()
        made = fresh / entry.file_name
        _run(entry, [*sources, made], Path(scratch))
        (fresh / RECORD).write_text(_record(entry, made), encoding="utf-8")
        if home.exists() and not is_built(home, entry):
            shutil.move(home, Path(scratch, "old"))
        try:
            fresh.rename(home)
        except OSError:
            if not is_built(home, entry):
                raise
    progress(f"building {entry.id}", 1, 1)


def _run(entry: BuiltModel, arguments: Sequence[Path], folder: Path) -> None:
    module = f"{__package__}.built.{entry.module}"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *map(str, arguments)],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BUILD_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"building {entry.id} took longer than {BUILD_TIMEOUT_S} s") from error
    if done.returncode or not arguments[-1].is_file():
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        reason = last[0].strip()[:300] if last else f"exit status {done.returncode}"
        raise ModelError(f"{entry.id} could not be built: {reason}")


def _record(entry: BuiltModel, made: Path) -> str:
    packages = (entry.package, "onnx", "numpy")
    record = {
        "sha256": _digest(made),
        "size_bytes": made.stat().st_size,
        "versions": {name: version(name) for name in packages},
        "python": sys.version.split()[0],
    }
    return json.dumps(record, indent=1) + "\n"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
