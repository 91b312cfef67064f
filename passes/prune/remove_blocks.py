"""Leaves out whole residual blocks, those that matter least for the time they take."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx_ir as ir

from onnxopt.exactness import Exactness
from onnxopt.graph import Editor
from onnxopt.targets import Cost, FloatKernel, Target
from onnxopt.transform import Context, Need, Note, Pass
from onnxopt_passes._trial import Trial
from onnxopt_passes.prune._blocks import Block, find_blocks
from onnxopt_passes.prune._latency import Forecast, sizes_of

_ANYTHING = FloatKernel(op="*", cost=Cost(mac=0.011, element=0.1, node=1500))
_LEAST_ERROR = 1e-6


@dataclass(frozen=True)
class RemoveBlocks(Pass):
    """Replace ``x + f(x)`` by ``x``, block by block: each time that with the least ``e^2 / t``.

    ``e`` is the error of the outputs on search data without the block, beside the original's,
    ``t`` the time that the block takes by the target's figures. A block is what makes ``f(x)`` of
    ``x``, if nothing else reads it and the sum has the shape of ``x``: of a residual network, or
    the attention or the feed-forward half of a transformer layer, whose normalization goes with it
    where it comes after the sum. Blocks are measured anew after each that goes.

    Veit et al. (2016), "Residual Networks Behave Like Ensembles of Relatively Shallow Networks";
    Sajjad et al. (2023), "On the effect of dropping layers of pre-trained transformer models". The
    result is that of a ``remove-blocks{only=[…]}``, which is given in a note and measures nothing.

    Attributes:
        count: How many to remove at most.
        max_error: The most the error of the outputs may be; blocks that take it further stay.
        only: Blocks to remove, by the name of the node that makes the sum (``*`` and ``?``
            allowed); nothing is measured then.
    """

    exactness: ClassVar[Exactness] = Exactness.LOSSY
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DATA})

    count: int = 1
    max_error: float = 1.0
    only: tuple[str, ...] = ()

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Take blocks out of the model's main graph."""
        name = model.graph.name or "model"
        sizes = sizes_of(model, context)
        if self.only:
            yield from self._remove_named(model, sizes)
            return
        if next(find_blocks(model, sizes), None) is None:
            yield Note.refused(name, "it has no residual block")
            return
        search = _Search(model, context)
        gone: list[str] = []
        for _ in range(self.count):
            best = search.best(model)
            if best is None:
                break
            if best.error > self.max_error:
                yield Note.refused(best.block.name, f"without it the error is {best.error:.3g}")
                break
            note = _remove(model, best.block)
            if note.kind == "applied":
                gone.append(best.block.name)
            yield replace(
                note,
                reason=f"{note.reason}: {best.microseconds:.3g} us less, error {best.error:.3g}",
                figures={"error": best.error, "gain_us": best.microseconds},
            )
        if gone:
            step = RemoveBlocks(only=tuple(gone))
            yield Note("applied", name, f"again without measuring: {step}", {"replay": str(step)})

    def _remove_named(self, model: ir.Model, sizes: dict[str, int]) -> Iterator[Note]:
        done: set[str] = set()
        while (block := self._next(model, sizes, done)) is not None:
            done.add(block.name)
            yield _remove(model, block)
        for word in self.only:
            if not any(fnmatch.fnmatchcase(name, word) for name in done):
                yield Note.refused(word, "there is no residual block of that name")

    def _next(self, model: ir.Model, sizes: dict[str, int], done: set[str]) -> Block | None:
        """The first block to remove in the graph as it is now; one that is gone moves others."""
        for block in find_blocks(model, sizes):
            wanted = any(fnmatch.fnmatchcase(block.name, word) for word in self.only)
            if wanted and block.name not in done:
                return block
        return None


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A block, the error without it and the time it takes."""

    block: Block
    error: float
    microseconds: float


class _Search:
    """Measures what the removal of blocks costs and gains."""

    def __init__(self, model: ir.Model, context: Context) -> None:
        self._context = context
        self._trial = Trial(context.teacher or model, context)
        self._target = _with_figures(context.target)

    def best(self, model: ir.Model) -> _Candidate | None:
        """The block to remove next; None where there is none left that takes time."""
        sizes = sizes_of(model, self._context)
        forecast = Forecast(model, (), sizes, self._target) if self._target is not None else None
        names = [block.name for block in find_blocks(model, sizes)]
        found = []
        for number, name in enumerate(names):
            self._context.progress("try without blocks", number, len(names))
            variant = model.clone()
            block = _named(variant, sizes, name)
            if block is None or _remove(variant, block).kind == "refused":
                continue
            own = _named(model, sizes, name)
            if own is None:
                continue
            gain = forecast.nanoseconds_of(own.nodes) / 1000 if forecast else 1.0
            found.append(_Candidate(own, self._trial.of(variant).error.mean, gain))
        return min(
            (one for one in found if one.microseconds > 0),
            key=lambda one: max(one.error, _LEAST_ERROR) ** 2 / one.microseconds,
            default=None,
        )


def _named(model: ir.Model, sizes: dict[str, int], name: str) -> Block | None:
    return next((block for block in find_blocks(model, sizes) if block.name == name), None)


def _remove(model: ir.Model, block: Block) -> Note:
    editor = Editor(model)
    if not editor.bypass(block.exit, block.entry):
        return Note.refused(block.name, "what it reads cannot stand in for an output of the graph")
    editor.sweep(block.nodes[-1])
    return Note.applied(block.name, f"{len(block.nodes)} nodes left out")


def _with_figures(target: Target | None) -> Target | None:
    """A target that knows what ops cost."""
    if target is None or target.float_kernels:
        return target
    return target.model_copy(update={"float_kernels": (_ANYTHING,)})
