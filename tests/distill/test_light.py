"""Torch comes in when it is used, and its absence is told in a line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import onnxopt.distill
from onnxopt.errors import BackendMissingError


def test_torch_is_not_imported_before_it_is_used() -> None:
    code = "import sys, onnxopt.distill; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_torch_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"pip install 'onnxopt\[torch\]'"):
        _ = onnxopt.distill.to_torch


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = onnxopt.distill.nothing
