"""``onnxopt recover``: get back what pruning or quantizing has lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxopt.cli.training import training_command

if TYPE_CHECKING:
    from onnxopt.api import RecoverResult

_TEXT = """Train STUDENT, a pruned or quantized copy of its teacher, to compute what that computes.

Needs no labels, training code or framework but torch. The graph stays as it is, zeros of pruned
weights stay zero, and integers of quantized ones are trained through. Both are compared with the
teacher on samples that training has not seen; weights that imitate it no better are not kept.
Interrupted, the same command goes on where it was."""


@training_command("recover", _TEXT)
def command(*arguments: Any, **options: Any) -> RecoverResult:
    """Call the verb."""
    from onnxopt import api

    return api.recover(*arguments, **options)
