"""Programs of ``torch.export``, as files (``.pt2``) or in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxopt.data import Feeds
from onnxopt.errors import ModelError
from onnxopt.exporting.failing import explained, require
from onnxopt.exporting.hashing import files_digest
from onnxopt.exporting.options import ExportOptions
from onnxopt.exporting.silence import silent
from onnxopt.exporting.source import Converted, Outputs, Plan, SelfContained
from onnxopt.exporting.torch_archive import check_archive
from onnxopt.exporting.torch_export import DYNAMO_OPSET, dynamo, exporter_name, why
from onnxopt.exporting.torch_values import named_tensors, to_array, to_tensors
from onnxopt.exporting.torch_weights import state_digest
from onnxopt.signature import TensorSpec


@dataclass(frozen=True, eq=False)
class ProgramSource(SelfContained):
    """See ``Source``; dynamic dimensions are those that the program was exported with."""

    program: Any
    origin: str
    digest: str = ""
    opset: int = DYNAMO_OPSET

    @property
    def framework(self) -> str:
        """Torch with its version."""
        import torch

        return f"torch {torch.__version__}"

    @property
    def exporter(self) -> str:
        """The only one that takes programs."""
        return exporter_name("dynamo")

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As the program was exported."""
        names = list(self.program.graph_signature.user_inputs)
        held = {
            n.name: n.meta.get("val") for n in self.program.graph.nodes if n.op == "placeholder"
        }
        labels: dict[str, str] = {}
        return tuple(_spec(str(name), held.get(str(name)), labels) for name in names)

    @property
    def example(self) -> Feeds | None:  # type: ignore[override]
        """The sample that it was exported with."""
        found = self.program.example_inputs
        if found is None:
            return None
        values = [*found[0], *found[1].values()]
        if len(values) != len(self.inputs) or not all(hasattr(v, "detach") for v in values):
            return None
        return {spec.name: to_array(v) for spec, v in zip(self.inputs, values, strict=True)}

    def weights_sha256(self) -> str:
        """Of the file, else over the program's tensors."""
        return self.digest or state_digest(self.program.state_dict)

    @cached_property
    def _module(self) -> Any:
        return self.program.module()

    def run(self, feeds: Feeds) -> Outputs:
        """What the program computes."""
        import torch

        tensors = to_tensors({spec.name: feeds[spec.name] for spec in self.inputs})
        args = self.program.example_inputs
        keywords = list(args[1]) if args is not None else []
        values = list(tensors.values())
        split = len(values) - len(keywords)
        named = dict(zip(keywords, values[split:], strict=True))
        with explained(f"{self.origin} raised"), silent(), torch.no_grad():
            found = self._module(*values[:split], **named)
        return {name: to_array(tensor) for name, tensor in named_tensors(found)}

    def convert(self, plan: Plan) -> Converted:
        """By the dynamo exporter."""
        if plan.opset is not None and plan.opset < DYNAMO_OPSET:
            raise ModelError(
                f"opset {plan.opset} for an exported program", f"{DYNAMO_OPSET} or newer"
            )
        try:
            return Converted(dynamo(self.program, plan), self.exporter)
        except Exception as error:  # the exporter fails in ways of its own
            raise ModelError(f"the dynamo exporter refused: {why(error)}") from error


def open_program(path: Path, options: ExportOptions) -> ProgramSource:
    """Load a ``.pt2`` file.

    Raises:
        ModelError: It cannot be read, or holds what can run code and is not trusted.
    """
    require("torch", "torch")
    import torch

    if not options.trust_pickle:
        check_archive(path)
    with explained(f"{path.name} cannot be read", "was it saved by a newer torch?"), silent():
        program = torch.export.load(str(path))
    return ProgramSource(program, path.name, files_digest([path]))


def _spec(name: str, value: Any, labels: dict[str, str]) -> TensorSpec:
    if value is None or not hasattr(value, "shape"):
        raise ModelError(f"input {name} of the program is a {type(value).__name__}", "a tensor")
    dims = tuple(_dim(size, labels) for size in value.shape)
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), dims)


def _dim(size: Any, labels: dict[str, str]) -> int | str:
    """A size; a symbol of torch's becomes N, D1, D2 …, alike for alike symbols."""
    if isinstance(size, int):
        return size
    return labels.setdefault(str(size), f"D{len(labels)}" if labels else "N")
