"""What makes a process that does one job start and run faster; for programs, not for libraries.

``python -m onnxopt.startup MODULE …`` is ``python -m MODULE …`` in a process prepared so.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_NEW_OBJECTS, _ROUNDS = 100_000, 20


def prepare_process() -> None:
    """Set this process up for one job on large graphs.

    A graph is many small objects that live to the end: at Python's own thresholds, walking them
    again and again to find garbage takes a sixth of the time. onnx_ir imports sympy for arithmetic
    on names of sizes, and onnx the readers of JSON and text, which take a quarter of the start and
    which nothing here asks for: they are loaded when something does.
    """
    gc.set_threshold(_NEW_OBJECTS, _ROUNDS, _ROUNDS)
    parent = find_spec("onnx_ir")
    folders = None if parent is None else parent.submodule_search_locations
    if folders and "onnx_ir" not in sys.modules:
        _defer(find_spec("sympy"))
        _defer(PathFinder.find_spec("onnx_ir._symbolic_shapes", folders))
    if "onnx" not in sys.modules:
        protobuf = importlib.import_module("google.protobuf")
        for name in ("json_format", "text_format"):
            _defer(find_spec(f"google.protobuf.{name}"), protobuf)


def compute_alone() -> None:
    """Let numpy's products and factorizations use one thread, where the user says nothing else.

    Half of numpy's start is its library making threads. For whoever multiplies few matrices; to be
    called before numpy is loaded.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def leave_objects() -> None:
    """Let a process end without looking for garbage in large graphs: the memory goes with it."""
    gc.freeze()


class _Deferred(ModuleType):
    """A module that is loaded when one of its names is first asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        if self.__spec__ is not None and self.__spec__.loader is not None:
            self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _defer(spec: ModuleSpec | None, package: ModuleType | None = None) -> None:
    if spec is not None and spec.loader is not None and spec.name not in sys.modules:
        module = module_from_spec(spec)
        module.__class__ = _Deferred
        sys.modules[spec.name] = module
        if package is not None:
            setattr(package, spec.name.rpartition(".")[2], module)


if __name__ == "__main__":
    prepare_process()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
