"""Writes a comparison: Markdown tables with their footnotes, and a JSON document."""

from __future__ import annotations

import json
import math
import re
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxopt.runtime import environment
from peers.environments import pins
from peers.failure import PeerFailure

RESULTS = Path(__file__).parent.parent / "results"
_PATH = re.compile(r"(?<![\w.:/<])/(?:[\w.@+~-]+/)+([\w.@+~-]*)")
_NUMBERS = re.compile(r"\[\n\s+([-\d.eE+,\s]+?)\n\s*\]")  # no string holds a bare newline
_MOST_TEXT = 240


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: Its heading.
        rows: Dictionaries from column to cell; a missing cell is a dash, a failure its kind with
            what was said below the table.
        text: What a reader must know, before the table.
    """

    title: str
    rows: Sequence[Mapping[str, Any]]
    text: str = ""


@dataclass(frozen=True)
class Document:
    """A comparison as it is written.

    Attributes:
        name: Base name of the files.
        title: What was measured, in a line.
        tables: What people read.
        raw: What the tables were made of.
        text: How it was measured.
        notes: Below the tables: what was left out and why.
    """

    name: str
    title: str
    tables: Sequence[Table]
    raw: Any
    text: str = ""
    notes: Sequence[str] = ()

    def write(self, folder: Path = RESULTS) -> Path:
        """Write ``NAME.json`` and ``NAME.md``; returns the latter."""
        folder.mkdir(parents=True, exist_ok=True)
        machine = asdict(environment())
        document = {
            "title": self.title,
            "environment": machine,
            "peers": {name: list(found) for name, found in pins().items()},
            "notes": list(self.notes),
            "raw": self.raw,
        }
        text = _NUMBERS.sub(_on_one_line, json.dumps(cleaned(document), indent=1))
        (folder / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        page = folder / f"{self.name}.md"
        page.write_text(self.markdown(machine), encoding="utf-8")
        return page

    def markdown(self, machine: Mapping[str, Any]) -> str:
        """The page."""
        parts = [f"# {self.title}", self.text]
        parts += [markdown_of(table) for table in self.tables]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        flags = " ".join(machine["cpu_flags"])
        parts.append(
            f"{machine['cpu']}, {machine['usable_cores']} usable cores ({flags}); "
            f"{versions}. Peers: benchmarks/peers/peers.toml."
        )
        page: str = cleaned("\n\n".join(part for part in parts if part))
        return page + "\n"


def markdown_of(table: Table) -> str:
    """A heading, the table, and what the failures in it said."""
    columns = list(dict.fromkeys(column for row in table.rows for column in row))
    said: list[str] = []
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table.rows:
        cells = [_cell(row.get(column), said) for column in columns]
        lines.append("| " + " | ".join(cells) + " |")
    notes = "\n".join(f"{n}. {_shown(text)}" for n, text in enumerate(said, 1))
    return "\n\n".join(
        part for part in (f"## {table.title}", table.text, "\n".join(lines), notes) if part
    )


def ratio(found: Any) -> str:
    """A speed-up with its interval."""
    return f"{found['speedup']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def geomean(values: Iterable[float]) -> str | None:
    """Geometric mean, and of how many; None of nothing."""
    logs = [math.log(value) for value in values]
    return f"{math.exp(sum(logs) / len(logs)):.2f} of {len(logs)}" if logs else None


def plain_failure(failure: PeerFailure) -> dict[str, str]:
    """A failure as JSON holds it; ``failure_of`` reads it."""
    return {"failed": failure.kind, "said": failure.text}


def failure_of(found: Mapping[str, Any]) -> PeerFailure | None:
    """The failure that a plain row holds."""
    return PeerFailure(found["failed"], found["said"]) if "failed" in found else None


def cleaned(value: Any) -> Any:
    """Plain values without this machine's folders and name; numbers JSON lacks as text."""
    if isinstance(value, Mapping):
        return {str(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _PATH.sub(r"\1", value).replace(socket.gethostname(), "this machine")
    return value if isinstance(value, int | None) else str(value)


def say(*words: object) -> None:
    """Progress, at once."""
    print(*words, file=sys.stderr, flush=True)


def _on_one_line(numbers: re.Match[str]) -> str:
    return "[" + " ".join(numbers[1].split()) + "]"


def _cell(value: Any, said: list[str]) -> str:
    if value is None:
        return "–"
    if not isinstance(value, PeerFailure):
        return str(value).replace("|", "\\|").replace("\n", " ")
    if value.text not in said:
        said.append(value.text)
    return f"{value.kind} ({said.index(value.text) + 1})"


def _shown(text: str) -> str:
    line = " ".join(text.split())
    if len(line) > _MOST_TEXT:  # what matters stands at either end
        line = f"{line[: _MOST_TEXT // 3]} … {line[-2 * _MOST_TEXT // 3 :]}"
    return line.replace("<", "\\<").replace("|", "\\|")
