"""An environment of its own for each peer, made once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from peers.failure import PeerFailure

PINS = Path(__file__).parent / "peers.toml"
OWN = "onnxopt"
"""The name under which the environment of this very process is asked for."""

_DONE = "complete"


def pins() -> Mapping[str, tuple[str, ...]]:
    """The pinned packages of every peer."""
    return {name: tuple(row["requirements"]) for name, row in _rows().items()}


def _rows() -> Mapping[str, Mapping[str, list[str]]]:
    found: Mapping[str, Mapping[str, list[str]]] = tomllib.loads(PINS.read_text(encoding="utf-8"))
    return found


def python_of(peer: str, cache: Path) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing.

    Raises:
        PeerFailure: The environment cannot be made.
    """
    if peer == OWN:
        return Path(sys.executable)
    wanted, unwanted = pins()[peer], _rows()[peer].get("remove", [])
    home = cache / "peers" / f"{peer}-{_digest((*wanted, *unwanted))}"
    python = home / "bin" / "python"
    if not (home / _DONE).is_file():
        print(f"making the environment of {peer}: {' '.join(wanted)}", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(home)], peer)
        _run([str(python), "-m", "pip", "install", "-q", *wanted], peer)
        if unwanted:
            _run([str(python), "-m", "pip", "uninstall", "-q", "-y", *unwanted], peer)
        (home / _DONE).touch()
    return python


def version_of(peer: str) -> str:
    """What identifies a peer's results: its pins."""
    return " ".join(pins()[peer])


def _digest(wanted: tuple[str, ...]) -> str:
    key = json.dumps([wanted, sys.version_info[:2]])
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def _run(command: list[str], peer: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or "it said nothing").splitlines()
        raise PeerFailure("not installed", f"{peer}: {lines[-1]}")
