"""Every change of an op up to the newest audited opset is either followed or harmless."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import onnx
import pytest

from onnxopt_passes.simplify._opset_steps import AUDITED_OPSET, STEPS

Schema = onnx.defs.OpSchema
OPTIONAL = Schema.FormalParameterOption.Optional
# A signature that only grows, but means something else than before.
MEANING_CHANGED = {
    ("BatchNormalization", 14),
    ("Dropout", 10),
    ("GroupNormalization", 21),
    ("Resize", 13),
    ("RoiAlign", 16),
    ("Split", 18),
}


def steps() -> Iterator[tuple[Schema, Schema]]:
    history: dict[str, list[Schema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            history.setdefault(schema.name, []).append(schema)
    for schemas in history.values():
        schemas.sort(key=lambda schema: schema.since_version)
        for old, new in itertools.pairwise(schemas):
            if 7 <= new.since_version <= AUDITED_OPSET:
                yield old, new


def is_harmless(old: Schema, new: Schema) -> bool:
    """Whether each node of the old version is one of the new, with the same defaults."""
    kept = all(
        name in new.attributes and default_of(old, name) == default_of(new, name)
        for name in old.attributes
    )
    added = all(name in old.attributes or not a.required for name, a in new.attributes.items())
    return (
        kept
        and added
        and not new.deprecated
        and only_grows(old.inputs, new.inputs)
        and only_grows(old.outputs, new.outputs)
    )


def default_of(schema: Schema, name: str) -> bytes:
    return bytes(schema.attributes[name].default_value.SerializeToString(deterministic=True))


def only_grows(old: Sequence[object], new: Sequence[object]) -> bool:
    pairs = zip(old, new, strict=False)
    same = all(b.option in (a.option, OPTIONAL) for a, b in pairs)  # type: ignore[attr-defined]
    extra = all(item.option == OPTIONAL for item in new[len(old) :])  # type: ignore[attr-defined]
    return len(new) >= len(old) and same and extra


def changing() -> list[tuple[str, int]]:
    return [(b.name, b.since_version) for a, b in steps() if not is_harmless(a, b)]


@pytest.mark.parametrize("change", changing(), ids=lambda change: f"{change[0]}-{change[1]}")
def test_a_change_of_signature_is_followed(change: tuple[str, int]) -> None:
    assert change in STEPS


def test_no_step_is_idle() -> None:
    known = {(new.name, new.since_version) for _, new in steps()}
    assert set(STEPS) - set(changing()) <= MEANING_CHANGED
    assert set(STEPS) <= known
