"""Writes a benchmark's JSON document and its Markdown table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxopt.runtime import environment

RESULTS = Path(__file__).parent / "results"


def write(name: str, title: str, rows: Sequence[dict[str, Any]], raw: Any) -> None:
    """Write ``results/NAME.json`` and ``results/NAME.md``.

    Args:
        name: Base name of both files.
        title: What was measured, in a line.
        rows: One dictionary a table row, all with the same keys.
        raw: Everything else worth keeping; what it has under ``failures`` (name → text) is told
            below the table.
    """
    RESULTS.mkdir(exist_ok=True)
    failures = raw.get("failures", {}) if isinstance(raw, dict) else {}
    machine = asdict(environment())
    document = {
        "title": title,
        "environment": machine,
        "rows": list(rows),
        "raw": without_folders(without_single_runs(raw)),
    }
    text = json.dumps(document, indent=1, default=str)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    failed = [f"{name} failed: {text}\n" for name, text in failures.items()]
    lines = [f"# {title}", "", _table(rows), "", *failed, _circumstances(machine), ""]
    (RESULTS / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def without_single_runs(value: Any) -> Any:
    """All but the times of single runs: a model of a microsecond has a million of them.

    Ratios are made from those of rounds, which stay.
    """
    if isinstance(value, dict):
        kept = (key for key in value if key != "samples_ms")
        return {key: without_single_runs(value[key]) for key in kept}
    if isinstance(value, list | tuple):
        return [without_single_runs(item) for item in value]
    return value


def without_folders(value: Any) -> Any:
    """Plain values with file names in place of absolute paths."""
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if is_path else value


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = list(rows[0])
    head = "| " + " | ".join(columns) + " |"
    rule = "|" + "---|" * len(columns)
    body = ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join([head, rule, *body])


def _circumstances(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    flags = " ".join(machine["cpu_flags"])
    return f"{machine['cpu']}, {machine['usable_cores']} usable cores ({flags}); {versions}."
