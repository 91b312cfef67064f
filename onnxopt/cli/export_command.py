"""``onnxopt export``: any framework in, one verified ONNX file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxopt.cli.options import check_output, output_option, target_option
from onnxopt.cli.settings import Settings, with_settings

if TYPE_CHECKING:
    from onnxopt.api import ExportResult


@click.command("export")
@click.argument("source")
@output_option
@click.option("--sample", metavar="DATA", help="What to feed: a data spec; made up by default.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=DTYPE[SIZES]",
    help="What the model takes, where it does not say: image=float32[N,3,224,224].",
)
@click.option(
    "--dynamic",
    multiple=True,
    metavar="NAME=AXIS:LABEL",
    help="A dimension to leave open: image=0:N.",
)
@click.option("--output-name", "names", multiple=True, help="What an output is called, in order.")
@click.option("--opset", type=click.IntRange(min=1), help="Opset of the result.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for the architecture.")
@click.option("--kv-cache", is_flag=True, help="A decoder takes and gives keys and values.")
@click.option("--trust-pickle", is_flag=True, help="Read files that can run code when read.")
@click.option(
    "--save-sample", type=click.Path(path_type=Path), help="Write what was fed, for --data."
)
@target_option
@with_settings("seed", "force", "dry_run")
def command(
    settings: Settings,
    source: str,
    output: Path,
    sample: str | None,
    inputs: tuple[str, ...],
    dynamic: tuple[str, ...],
    names: tuple[str, ...],
    opset: int | None,
    weights: Path | None,
    kv_cache: bool,
    trust_pickle: bool,
    save_sample: Path | None,
    target: str,
) -> None:
    """Export SOURCE to ONNX, verify it against its framework, and write it.

    SOURCE is module:factory or file.py:factory (PyTorch, scikit-learn, Keras, onnxscript), a .pt2,
    .keras, .tflite, .joblib or .onnx file, a TensorFlow saved model or a Hugging Face folder.
    """
    from onnxopt import api
    from onnxopt.cli.watch import watching

    destination = check_output(settings, output)
    beside = None if save_sample is None else check_output(settings, save_sample)
    with watching(settings, f"exporting {source}") as watch:
        options = api.ExportOptions(
            sample=sample,
            inputs=inputs,
            dynamic=dynamic,
            outputs=names,
            opset=opset,
            weights=weights,
            trust_pickle=trust_pickle,
            kv_cache=kv_cache,
            target=target,
            seed=settings.seed,
            dry_run=settings.dry_run,
            progress=watch.stage,
        )
        result = api.export(source, destination, options=options, sample_output=beside)
    _print(settings, result)
    settings.emit(result.to_json())


def _print(settings: Settings, result: ExportResult) -> None:
    from onnxopt.cli.render import describe_saved
    from onnxopt.guard import printable

    export = result.export
    for kind, specs in (("input", export.inputs), ("output", export.outputs)):
        for spec in specs:
            settings.say(f"{kind:<8} {printable(str(spec))}")
    if export.dynamic:
        settings.say(f"dynamic  {printable(', '.join(export.dynamic))}")
    settings.say(f"exporter {export.exporter}, opset {export.opset}")
    if export.is_random:
        settings.warn("the sample was made up: give --sample to verify on real data")
    for note in export.notes:
        settings.say(f"note: {printable(note)}")
    if export.check is not None:
        settings.say(f"verified against {export.framework}: {export.check}")
    settings.say(describe_saved(result.saved))
    if result.sample is not None:
        settings.say(f"wrote {result.sample}, ready for --data")
