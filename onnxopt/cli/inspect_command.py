"""``onnxopt inspect``: what is in a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.options import parse_dims
from onnxopt.cli.settings import Settings, with_settings
from onnxopt.errors import UsageError

if TYPE_CHECKING:
    from onnxopt.api import ModelSummary
    from onnxopt.counting import LayerSparsity


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--text", is_flag=True, help="The graph as ONNX text, big weights left out.")
@click.option("--sparsity", is_flag=True, help="The zeros of each layer's weight.")
@click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="N=SIZE",
    help="Size of a dynamic axis to count multiply-accumulates at; 1 by default.",
)
@with_settings()
def command(
    settings: Settings, model: Path, text: bool, sparsity: bool, dims: tuple[str, ...]
) -> None:
    """Show the signature, size and ops of MODEL."""
    from onnxopt import api, store

    if text and (settings.json or sparsity or dims):
        other = "--json" if settings.json else "--sparsity" if sparsity else "--dim"
        raise UsageError(f"--text next to {other}", "one or the other")
    sizes = {name: size for name, size in parse_dims(dims).items() if isinstance(size, int)}
    if len(sizes) < len(dims):
        raise UsageError("--dim with several sizes", "one size a dimension, each given once")
    loaded = api.load(model)
    if text:
        click.echo(store.to_text(loaded))
        return
    summary = api.inspect(loaded, dims=sizes, sparsity=sparsity)
    _print(settings, summary, model)
    settings.emit(summary.to_json())


def _print(settings: Settings, summary: ModelSummary, path: Path) -> None:
    from onnxopt.cli.render import size, table
    from onnxopt.guard import printable

    opsets = ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in summary.opsets.items())
    head = f"{path}: IR {summary.ir_version}, opset {printable(opsets)}"
    settings.say(f"{head}, made by {printable(summary.producer)}" if summary.producer else head)
    stats = summary.stats
    weights = f"{stats.initializers} initializers, {size(stats.weight_bytes)}"
    settings.say(f"{stats.nodes} nodes, {weights}")
    settings.say(printable(_counts(summary)))
    for kind, specs in (("input", summary.inputs), ("output", summary.outputs)):
        for spec in specs:
            settings.say(f"{kind:6} {printable(str(spec))}")
    if summary.sparsity is not None:
        _print_sparsity(settings, summary.sparsity)
        return
    rows = sorted(stats.ops.items(), key=lambda item: (-item[1], item[0]))
    settings.console.print(table("", ("op", ">count"), [(printable(op), n) for op, n in rows]))


def _counts(summary: ModelSummary) -> str:
    """Parameters and multiply-accumulates, and what those rest on."""
    text = f"{summary.parameters:,} parameters, {summary.macs:,} MACs a run"
    if summary.sizes:
        sizes = ", ".join(f"{name} = {size}" for name, size in summary.sizes.items())
        text += f" at {sizes}"
    if summary.assumed:
        text += " (set sizes with --dim)"
    if summary.uncounted:
        count = len(summary.uncounted)
        text += f"; {count} node{'s' * (count > 1)} of unknown size not counted"
    if summary.once:
        text += f"; one round of {', '.join(summary.once)} counted"
    return text


def _print_sparsity(settings: Settings, found: tuple[LayerSparsity, ...]) -> None:
    from onnxopt.cli.render import percent, table
    from onnxopt.guard import printable

    if not found:
        settings.say("no layer has constant weights")
        return
    columns = ("layer", "op", "shape", ">zeros", ">share", "N:M", ">zero outputs", ">zero inputs")
    rows = [
        (
            printable(one.node),
            one.op_type,
            "×".join(map(str, one.shape)),
            f"{one.zeros:,}",
            percent(one.share, 1),
            one.pattern,
            str(one.zero_outputs or ""),
            str(one.zero_inputs or ""),
        )
        for one in found
    ]
    settings.console.print(table("", columns, rows))
    zeros, elements = sum(one.zeros for one in found), sum(one.elements for one in found)
    share = percent(zeros / elements, 1) if elements else "none"
    settings.say(f"{zeros:,} of {elements:,} weights in {len(found)} layers are zero: {share}")
