"""Where caches go; apart from the rest, because every command asks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def default_cache_dir(environment: Mapping[str, str] | None = None) -> Path:
    r"""Where caches go by default; the one place in this package that reads the environment.

    ``$XDG_CACHE_HOME/onnxopt`` or ``~/.cache/onnxopt``; ``~/Library/Caches/onnxopt`` on macOS;
    ``%LOCALAPPDATA%\onnxopt\Cache`` on Windows.

    Args:
        environment: The variables to look at; the process's own where None.
    """
    variables = os.environ if environment is None else environment
    xdg = variables.get("XDG_CACHE_HOME", "")
    if xdg and Path(xdg).is_absolute():
        return Path(xdg) / "onnxopt"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "onnxopt"
    if sys.platform == "win32":
        local = variables.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
        return base / "onnxopt" / "Cache"
    return Path.home() / ".cache" / "onnxopt"
