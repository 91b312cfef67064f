"""The torch bridge computes what ONNX Runtime computes, on real networks with bodies and LSTMs."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt import store
from onnxopt.data import synthesize
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt_models.fetch import fetch

torch = pytest.importorskip("torch")
from onnxopt.distill import to_torch  # noqa: E402

pytestmark = pytest.mark.real
MODELS = {"captcha": {}, "chars2vec": {}, "orientation": {}, "pp-ocr-rec": {"x:2": 48}}
RELATIVE = 2e-4
"""Of the greatest output; 3e-5 is the worst seen over all models and their tasks' samples."""


@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_computes_the_same_and_is_written_back_unchanged(name: str) -> None:
    model = store.load(fetch(name))
    bridge = to_torch(model)
    data = synthesize(signature_of(model), dims=MODELS[name], samples=1)
    with open_session(model, SessionConfig(threads=1)) as session, torch.no_grad():
        for sample in data:
            wanted, found = session.run(sample.feeds), bridge(sample.feeds)
            for key, value in wanted.items():
                close = RELATIVE * float(np.abs(value).max())
                np.testing.assert_allclose(found[key].numpy(), value, rtol=0, atol=close)
    before = store.content_hash(model)
    assert bridge.write_back(model) == []
    assert store.content_hash(model) == before
