"""Coupled channels: what has to leave a model together, and taking it out.

Every axis of every tensor is a term over sets of places (``_coupling_dims``). One walk over the
graph unifies the terms of axes whose places stand or fall together; a set that no input, output or
op wants whole is then a group, to which belong all places of constants that it touches. Linear in
the number of nodes. The idea of propagating along dimensions is that of Fang et al. (2023),
"DepGraph: Towards Any Structural Pruning"; terms in place of indices let heads and the places
within heads be told apart.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxopt.transform import Note
from onnxopt_passes.prune._coupling_groups import Analysis, Group, Member
from onnxopt_passes.prune._keeping import keep_units

__all__ = ["Group", "Member", "couplings", "keep_units"]


def couplings(model: ir.Model) -> tuple[tuple[Group, ...], tuple[Note, ...]]:
    """All groups of a model, in graph order, and why the channels of other layers stay.

    The model stays as it is. Subgraphs of If are followed, those of Loop and Scan, and functions,
    freeze what they read.
    """
    analysis = Analysis(model)
    return tuple(group for group, _ in analysis.groups), tuple(analysis.refusals())
