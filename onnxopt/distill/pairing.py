"""Which inputs and outputs of a student belong to which of its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxopt.errors import ModelError
from onnxopt.fixed import fixed_inputs
from onnxopt.graph import all_graphs
from onnxopt.signature import Signature, TensorSpec, signature_of


@dataclass(frozen=True)
class Pairing:
    """A student's names and the teacher's for the same thing.

    Attributes:
        inputs: Student's to teacher's.
        outputs: Student's to teacher's.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def is_identity(self) -> bool:
        """Whether all names are equal."""
        return all(a == b for names in (self.inputs, self.outputs) for a, b in names.items())


def pair(teacher: ir.Model, student: ir.Model) -> Pairing:
    """Match by name, else by position where number, types and sizes allow.

    A student may take fewer inputs than its teacher.

    Raises:
        ModelError: They do not match.
    """
    theirs, own = signature_of(teacher), signature_of(student)
    fed = {spec.name for spec in theirs.inputs} | fixed_inputs(teacher).keys()
    inputs = _by_name(own.inputs, fed)
    if inputs is None:
        inputs = _by_position("inputs", own.inputs, theirs.inputs)
    outputs = _by_name(own.outputs, {spec.name for spec in theirs.outputs})
    if outputs is None or len(own.outputs) != len(theirs.outputs):
        outputs = _by_position("outputs", own.outputs, theirs.outputs)
    _check_sizes(own, theirs, outputs)
    return Pairing(inputs, outputs)


def renamed(student: ir.Model, pairing: Pairing) -> ir.Model:
    """A clone (weights shared) whose inputs and outputs have the teacher's names."""
    clone = student.clone()
    graph = clone.graph
    new = {v: pairing.inputs[v.name or ""] for v in graph.inputs if v.name in pairing.inputs}
    new |= {v: pairing.outputs[v.name or ""] for v in graph.outputs if v.name in pairing.outputs}
    taken = set(new.values())
    for value in [out for node in graph for out in node.outputs]:
        if value.name in taken and value not in new:
            value.name = f"{value.name}/student"
    for value in new:
        value.name = None
    for value, name in new.items():
        value.name = name
    return clone


def copy_weights(source: ir.Model, target: ir.Model) -> None:
    """Give a model the weights of a ``renamed`` clone of it that was trained.

    Args:
        source: The trained clone.
        target: Edited in place.
    """
    for theirs, own in zip(all_graphs(source), all_graphs(target), strict=True):
        for name, value in theirs.initializers.items():
            own.initializers[name].const_value = value.const_value
        for before, after in zip(theirs, own, strict=True):
            if before.op_type == "Constant":
                after.attributes.clear()
                after.attributes.update(before.attributes)


def _by_name(specs: Sequence[TensorSpec], known: set[str]) -> dict[str, str] | None:
    names = [spec.name for spec in specs]
    return {name: name for name in names} if set(names) <= known else None


def _by_position(
    what: str, own: Sequence[TensorSpec], theirs: Sequence[TensorSpec]
) -> dict[str, str]:
    if len(own) != len(theirs):
        raise ModelError(
            f"the student has other {what} than its teacher: {_listed(own)}", _listed(theirs)
        )
    return {a.name: b.name for a, b in zip(own, theirs, strict=True)}


def _check_sizes(own: Signature, theirs: Signature, outputs: Mapping[str, str]) -> None:
    wanted = {spec.name: spec for spec in theirs.outputs}
    for spec in own.outputs:
        other = wanted[outputs[spec.name]]
        if not _fit(spec, other):
            raise ModelError(f"the student's output {spec} cannot be compared", f"{other}")


def _fit(own: TensorSpec, other: TensorSpec) -> bool:
    if own.shape is None or other.shape is None:
        return True
    return len(own.shape) == len(other.shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int))
        for a, b in zip(own.shape, other.shape, strict=True)
    )


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs)) or "none"
