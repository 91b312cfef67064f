"""``onnxopt distill``: teach another model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxopt.cli.training import training_command

if TYPE_CHECKING:
    from onnxopt.api import RecoverResult

_TEXT = """Train STUDENT, any model with the teacher's inputs and outputs, to compute what it does.

Inputs and outputs are matched by name, else by position. All else is as for recover."""


@training_command("distill", _TEXT)
def command(*arguments: Any, **options: Any) -> RecoverResult:
    """Call the verb."""
    from onnxopt import api

    return api.distill(*arguments, **options)
