"""Rooms whose names are loaded when first asked for."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = ("api", "comparing", "data", "runtime", "timing")


@pytest.mark.parametrize("room", ROOMS)
def test_names_are_listed_alike(room: str) -> None:
    """What type checkers see, what is public, and where each name is loaded from."""
    module = importlib.import_module(f"onnxopt.{room}")
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    (table,) = (node for node in ast.walk(tree) if isinstance(node, ast.Dict))
    listed = ast.literal_eval(table)
    homes = {name: home for home, names in listed.items() for name in names.split()}
    assert homes == seen
    assert sorted(homes) == sorted(module.__all__) == dir(module)
    for name, home in homes.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("room", ROOMS)
def test_no_name_is_a_module(room: str) -> None:
    """Importing such a module would put it in the place of what it gives."""
    module = importlib.import_module(f"onnxopt.{room}")
    modules = {path.stem for path in Path(module.__path__[0]).glob("*.py")}
    assert not modules & set(module.__all__)


def test_unknown_name() -> None:
    module = importlib.import_module("onnxopt.timing")
    with pytest.raises(AttributeError, match="has no attribute 'stopwatch'"):
        _ = module.stopwatch


def test_optimizing_loads_no_readers_and_no_clocks() -> None:
    code = (
        "import sys, onnxopt; onnxopt.optimize; "
        "print([name for name in ('onnxopt.data.images', 'onnxopt.timing.run', "
        "'onnxopt.exporting', 'onnxopt.deploy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
