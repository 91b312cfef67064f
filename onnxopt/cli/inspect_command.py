"""``onnxopt inspect``: what is in a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxopt.cli.settings import Settings, with_settings
from onnxopt.errors import UsageError


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--text", is_flag=True, help="The graph as ONNX text, big weights left out.")
@with_settings()
def command(settings: Settings, model: Path, text: bool) -> None:
    """Show the signature, size and ops of MODEL."""
    from onnxopt import api, store

    if text and settings.json:
        raise UsageError("--text next to --json", "one or the other")
    loaded = api.load(model)
    if text:
        click.echo(store.to_text(loaded))
        return
    summary = api.inspect(loaded)
    _print(settings, summary, model)
    settings.emit(summary.to_json())


def _print(settings: Settings, summary: Any, path: Path) -> None:
    from onnxopt.cli.render import size, table
    from onnxopt.guard import printable

    opsets = ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in summary.opsets.items())
    head = f"{path}: IR {summary.ir_version}, opset {printable(opsets)}"
    settings.say(f"{head}, made by {printable(summary.producer)}" if summary.producer else head)
    stats = summary.stats
    weights = f"{stats.initializers} initializers, {size(stats.weight_bytes)}"
    settings.say(f"{stats.nodes} nodes, {weights}")
    for kind, specs in (("input", summary.inputs), ("output", summary.outputs)):
        for spec in specs:
            settings.say(f"{kind:6} {printable(str(spec))}")
    rows = sorted(stats.ops.items(), key=lambda item: (-item[1], item[0]))
    settings.console.print(table("", ("op", ">count"), [(printable(op), n) for op, n in rows]))
