"""``onnxopt passes``: list and explain the passes."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import click

from onnxopt.cli.settings import Settings, with_settings


@click.command("passes")
@click.argument("name", required=False)
@with_settings()
def command(settings: Settings, name: str | None) -> None:
    """List the passes, or explain the one called NAME."""
    from onnxopt import registry

    if name is None:
        _list(settings)
    else:
        _explain(settings, registry.find(name))


def _list(settings: Settings) -> None:
    from onnxopt import registry
    from onnxopt.cli.render import table
    from onnxopt.presets import PRESETS

    found = registry.passes().values()
    rows = [(p.pass_name(), p.exactness.value, _needs(p), _first_line(p)) for p in found]
    settings.console.print(table("", ("pass", "exactness", "needs", "what it does"), rows))
    for preset, text in PRESETS.items():
        settings.say(f"\npreset {preset} = {text}")
    settings.emit([_document(pass_class) for pass_class in found])


def _explain(settings: Settings, pass_class: Any) -> None:
    from onnxopt.cli.render import table

    console = settings.console
    console.print(f"[bold]{pass_class.pass_name()}[/]  ({pass_class.exactness.value})")
    needs = _needs(pass_class)
    if needs:
        console.print(f"needs {needs}")
    settings.say(f"\n{inspect.getdoc(pass_class)}\n")
    rows = [(f["name"], f["type"], f["default"]) for f in _document(pass_class)["options"]]
    if rows:
        console.print(table("options", ("name", "type", "default"), rows))
    settings.emit(_document(pass_class))


def _document(pass_class: Any) -> dict[str, Any]:
    from onnxopt import literal
    from onnxopt.transform import default_of

    fields = dataclasses.fields(pass_class)
    return {
        "name": pass_class.pass_name(),
        "exactness": pass_class.exactness.value,
        "needs": sorted(need.value for need in pass_class.needs),
        "summary": _first_line(pass_class),
        "options": [
            {
                "name": f.name,
                "type": str(f.type),
                "default": literal.spell(default_of(f)),
            }
            for f in fields
        ],
    }


def _needs(pass_class: Any) -> str:
    return ", ".join(sorted(need.value for need in pass_class.needs))


def _first_line(pass_class: Any) -> str:
    return (inspect.getdoc(pass_class) or "").split("\n", maxsplit=1)[0]
