"""PyTorch modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxopt.data import Feeds
from onnxopt.exporting.failing import explained, require
from onnxopt.exporting.hashing import files_digest
from onnxopt.exporting.options import ExportOptions
from onnxopt.exporting.silence import silent
from onnxopt.exporting.source import Converted, Outputs, Plan
from onnxopt.exporting.torch_export import DYNAMO_OPSET, convert, exporter_name
from onnxopt.exporting.torch_values import (
    as_feeds,
    check_arguments,
    named_tensors,
    parameters_of,
    to_array,
    to_tensors,
)
from onnxopt.exporting.torch_weights import load_weights, state_digest
from onnxopt.signature import TensorSpec


@dataclass(frozen=True, eq=False)
class ModuleSource:
    """See ``Source``; what a plain module takes is known from a sample alone.

    Attributes:
        module: In evaluation mode.
        example: A sample that came with it.
        digest: Of the file of its weights; empty where there is none.
        library: Who defines the module, with version; torch itself by default.
    """

    module: Any
    origin: str
    example: Feeds | None = None
    digest: str = ""
    library: str = ""
    inputs: tuple[TensorSpec, ...] | None = None
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    tokenizer: Path | None = None
    opset: int = DYNAMO_OPSET

    @property
    def framework(self) -> str:
        """The library and torch with their versions."""
        import torch

        return f"{self.library} on torch {torch.__version__}".removeprefix(" on ")

    @property
    def exporter(self) -> str:
        """The one that is tried first."""
        return exporter_name("dynamo")

    @cached_property
    def _own_digest(self) -> str:
        return state_digest(self.module.state_dict())

    def weights_sha256(self) -> str:
        """Of the file of weights, else over the module's tensors."""
        return self.digest or self._own_digest

    def run(self, feeds: Feeds) -> Outputs:
        """What the module computes."""
        import torch

        check_arguments(self.module, list(feeds))
        with explained(f"{self.origin} raised in forward"), silent(), torch.no_grad():
            found = self._call(to_tensors(feeds))
        return {name: to_array(tensor) for name, tensor in named_tensors(found)}

    def _call(self, tensors: dict[str, Any]) -> Any:
        known, _ = parameters_of(self.module)
        extra = [tensor for name, tensor in tensors.items() if name not in known]
        if extra:
            return self.module(*tensors.values())
        return self.module(**tensors)

    def convert(self, plan: Plan) -> Converted:
        """By the dynamo exporter, else by the TorchScript one."""
        return convert(self.module, self._call, plan, to_tensors(plan.example))


def open_module(
    module: Any, origin: str, options: ExportOptions, sample: Any = None
) -> ModuleSource:
    """A torch module, filled with weights where a file of them is given.

    Raises:
        ModelError: The weights do not fit, or the sample is none.
    """
    require("torch", "torch")
    digest = ""
    if options.weights is not None:
        load_weights(module, options.weights, trust_pickle=options.trust_pickle)
        digest = files_digest([options.weights])
    module.eval()
    module.requires_grad_(False)
    given = None if sample is None else as_feeds(module, sample)
    return ModuleSource(module, origin, given, digest)
