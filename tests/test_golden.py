"""Every golden case, and that every pass has at least one hit and one case it leaves alone."""

from __future__ import annotations

from pathlib import Path

import golden
import numpy as np
import pytest

from onnxopt import registry, store
from onnxopt.transform import Need


@pytest.mark.parametrize("path", golden.cases(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_golden_case(path: Path) -> None:
    case = golden.read(path)
    if Need.TORCH in case.step.needs:
        pytest.importorskip("torch")
    original = golden.load(case.before, path)
    model = golden.load(case.before, path)

    notes = list(case.step.rewrite(model, golden.context(case, original)))

    hits = [note for note in notes if note.kind == "applied"]
    refusals = [note.reason for note in notes if note.kind == "refused"]
    expected = golden.load(case.after if case.after is not None else case.before, path)
    assert store.same_graph(model, expected, rtol=1e-6, atol=1e-6) is None
    assert (len(hits) > 0) == (case.after is not None), notes
    if case.applied is not None:
        assert len(hits) == case.applied, notes
    for part in case.refused:
        assert any(part in reason for reason in refusals), refusals
    if case.run:
        _assert_same_outputs(case, original, model)


def _assert_same_outputs(case: golden.GoldenCase, original: object, model: object) -> None:
    tolerance = case.step.exactness.tolerance
    if tolerance is None:
        return  # what a lossy pass may lose is pinned in its own tests
    for seed in range(2):
        before = golden.outputs_of(original, original, seed)
        after = golden.outputs_of(model, original, seed)
        assert list(before) == list(after)
        for name, value in before.items():
            np.testing.assert_allclose(
                after[name], value, rtol=tolerance.rtol, atol=tolerance.atol, err_msg=name
            )


@pytest.mark.parametrize("name", [n for n, p in registry.passes().items()])
def test_every_pass_has_a_hit_and_a_case_it_leaves_alone(name: str) -> None:
    folder = golden.FOLDER / name
    texts = [path.read_text() for path in sorted(folder.glob("*.txt"))]
    assert any("\n---\n" in text for text in texts), f"no hit in {folder}"
    assert any("\n---\n" not in text or "# refused:" in text for text in texts)


def test_every_golden_folder_belongs_to_a_pass() -> None:
    folders = {path.name for path in golden.FOLDER.iterdir()}
    assert folders <= set(registry.passes())
