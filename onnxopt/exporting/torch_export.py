"""torch's exporters: the dynamo one first, the TorchScript one where that refuses."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt import store
from onnxopt.errors import ModelError
from onnxopt.exporting.failing import reason_of
from onnxopt.exporting.silence import silent
from onnxopt.exporting.source import Converted, Plan
from onnxopt.exporting.torch_values import named_tensors, parameters_of

DYNAMO_OPSET = 18
"""The opset that the dynamo exporter knows by itself; it does not write older ones."""

_SCRIPT_OPSETS = (17, 20)
_LONGEST = 300
_SUMMARY = re.compile(r"<class '[\w.]*?(\w+)'>: (.+)")
_CODE = re.compile(r'File "[^"]*", line (\d+), in (\w+)\s*\n\s*(.+)')

Call = Callable[[dict[str, Any]], Any]
"""Calls a module with tensors by name."""


def exporter_name(kind: str) -> str:
    """Exporter and version."""
    import torch

    return f"torch.onnx {torch.__version__} ({kind})"


def convert(module: Any, call: Call, plan: Plan, example: dict[str, Any]) -> Converted:
    """A torch module as ONNX.

    Three ways, each where the one before it refuses: ``torch.export`` and the dynamo exporter;
    TorchScript compiled, which keeps control flow; TorchScript traced, which does not.

    Args:
        module: In evaluation mode.
        call: Calls it with tensors by name.
        plan: What has to come out.
        example: Tensors to trace with, by name.

    Raises:
        ModelError: None of them can take it; the message holds each one's reason.
    """
    ways: dict[str, Callable[[], tuple[ir.Model, tuple[str, ...]]]] = {
        "dynamo": lambda: (dynamo(_flat(module, call, plan), plan, example), ()),
        "TorchScript": lambda: _scripted(module, plan, example),
        "TorchScript, traced": lambda: _traced(_flat(module, call, plan), plan, example),
    }
    refusals = []
    if plan.opset is not None and plan.opset < DYNAMO_OPSET:
        ways.pop("dynamo")
        refusals.append(f"the dynamo exporter writes opset {DYNAMO_OPSET} and newer")
    for kind, way in ways.items():
        try:
            model, notes = way()
        except Exception as error:  # noqa: BLE001 - each exporter fails in ways of its own
            refusals.append(f"the {kind} exporter refused: {why(error)}")
            continue
        told = (*refusals, f"exported by {exporter_name(kind)} instead") if refusals else ()
        return Converted(model, exporter_name(kind), (*told, *notes))
    raise ModelError("; ".join(refusals), "a module that one of torch's exporters takes")


def dynamo(exportable: Any, plan: Plan, example: dict[str, Any] | None = None) -> ir.Model:
    """A module that takes its inputs in order, or an exported program, by the dynamo exporter."""
    import torch

    arguments = () if example is None else tuple(example.values())
    axes = tuple(
        {axis: re.sub(r"\W", "_", label) for axis, label in plan.dynamic_axes(spec).items()}
        for spec in plan.inputs
    )
    with silent():
        program: Any = torch.onnx.export(
            exportable,
            arguments,
            input_names=[spec.name for spec in plan.inputs],
            output_names=list(plan.outputs),
            dynamic_shapes=(axes,) if example is not None and any(axes) else None,
            opset_version=DYNAMO_OPSET,
            dynamo=True,
            verbose=False,
        )
    model: ir.Model = program.model
    _hold(model)
    return model


def _hold(model: ir.Model) -> None:
    """Let weights be plain arrays: torch's tensors would keep the module alive."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None:
            value.const_value = ir.tensor(
                np.array(tensor.numpy()), dtype=tensor.dtype, name=value.name
            )


def _scripted(module: Any, plan: Plan, example: dict[str, Any]) -> tuple[ir.Model, tuple[str, ...]]:
    import torch

    names = [spec.name for spec in plan.inputs]
    if parameters_of(module)[0][: len(names)] != names:
        raise ModelError("the inputs stand in another order than forward's parameters")
    with silent():
        script = torch.jit.script(module)
    return _torchscript(script, plan, example), ()


def _traced(module: Any, plan: Plan, example: dict[str, Any]) -> tuple[ir.Model, tuple[str, ...]]:
    heard: list[warnings.WarningMessage] = []
    model = _torchscript(module, plan, example, heard)
    branches = [w for w in heard if "TracerWarning" in w.category.__name__]
    if not branches:
        return model, ()
    words = " ".join(str(branches[0].message).split())[:_LONGEST]
    return model, (f"tracing recorded only the path that the sample took ({words})",)


def _torchscript(
    module: Any,
    plan: Plan,
    example: dict[str, Any],
    heard: list[warnings.WarningMessage] | None = None,
) -> ir.Model:
    import torch

    low, high = _SCRIPT_OPSETS
    held = io.BytesIO()
    with silent() as caught:
        torch.onnx.export(
            module,
            tuple(example.values()),
            held,
            input_names=[spec.name for spec in plan.inputs],
            output_names=list(plan.outputs),
            dynamic_axes={spec.name: plan.dynamic_axes(spec) for spec in plan.inputs},
            opset_version=min(max(plan.opset or low, low), high),
            dynamo=False,
        )
        if heard is not None:
            heard.extend(caught)
    return store.load(held.getvalue())


def _flat(module: Any, call: Call, plan: Plan) -> Any:
    """A module that takes its inputs in order and gives tensors in order."""
    import torch

    names = [spec.name for spec in plan.inputs]

    class Flat(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: Any) -> Any:
            found = call(dict(zip(names, inputs, strict=True)))
            tensors = tuple(tensor for _, tensor in named_tensors(found))
            return tensors if len(tensors) > 1 else tensors[0]

    return Flat().eval()


def why(error: BaseException) -> str:
    """What an exporter complains about, with the user's line of code where it says one."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    found = _SUMMARY.search(text)
    reason = f"{found[1]}: {found[2]}" if found else reason_of(error)
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST]}…"
    return f"{reason}{_code(text)}".strip()


def _code(text: str) -> str:
    lines: Iterable[re.Match[str]] = list(_CODE.finditer(text))
    last = next(iter(reversed(list(lines))), None)
    return f" (line {last[1]} in {last[2]}: {last[3].strip()})" if last else ""
