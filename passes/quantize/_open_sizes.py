"""Open sizes of a model's inputs, where a target's integers cannot be relied upon with them."""

from __future__ import annotations

import onnx_ir as ir

from onnxopt.errors import BackendMissingError
from onnxopt.runtime import SessionConfig, check_config
from onnxopt.signature import signature_of
from onnxopt.targets import Target


def open_sizes(model: ir.Model, target: Target) -> str:
    """What to do about open sizes that may spoil integers on a target; empty where none do."""
    if target.int8 is None or not target.int8.fixed_sizes:
        return ""
    for one in signature_of(model).inputs:
        if not one.is_static:
            return (
                f"provider {target.provider} may compute int8 wrongly where the sizes of an input "
                f"are open, as those of {one.name} are: build them in with --dim NAME=SIZE"
            )
    return ""


def unproven_sizes(model: ir.Model, target: Target) -> str:
    """The same, but empty where the provider can be asked: then what is tried shows it."""
    found = open_sizes(model, target)
    return found if found and not _starts(target) else ""


def _starts(target: Target) -> bool:
    try:
        check_config(SessionConfig(target.provider))
    except BackendMissingError:
        return False
    return True
