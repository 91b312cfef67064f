"""Branches and loops, run as they come; sequences and optionals, which are lists and None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from onnxopt.distill.bridge.ops.elementwise import Builder, plain
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value


def _branch(site: Site) -> Function:
    yes, no = site.bodies["then_branch"], site.bodies["else_branch"]

    def run(*values: Value) -> Value:
        return tuple((yes if bool(values[0]) else no).run(values))

    return run


def _loop(site: Site) -> Function:
    body, carried, formal = site.bodies["body"], site.inputs - 2, site.inputs

    def run(*values: Value) -> Value:
        limit = None if values[0] is None else int(values[0])
        goes_on, state = values[1], list(values[2:formal])
        rows: list[Sequence[Value]] = []
        step = 0
        while (limit is None or step < limit) and (goes_on is None or bool(goes_on)):
            given = torch.tensor(True) if goes_on is None else goes_on
            goes_on, *made = body.run(values, torch.tensor(step), given, *state)
            state = made[:carried]
            rows.append(made[carried:])
            step += 1
        return (*state, *_stacked(rows, len(site.node.outputs) - carried))

    return run


def _stacked(rows: list[Sequence[Value]], columns: int) -> list[Value]:
    if not rows:
        return [torch.empty(0)] * columns
    return [torch.stack(list(column)) for column in zip(*rows, strict=True)]


def _scan(site: Site) -> Function:
    if site.opset < 9:
        raise UnsupportedError("Scan of opset 8 has a batch axis")
    body, scanned = site.bodies["body"], site.attr("num_scan_inputs")
    carried = site.inputs - scanned
    made = len(site.node.outputs) - carried
    ways = site.attr("scan_input_directions", (0,) * scanned)
    axes = site.attr("scan_input_axes", (0,) * scanned)
    out_ways = site.attr("scan_output_directions", (0,) * made)
    out_axes = site.attr("scan_output_axes", (0,) * made)

    def run(*values: Value) -> Value:
        state = list(values[:carried])
        given = values[carried : site.inputs]
        columns = [x.unbind(axis) for x, axis in zip(given, axes, strict=True)]
        columns = [x[::-1] if way else x for x, way in zip(columns, ways, strict=True)]
        rows = []
        for row in zip(*columns, strict=True):
            result = body.run(values, *state, *row)
            state = result[:carried]
            rows.append(result[carried:])
        turned = zip(zip(*rows, strict=True), out_ways, out_axes, strict=True)
        stacked = [torch.stack(list(x[::-1] if way else x), axis) for x, way, axis in turned]
        return (*state, *stacked)

    return run


def _sequence(*values: Value) -> Value:
    return list(values)


def _empty_sequence() -> Value:
    return []


def _at(items: Value, place: Value) -> Value:
    return items[int(place)]


def _length(items: Value) -> Value:
    return torch.tensor(len(items))


def _insert(items: Value, item: Value, place: Value = None) -> Value:
    at = len(items) if place is None else int(place)
    at = at + len(items) if at < 0 else at
    return [*items[:at], item, *items[at:]]


def _erase(items: Value, place: Value = None) -> Value:
    at = (-1 if place is None else int(place)) % len(items)
    return [*items[:at], *items[at + 1 :]]


def _split_to_sequence(site: Site) -> Function:
    axis, keep = site.attr("axis", 0), site.attr("keepdims", 1)

    def run(x: Value, sizes: Value = None) -> Value:
        if sizes is None:
            return [part if keep else part.squeeze(axis) for part in x.split(1, axis)]
        return list(torch.split(x, int(sizes) if sizes.dim() == 0 else sizes.tolist(), axis))

    return run


def _joined(site: Site) -> Function:
    axis, new = site.attr("axis", 0), site.attr("new_axis", 0)
    return lambda items: torch.stack(items, axis) if new else torch.cat(items, axis)


def _mapped(site: Site) -> Function:
    body, formal = site.bodies["body"], site.inputs

    def run(*values: Value) -> Value:
        first, *rest = values[:formal]
        rows = []
        for index, item in enumerate(first):
            others = [x[index] if isinstance(x, list) else x for x in rest]
            rows.append(body.run(values, item, *others))
        return tuple(list(column) for column in zip(*rows, strict=True))

    return run


def _optional(x: Value = None) -> Value:
    return x


def _has_element(x: Value = None) -> Value:
    return torch.tensor(x is not None)


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "ConcatFromSequence"): _joined,
    ("", "If"): _branch,
    ("", "Loop"): _loop,
    ("", "Optional"): plain(_optional),
    ("", "OptionalGetElement"): plain(_optional),
    ("", "OptionalHasElement"): plain(_has_element),
    ("", "Scan"): _scan,
    ("", "SequenceAt"): plain(_at),
    ("", "SequenceConstruct"): plain(_sequence),
    ("", "SequenceEmpty"): plain(_empty_sequence),
    ("", "SequenceErase"): plain(_erase),
    ("", "SequenceInsert"): plain(_insert),
    ("", "SequenceLength"): plain(_length),
    ("", "SequenceMap"): _mapped,
    ("", "SplitToSequence"): _split_to_sequence,
}
