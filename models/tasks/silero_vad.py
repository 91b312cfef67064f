"""The task silero-vad: does somebody speak in this frame? Streams of steps with state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from onnxopt.progress import Progress
from onnxopt_models.debian import DebianPackage, fetch_package, package_files
from onnxopt_models.tasks.folder import Arrays, Description, build_folder
from onnxopt_models.tasks.speech import FRAME, RATE, Clip, Flags, Wave, read_clip, streams
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.task import Request, Split, Task

MODEL = "silero-vad"
REVISION = 2
STATE: Mapping[str, str] = MappingProxyType({"state": "stateN"})
CONTEXT = 64
STREAM_FRAMES = 100
SOUNDS = DebianPackage(
    name="asterisk-core-sounds-en-wav",
    version="1.6.1-1",
    architecture="all",
    sha256="2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
    size_bytes=18272864,
    licence="CC-BY-SA-3.0",
)
NO_SPEECH = ("silence/", "beep", "2tone", "confbridge-join.", "confbridge-leave.", "monkeys.")


def clips(package: Path, split: Split) -> list[Clip]:
    """The spoken clips of one part, in order of name; a clip's content decides its part."""
    found = []
    for name, content in package_files(package, ".wav"):
        place = PurePosixPath(name)
        if any(word in f"{place.parent.name}/{place.name}" for word in NO_SPEECH):
            continue
        clip = read_clip(content, place.name) if is_in(content, split) else None
        if clip is not None:
            found.append(clip)
    return found


def feed(samples: Wave) -> Arrays:
    """The model's inputs along a stream, as its authors' wrapper makes them.

    Each step is 512 new samples behind the last 64 of the step before, zeros at first.
    """
    chunks = samples.astype(np.float32).reshape(-1, FRAME)
    before = np.zeros((len(chunks), CONTEXT), np.float32)
    before[1:] = chunks[:-1, -CONTEXT:]
    return {"input": np.concatenate([before, chunks], axis=1), "sr": np.array(RATE, np.int64)}


def samples(made: Iterator[tuple[Wave, Flags]]) -> Iterator[Arrays]:
    """A stream's inputs and labels: 1 where somebody speaks in the clean clip."""
    for wave, speech in made:
        yield {**feed(wave), "labels": speech.astype(np.int64)}


def build(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Build the samples, which are frames; see ``Task.build``. A file is a stream of them."""
    full, rest = divmod(request.samples, STREAM_FRAMES)
    lengths = [STREAM_FRAMES] * full + [rest] * bool(rest)
    description = Description(
        task=MODEL,
        samples=len(lengths),
        parameters={
            "revision": REVISION,
            "frames": request.samples,
            "seed": request.seed,
            "split": request.split,
            "sources": {SOUNDS.file: SOUNDS.sha256},
            "versions": {"numpy": version("numpy")},
        },
        notes={"model": MODEL, "metrics": ("roc-auc",), "state": dict(STATE)},
    )

    def made() -> Iterator[Arrays]:
        found = clips(fetch_package(SOUNDS, cache_dir, progress), request.split)
        yield from samples(streams(found, lengths, request.seed))

    return build_folder(cache_dir, description, made(), progress)


TASK = Task(
    name=MODEL,
    model=MODEL,
    metric="roc-auc",
    description="frames of 32 ms from spoken clips between gaps, under noise of several colours",
    builder=build,
    state=STATE,
)
