"""Steps of a stateful model as plain samples, their state as the reference leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx_ir as ir

from onnxopt.data import Dataset, Feeds, SourceDataset, State, unroll
from onnxopt.runtime import Session, SessionConfig, open_session
from onnxopt.store import content_hash


@dataclass(frozen=True, eq=False)
class Unroller:
    """Makes full feeds of steps by running the reference along the sequences.

    ``compare`` recognises what it made and lets each model carry its own state instead.

    Attributes:
        reference: The model that leaves the states, run on the CPU.
        state: What is carried.
        threads: Threads of its session.
    """

    reference: ir.Model
    state: State
    threads: int = 1

    def unroll(self, dataset: Dataset) -> SourceDataset:
        """The steps with their state; each pass over them runs the reference anew.

        Args:
            dataset: Steps without state; those of one item in a row are a sequence.
        """
        return unroll(dataset, self.state, self._run, self._hash)

    def _run(self, feeds: Feeds) -> dict[str, Any]:
        return self._session.run(feeds)

    @cached_property
    def _session(self) -> Session:
        return open_session(self.reference, SessionConfig(threads=self.threads, spinning=False))

    @cached_property
    def _hash(self) -> str:
        return content_hash(self.reference)
