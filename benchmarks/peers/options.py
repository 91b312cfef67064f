"""The arguments that every comparison takes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from onnxopt.timing import BenchmarkConfig
from onnxopt_models.cache import default_cache_dir
from peers.ledger import Ledger
from peers.results import RESULTS


@dataclass(frozen=True)
class Options:
    """How a comparison runs.

    Attributes:
        models: Ids of the catalog; all of them where empty.
        quick: Little of everything: to see that it works.
        fresh: Measure anew what is in the cache.
        rounds: Turns of each contestant.
        output: Where results go.
        cache: Where environments, rows and intermediate files are kept.
        samples: Samples of each task; None for its share of the zoo's own number.
    """

    models: tuple[str, ...]
    quick: bool
    fresh: bool
    rounds: int
    output: Path
    cache: Path
    samples: int | None = None

    def ledger(self, script: str) -> Ledger:
        """The finished rows of a part, as long as its script stays what it is."""
        path = Path(script)
        return Ledger(self.cache / "rows" / path.stem, self.fresh, path)

    def timing(self) -> BenchmarkConfig:
        """Rounds and turns."""
        seconds = 0.05 if self.quick else 0.12
        return BenchmarkConfig(rounds=self.rounds, turn_seconds=seconds, warmup_seconds=1.0)


def parser_for(doc: str | None, rounds: int) -> argparse.ArgumentParser:
    """A parser with the arguments that all parts share."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--models", nargs="*", default=[], metavar="ID")
    parser.add_argument("--quick", action="store_true", help="few rounds and samples")
    parser.add_argument("--fresh", action="store_true", help="measure anew what is cached")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--samples", type=int, help="of each task")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path, default=default_cache_dir() / "benchmarks")
    return parser


def options_of(found: argparse.Namespace) -> Options:
    """The options out of what was parsed."""
    return Options(
        models=tuple(found.models),
        quick=found.quick,
        fresh=found.fresh,
        rounds=min(found.rounds, 5) if found.quick else found.rounds,
        output=found.output,
        cache=found.cache,
        samples=(found.samples or 32) if found.quick else found.samples,
    )
