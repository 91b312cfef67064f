"""Which framework a source is of, told from its name or, for an object, from its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxopt.errors import ModelError, UsageError
from onnxopt.exporting.importing import is_factory, make

if TYPE_CHECKING:
    from onnxopt.exporting.options import ExportOptions
    from onnxopt.exporting.source import Source

Given = str | Path | Any
"""What may be exported: a path, ``module:factory``, or a model of a framework in memory."""

TAKEN = (
    "module:factory or file.py:factory (PyTorch, scikit-learn, Keras, onnxscript), a .pt2, .keras, "
    ".h5, .tflite, .joblib, .pkl, .onnx or .onnxtxt file, a TensorFlow saved model or a Hugging "
    "Face folder"
)
_ONNX = (".onnx", ".onnxtxt", ".textproto")
_WEIGHTS_ONLY = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_PICKLES = (".joblib", ".pkl", ".pickle")
_KERAS = (".keras", ".h5", ".hdf5")


def is_plain_model(given: Given) -> bool:
    """Whether a source is an ONNX file, which other verbs take as it is."""
    return isinstance(given, str | Path) and Path(given).suffix in (".onnx", ".onnxtxt")


def open_source(given: Given, options: ExportOptions) -> Source:
    """Open a source with the adapter of its framework.

    Raises:
        UsageError: It is nothing that can be exported.
        ModelError: It cannot be read, or is refused.
        BackendMissingError: The framework is not installed.
    """
    if not isinstance(given, str | Path):
        return _of_object(given, f"a {type(given).__name__} in memory", options)
    text = str(given)
    path = Path(given)
    if path.is_dir():
        return _of_folder(path, options)
    if path.is_file():
        return _of_file(path, options)
    if is_factory(text):
        name = f"{Path(text.rpartition(':')[0]).name}:{text.rpartition(':')[2]}"
        return _of_object(make(text), name, options)
    if path.suffix or "/" in text:
        raise ModelError(f"no file or folder {text}", TAKEN)
    raise UsageError(f"source {text!r} is not understood", TAKEN)


def _of_file(path: Path, options: ExportOptions) -> Source:
    suffix = path.suffix.lower()
    if suffix in _ONNX:
        from onnxopt.exporting.onnx_source import open_onnx

        return open_onnx(path)
    if suffix == ".pt2":
        from onnxopt.exporting.torch_program import open_program

        return open_program(path, options)
    if suffix == ".tflite":
        from onnxopt.exporting.tflite_source import open_tflite

        return open_tflite(path)
    if suffix in _KERAS:
        from onnxopt.exporting.keras_source import open_keras

        return open_keras(path)
    if suffix in _PICKLES:
        from onnxopt.exporting.pickles import unpickled

        return _of_object(unpickled(path, options), path.name, options)
    if suffix in _WEIGHTS_ONLY:
        raise ModelError(
            f"{path.name} holds weights and no architecture",
            "the code that builds the network",
            f"onnxopt export module:factory --weights {path.name}",
        )
    raise UsageError(f"{path.name}: nothing is known about files of this kind", TAKEN)


def _of_folder(path: Path, options: ExportOptions) -> Source:
    if (path / "saved_model.pb").is_file():
        from onnxopt.exporting.saved_model import open_saved_model

        return open_saved_model(path)
    if (path / "config.json").is_file():
        from onnxopt.exporting.huggingface import open_folder

        return open_folder(path, options)
    raise ModelError(
        f"folder {path} holds no model that is known",
        "a saved_model.pb (TensorFlow) or a config.json with weights (Hugging Face)",
    )


def _of_object(thing: Any, origin: str, options: ExportOptions) -> Source:
    kinds = _kinds(thing)
    for kind, adapter in _ADAPTERS.items():
        if kind in kinds:
            return adapter(thing, origin, options)
    if isinstance(thing, tuple) and thing:
        return _of_pair(thing, origin, options)
    raise ModelError(f"{origin} is a {type(thing).__module__}.{type(thing).__name__}", TAKEN)


def _of_pair(thing: tuple[Any, ...], origin: str, options: ExportOptions) -> Source:
    """A factory may give a torch module together with the arguments of one call."""
    module, *arguments = thing
    if _MODULE not in _kinds(module) or len(arguments) != 1:
        raise ModelError(
            f"{origin} gives a tuple of {len(thing)}", "a model, or (torch module, sample inputs)"
        )
    from onnxopt.exporting.torch_source import open_module

    return open_module(module, origin, options, sample=arguments[0])


def _torch(thing: Any, origin: str, options: ExportOptions) -> Source:
    from onnxopt.exporting.torch_source import open_module

    return open_module(thing, origin, options)


def _program(thing: Any, origin: str, options: ExportOptions) -> Source:
    from onnxopt.exporting.torch_program import ProgramSource

    return ProgramSource(thing, origin)


def _sklearn(thing: Any, origin: str, options: ExportOptions) -> Source:
    from onnxopt.exporting.sklearn_source import open_estimator

    return open_estimator(thing, origin, options)


def _keras(thing: Any, origin: str, options: ExportOptions) -> Source:
    from onnxopt.exporting.keras_source import KerasSource

    return KerasSource(thing, origin)


def _onnx(thing: Any, origin: str, options: ExportOptions) -> Source:
    from onnxopt.exporting.onnx_source import open_onnx

    return open_onnx(thing)


def _onnxscript(thing: Any, origin: str, options: ExportOptions) -> Source:
    from onnxopt.exporting.script_source import ScriptSource

    return ScriptSource(thing, origin)


def _kinds(thing: Any) -> set[tuple[str, str]]:
    """The classes of a thing, each by package and name; nothing is imported to find out."""
    return {(base.__module__.partition(".")[0], base.__name__) for base in type(thing).__mro__}


_MODULE = ("torch", "Module")
_ADAPTERS: Mapping[tuple[str, str], Callable[[Any, str, ExportOptions], Source]] = {
    _MODULE: _torch,
    ("torch", "ExportedProgram"): _program,
    ("sklearn", "BaseEstimator"): _sklearn,
    ("keras", "Model"): _keras,
    ("onnx_ir", "Model"): _onnx,
    ("onnx", "ModelProto"): _onnx,
    ("onnxscript", "OnnxFunction"): _onnxscript,
}
"""Package and name of a class of a framework → its adapter."""
