"""Rotations as torch's exporters write those of real language models, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxopt import pipeline, store
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.transform import Context

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.huggingface

_SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "use_cache": False,
    "attn_implementation": "eager",
}


def _llama() -> Any:
    config = transformers.LlamaConfig(**_SIZES, num_key_value_heads=2)
    return transformers.LlamaForCausalLM(config)


def _neox() -> Any:
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**_SIZES))


def _qwen() -> Any:
    config = transformers.Qwen2Config(**_SIZES, num_key_value_heads=2)
    return transformers.Qwen2ForCausalLM(config)


def _gptj() -> Any:
    sizes = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    config = transformers.GPTJConfig(
        **sizes, rotary_dim=4, use_cache=False, attn_implementation="eager"
    )
    return transformers.GPTJForCausalLM(config)


class _Logits(torch.nn.Module):  # type: ignore[misc]
    """A language model from tokens to logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Any, mask: Any) -> Any:
        """Logits of all tokens."""
        return self.model(input_ids=tokens, attention_mask=mask, return_dict=True).logits


@pytest.mark.parametrize(
    ("make", "exporter"),
    [
        (_llama, "torchscript"),
        (_llama, "dynamo"),
        (_neox, "torchscript"),
        (_qwen, "torchscript"),
        (_gptj, "torchscript"),
    ],
)
def test_language_models(make: Any, exporter: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    tokens = torch.randint(0, 50, (2, 6))
    _export(_Logits(make().eval()), tokens, path, exporter)
    model = store.load(path)
    recipe = Recipe.parse("exact | recognize-rotary-embedding{domain=microsoft} | tidy")
    result = pipeline.run(model, recipe, Context())
    found = [node for node in result.model.graph if node.op_type == "RotaryEmbedding"]
    assert len(found) == 4, [note for step in result.results for note in step.notes][-20:]
    config = SessionConfig(threads=1)
    with open_session(path, config) as before, open_session(result.model, config) as after:
        for shape in [(1, 1), (1, 9), (3, 5)]:
            feeds = {
                "tokens": np.random.default_rng(1).integers(0, 50, shape),
                "mask": np.ones(shape, np.int64),
            }
            (one,), (other,) = (s.run(feeds).values() for s in (before, after))
            np.testing.assert_allclose(one, other, atol=2e-5, rtol=1e-4)


def _export(model: Any, tokens: Any, path: Path, exporter: str) -> None:
    inputs = (tokens, torch.ones_like(tokens))
    names: dict[str, Any] = {"input_names": ["tokens", "mask"], "output_names": ["logits"]}
    if exporter == "torchscript":
        axes = {name: {0: "N", 1: "S"} for name in ("tokens", "mask")}
        torch.onnx.export(
            model, inputs, path, dynamo=False, opset_version=17, dynamic_axes=axes, **names
        )
        return
    any_size = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        model,
        inputs,
        path,
        dynamo=True,
        opset_version=18,
        dynamic_shapes=({0: any_size, 1: any_size},) * 2,
        external_data=False,
        verbose=False,
        **names,
    )
