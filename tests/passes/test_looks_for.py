"""What passes say of when there is nothing for them to do, on every golden model."""

from __future__ import annotations

import golden
import pytest

from onnxopt import registry, store
from onnxopt.graph import stats
from onnxopt.transform import Context, Pass

TEXTS = [golden.read(path).before for path in golden.cases()[::2]]
ALL = {name: step for name, step in registry.passes().items() if step.exactness.is_exact}
PICKY = [name for name, step in ALL.items() if step.looks_for is not None]
SETTLING = [name for name, step in ALL.items() if step.settles]


def made(name: str) -> Pass:
    options = {"to": 17} if name == "raise-opset" else {}
    return ALL[name].from_options(options)


def test_a_pass_finds_nothing_without_what_it_looks_for() -> None:
    said = []
    for text in TEXTS:
        model = store.from_text(text)
        ops = stats(model).ops
        for name in PICKY:
            if (ALL[name].looks_for or frozenset()).isdisjoint(ops):
                notes = list(made(name).rewrite(model, Context()))
                said += [(name, note.node, note.reason) for note in notes]
    assert not said


@pytest.mark.parametrize("name", SETTLING)
def test_a_pass_that_settles_finds_nothing_in_its_own_result(name: str) -> None:
    for text in TEXTS:
        model = store.from_text(text)
        list(made(name).rewrite(model, Context()))
        again = [note for note in made(name).rewrite(model, Context()) if note.kind == "applied"]
        assert not again, text
