"""Decoders that take and give their cache: keys and values of what was read before."""

from __future__ import annotations

from typing import Any

from onnxopt.signature import TensorSpec

BATCH, SEQUENCE, PAST = "batch", "sequence", "past_sequence"
TOTAL = f"{PAST}+{SEQUENCE}"


def with_cache(model: Any, config: Any) -> tuple[Any, tuple[TensorSpec, ...]]:
    """A decoder whose cache are plain tensors.

    Inputs ``past_key_values.L.key`` and ``.value`` of each layer L, float32
    [batch, heads, past_sequence, head_size]; outputs ``logits`` and ``present.L.key``, ``.value``.

    Args:
        model: A causal language model of transformers.
        config: Of the model.

    Returns:
        The module and the specs of its further inputs.
    """
    import torch
    from transformers import DynamicCache

    text = config.get_text_config()
    layers = int(text.num_hidden_layers)
    heads = int(getattr(text, "num_key_value_heads", None) or text.num_attention_heads)
    size = int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    names = [f"past_key_values.{n}.{part}" for n in range(layers) for part in ("key", "value")]

    class Cached(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, *past: Any) -> dict[str, Any]:
            cache = DynamicCache([(past[2 * n], past[2 * n + 1]) for n in range(layers)])
            found = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                past_key_values=cache,
                use_cache=True,
            )
            outputs = {"logits": found.logits}
            for number, layer in enumerate(found.past_key_values.layers):
                outputs[f"present.{number}.key"] = layer.keys
                outputs[f"present.{number}.value"] = layer.values
            return outputs

    shape = (BATCH, heads, PAST, size)
    return Cached(), tuple(TensorSpec(name, "float32", shape) for name in names)
