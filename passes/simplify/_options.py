"""Options that nodes in a function take from its callers, where all callers give the same."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxopt.transform import Note
from onnxopt_passes.simplify._attributes import PLAIN
from onnxopt_passes.simplify._calls import Calls, calls_in_order, takes_options


def bind_options(model: ir.Model) -> Iterator[Note]:
    """Write into the bodies what all calls agree on; one note for each option of a function.

    Numbers and texts only. What all calls leave out, the function having no default for it, is
    left out in the body.
    """
    for function, calls in calls_in_order(model):
        if not calls:
            continue
        nodes = [node for node in function.all_nodes() if takes_options(node)]
        references = [attr for node in nodes for attr in node.attributes.values() if attr.is_ref()]
        for name in dict.fromkeys(attr.ref_attr_name or "" for attr in references):
            given = [_given(call, function, name) for call in calls]
            if _agree(given) and _write(nodes, name, given[0]):
                shown = "left out" if given[0] is None else repr(given[0].value)
                yield Note.applied(function.name, f"{name} is {shown} in all calls")


def _given(call: ir.Node, function: ir.Function, name: str) -> ir.Attr | None:
    """What a call means by an option; None where it means none."""
    attr = call.attributes.get(name, function.attributes.get(name))
    return None if attr is None or (attr.value is None and not attr.is_ref()) else attr


def _agree(given: list[ir.Attr | None]) -> bool:
    first = given[0]
    if first is None:
        return all(attr is None for attr in given)
    plain = all(attr is not None and attr.type in PLAIN and not attr.is_ref() for attr in given)
    return plain and len({_spelled(attr) for attr in given if attr is not None}) == 1


def _spelled(attr: ir.Attr) -> str:
    """Tells 0.0 from -0.0, and does not tell one not-a-number from another."""
    value = list(attr.value) if isinstance(attr.value, list | tuple) else attr.value
    return f"{attr.type.name} {value!r}"


def _write(nodes: Calls, name: str, given: ir.Attr | None) -> bool:
    """Put a value wherever it is referred to; whether that was somewhere."""
    written = False
    for node in nodes:
        for key, attr in list(node.attributes.items()):
            if not attr.is_ref() or attr.ref_attr_name != name:
                continue
            if given is None:
                del node.attributes[key]
            elif attr.type == given.type:
                node.attributes[key] = ir.Attr(key, given.type, given.value)
            else:
                continue
            written = True
    return written
