"""What may be said about an export besides its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onnxopt.errors import UsageError
from onnxopt.progress import Progress, no_progress


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported.

    Attributes:
        sample: Spec of sample data (see ``open_dataset``); made up by default, where the source
            says what it takes.
        inputs: What the model takes, each ``NAME=DTYPE[SIZES]`` such as
            ``image=float32[N,3,224,224]``, where a name instead of a size is a dynamic dimension;
            for sources that do not say it themselves.
        dynamic: Dimensions that stay open, each ``NAME=AXIS:LABEL``.
        outputs: Names of the outputs, in order; by default as the source calls them.
        opset: Opset of the result; by default what the exporter knows best.
        weights: File of weights for a source that is only an architecture.
        trust_pickle: Whether files may be read that can run code while being read.
        kv_cache: Whether a decoder takes and gives its cache of keys and values.
        target: The device whose runtime shall load the result.
        seed: Of made-up samples.
        dry_run: Find out what would be exported, and convert nothing.
        progress: Told which step is at hand.
    """

    sample: str | None = None
    inputs: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    opset: int | None = None
    weights: Path | None = None
    trust_pickle: bool = False
    kv_cache: bool = False
    target: str | Path = "auto"
    seed: int = 0
    dry_run: bool = False
    progress: Progress = field(default=no_progress, compare=False)

    def __post_init__(self) -> None:
        if self.opset is not None and self.opset < 1:
            raise UsageError(f"opset {self.opset}", "a number from 1")
