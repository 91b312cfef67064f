"""Makes a tool's version of a model once, in the tool's environment, and keeps it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxopt.data import Feeds
from peers import arrays
from peers.environments import OWN, python_of, version_of
from peers.failure import PeerFailure
from peers.ledger import harness_version, our_version
from peers.process import Place, Worker
from peers.zoo import Subject


@dataclass(frozen=True)
class Maker:
    """One way of making a file out of a model.

    Attributes:
        name: How tables call it.
        peer: Whose environment it needs.
        job: Module under ``peers.jobs``.
        task: What it is asked.
        tool: Which of the job's tools, where it has several.
        needs_samples: Whether it is given calibration samples.
        suffix: Of the file it makes.
        ours: Whether it is our own code, in whatever environment.
    """

    name: str
    peer: str
    job: str
    task: str
    tool: str = ""
    needs_samples: bool = False
    suffix: str = ".onnx"
    ours: bool = False

    @property
    def key(self) -> str:
        """What its result depends on besides the model and samples."""
        version = our_version() if self.ours else ""
        pins = "" if self.peer == OWN else version_of(self.peer)
        return f"{self.name} {self.task} {self.tool} {version} {pins} {harness_version()}"


@dataclass(frozen=True)
class Made:
    """A file, and what it cost.

    Attributes:
        path: The file.
        seconds: From reading to writing, the tool's own import apart where it can be told apart.
        peak_rss_bytes: Of the process.
    """

    path: Path
    seconds: float
    peak_rss_bytes: int


def make(
    maker: Maker,
    subject: Subject,
    folder: Path,
    cache: Path,
    samples: Sequence[Feeds] = (),
    timeout_s: float = 120.0,
) -> Made:
    """Make a tool's file below ``folder``.

    Raises:
        PeerFailure: The tool fails; kept too, so that it fails but once.
    """
    key = json.dumps([maker.key, subject.sha256, len(samples)])
    home = folder / f"{subject.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    record = home / "made.json"
    if not record.is_file():
        home.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(_run(maker, subject, home, cache, samples, timeout_s)))
    found = json.loads(record.read_text())
    if "failed" in found:
        raise PeerFailure(found["failed"], found["said"])
    return Made(home / f"model{maker.suffix}", found["seconds"], found["peak_rss_bytes"])


def _run(
    maker: Maker,
    subject: Subject,
    home: Path,
    cache: Path,
    samples: Sequence[Feeds],
    timeout_s: float,
) -> dict[str, Any]:
    arguments = {"source": str(subject.path), "target": str(home / f"model{maker.suffix}")}
    try:
        place = Place(python_of(maker.peer, cache), ours=maker.ours)
        with tempfile.TemporaryDirectory() as scratch, Worker(place, maker.job) as worker:
            if maker.tool:
                arguments["tool"] = maker.tool
                worker.ask("load", timeout_s, tool=maker.tool)
            if maker.needs_samples:
                arguments["samples"] = str(arrays.save(Path(scratch) / "samples.npz", samples))
            worker.ask(maker.task, timeout_s, **arguments)
            return {"seconds": worker.seconds, "peak_rss_bytes": worker.peak_rss_bytes}
    except PeerFailure as failure:
        return {"failed": failure.kind, "said": failure.text}
