"""Whether this machine can run models the way the target will."""

from __future__ import annotations

from dataclasses import replace

from onnxopt.api.workbench import Workbench
from onnxopt.errors import BackendMissingError
from onnxopt.runtime import check_config


def check_target(bench: Workbench) -> None:
    """See that models can be run on the target, in fp32 at least.

    Raises:
        BackendMissingError: They cannot.
    """
    check_config(replace(bench.session, precision="fp32"))


def missing_provider(bench: Workbench) -> str:
    """Why the target's provider was not asked and the CPU provider was; empty where it was."""
    return "" if bench.options.measure else obstacle(bench)


def obstacle(bench: Workbench) -> str:
    """Why models cannot be run as on the target; empty where they can."""
    try:
        check_config(replace(bench.session, spinning=False))
    except BackendMissingError as error:
        return error.found
    return ""
