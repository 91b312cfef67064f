"""What makes a process that does one job start and run faster; for programs, not for libraries.

``python -m onnxopt.startup MODULE …`` is ``python -m MODULE …`` in a process prepared so.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import os
import runpy
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_NEW_OBJECTS, _ROUNDS = 250_000, 20


def prepare_process() -> None:
    """Set this process up for one job on large graphs.

    A graph is many small objects that live to the end: at Python's own thresholds, walking them
    again and again to find garbage takes a sixth of the time. onnx_ir imports sympy for arithmetic
    on names of sizes, and onnx the readers of JSON and text, which take a quarter of the start and
    which nothing here asks for: they are loaded when something does.
    """
    gc.set_threshold(_NEW_OBJECTS, _ROUNDS, _ROUNDS)
    if sys.version_info < (3, 13):
        _compile_methods_late()
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


def _compile_methods_late() -> None:
    """Let dataclasses compile what nearly none of them needs when it is first called.

    Until Python 3.13, which compiles all methods of a class at once, each comparison, hash and
    text of each class is a compilation: an eighth of the start, for 260 classes.
    """
    create: Callable[..., Any] | None = getattr(dataclasses, "_create_fn", None)
    if create is None:
        return

    def create_late(name: str, args: Any, body: Any, **scope: Any) -> Any:
        if name == "__init__":
            return create(name, args, body, **scope)
        made: Callable[..., Any] | None = None

        def method(self: Any, *given: Any) -> Any:
            nonlocal made
            if made is None:
                made = create(name, args, body, **scope)
                for owner in type(self).__mro__:
                    if owner.__dict__.get(name) is method:
                        setattr(owner, name, made)
            return made(self, *given)

        method.__name__ = name
        return method

    setattr(dataclasses, "_create_fn", create_late)  # noqa: B010 - it is not in the type stubs


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
