"""The public interface: what there is, its signatures, and that no module hides a verb."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil

import pytest

import onnxopt

HAS_TORCH = importlib.util.find_spec("torch") is not None
SIGNATURES = {
    "benchmark": "(models, *, data, config, samples, options)",
    "compare": (
        "(reference, candidate, *, data, metric, budget, session, candidate_session, options)"
    ),
    "inspect": "(model, *, dims, sparsity)",
    "export": "(source, output, *, options, sample_output)",
    "load": "(source)",
    "optimize": "(model, output, *, recipe, data, options, observer)",
    "package": "(model, output, *, data, options, force)",
    "prune": "(model, output, *, data, recipe, budget, options, observer)",
    "quantize": "(model, output, *, data, recipe, budget, options, observer)",
    "recover": "(student, teacher, output, *, data, training, budget, options, observer)",
    "save": "(model, path)",
    "verify": "(folder)",
}

CLASSES = ("Budget", "ExportOptions", "RunOptions")


def spelled(function: object) -> str:
    words = []
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(parameter.name)
    return f"({', '.join(words)})"


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_pinned(name: str) -> None:
    assert spelled(getattr(onnxopt, name)) == SIGNATURES[name]


def test_no_module_hides_a_verb() -> None:
    for info in pkgutil.walk_packages(onnxopt.__path__, "onnxopt."):
        bridge = info.name.startswith("onnxopt.distill.bridge")
        if info.name.endswith(("__main__", "runner")) or (bridge and not HAS_TORCH):
            continue
        importlib.import_module(info.name)
    for name in onnxopt.__all__:
        assert callable(getattr(onnxopt, name)), name


def test_everything_listed_is_there_and_nothing_else() -> None:
    assert set(dir(onnxopt)) == set(onnxopt.__all__) == {*SIGNATURES, *CLASSES}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = onnxopt.nonsense
