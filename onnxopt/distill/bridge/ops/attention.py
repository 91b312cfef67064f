"""Attention in its forms, and rotary positions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value

_MICROSOFT = "com.microsoft"


def _heads(x: Value, count: int) -> Value:
    """[batch, length, heads·size] as [batch, heads, length, size]."""
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


def _merged(x: Value) -> Value:
    """[batch, heads, length, size] as [batch, length, heads·size]."""
    return x.transpose(1, 2).flatten(2)


def _additive(mask: Value, like: Value) -> Value:
    """A mask to be added; a boolean one keeps where it is true."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, -math.inf)


def _weights(scores: Value) -> Value:
    """Softmax over keys; a row that may look nowhere is all zeros."""
    made = torch.softmax(scores, -1)
    return torch.where(scores.amax(-1, keepdim=True) == -math.inf, torch.zeros_like(made), made)


@dataclass(frozen=True)
class _Setting:
    """The attributes of the standard's Attention."""

    causal: bool
    scale: float | None
    softcap: float
    before: int
    after: int
    shown: int

    def allowed(self, queries: int, keys: int, past: Value) -> Value:
        """Which key each query may see, [.., queries, keys]; None for all.

        ``past`` counts the keys before the first query: a number, or one for each of the batch.
        """
        if not self.causal and self.before < 0 and self.after < 0:
            return None
        first = past.reshape(-1, 1, 1, 1) if isinstance(past, torch.Tensor) else past
        ahead = torch.arange(keys) - (torch.arange(queries).unsqueeze(1) + first)
        found = torch.ones_like(ahead, dtype=torch.bool)
        if self.causal:
            found &= ahead <= 0
        if self.before >= 0:
            found &= -ahead <= self.before
        if self.after >= 0:
            found &= ahead <= self.after
        return found

    def attend(self, q: Value, k: Value, v: Value, masks: list[Value]) -> tuple[Value, Value]:
        """The result and the stage of the scores that the fourth output shows."""
        root = math.sqrt(1 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale)
        stages = [torch.matmul(q * root, (k * root).transpose(-1, -2))]
        capped = self.softcap * torch.tanh(stages[0] / self.softcap) if self.softcap else stages[0]
        total = capped
        for mask in masks:
            total = total + _additive(mask, capped)
        stages += [capped, total, _weights(total)]
        return torch.matmul(stages[3], v), stages[self.shown]


def _attention(site: Site) -> Function:
    scale = site.attr("scale")
    setting = _Setting(
        causal=bool(site.attr("is_causal", 0)),
        scale=scale,
        softcap=site.attr("softcap", 0.0),
        before=site.attr("left_window_size", -1),
        after=site.attr("right_window_size", -1),
        shown=site.attr("qk_matmul_output_mode", 0),
    )
    counts = site.attr("q_num_heads"), site.attr("kv_num_heads")

    def run(
        q: Value,
        k: Value,
        v: Value,
        mask: Value = None,
        past_k: Value = None,
        past_v: Value = None,
        lengths: Value = None,
    ) -> Value:
        flat = q.dim() == 3
        if flat:
            q, k, v = _heads(q, counts[0]), _heads(k, counts[1]), _heads(v, counts[1])
        if past_k is not None:
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        present, queries, keys = (k, v), q.shape[2], k.shape[2]
        past: Value = 0 if past_k is None else past_k.shape[2]
        masks = [] if mask is None else [_widened(_additive(mask, q), keys)]
        if lengths is not None:
            masks.append(torch.arange(keys) < lengths.reshape(-1, 1, 1, 1))
            past = lengths - queries if past_k is None else past
        allowed = setting.allowed(queries, keys, past)
        masks += [] if allowed is None else [allowed]
        times = q.shape[1] // k.shape[1]
        if times > 1:
            k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
        made, shown = setting.attend(q, k, v, masks)
        return _merged(made) if flat else made, *present, shown

    return run


def _widened(mask: Value, keys: int) -> Value:
    """A mask that covers fewer keys than there are hides the rest."""
    missing = keys - mask.shape[-1]
    return F.pad(mask, (0, missing), value=-math.inf) if missing > 0 else mask


def _hidden_keys(mask: Value, keys: int, value: float) -> Value:
    """com.microsoft's mask of keys, [batch, keys] or a length each, to be added."""
    if mask.dim() == 1:
        mask = torch.arange(keys) < mask.reshape(-1, 1)
    if mask.dim() != 2:
        raise UnsupportedError("its mask has other axes than batch and keys")
    return (1.0 - mask.to(torch.float32)).mul(value).reshape(mask.shape[0], 1, 1, -1)


def _multi_head(site: Site) -> Function:
    count, scale = site.attr("num_heads"), site.attr("scale")
    hidden = site.attr("mask_filter_value", -10000.0)
    setting = _Setting(bool(site.attr("unidirectional", 0)), scale or None, 0.0, -1, -1, 0)

    def run(
        q: Value,
        k: Value,
        v: Value,
        bias: Value = None,
        mask: Value = None,
        added: Value = None,
        past_k: Value = None,
        past_v: Value = None,
        *rest: Value,
    ) -> Value:
        if k is None or v is None or q.dim() != 3:
            raise UnsupportedError("it has packed inputs")
        if bias is not None:
            sizes = [q.shape[2], q.shape[2], bias.shape[0] - 2 * q.shape[2]]
            parts = bias.split(sizes)
            q, k, v = q + parts[0], *(_biased(x, b) for x, b in zip((k, v), parts[1:], strict=True))
        q = _heads(q, count)
        k, v = (x if x.dim() == 4 else _heads(x, count) for x in (k, v))
        if past_k is not None:
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        masks = [] if mask is None else [_hidden_keys(mask, k.shape[2], hidden)]
        masks += [] if added is None else [added]
        allowed = setting.allowed(q.shape[2], k.shape[2], k.shape[2] - q.shape[2])
        masks += [] if allowed is None else [allowed]
        return _merged(setting.attend(q, k, v, masks)[0]), k, v

    return run


def _biased(x: Value, bias: Value) -> Value:
    return x + bias if x.dim() == 3 else x


def _packed(site: Site) -> Function:
    """com.microsoft Attention: one matrix gives Q, K and V."""
    count, scale = site.attr("num_heads"), site.attr("scale")
    hidden = site.attr("mask_filter_value", -10000.0)
    sizes = site.attr("qkv_hidden_sizes")
    setting = _Setting(bool(site.attr("unidirectional", 0)), scale or None, 0.0, -1, -1, 0)
    if site.has(4) or site.attr("do_rotary", 0):
        raise UnsupportedError("it has a past or rotates positions")

    def run(
        x: Value,
        weight: Value,
        bias: Value = None,
        mask: Value = None,
        past: Value = None,
        added: Value = None,
        *rest: Value,
    ) -> Value:
        whole = torch.matmul(x, weight)
        whole = whole if bias is None else whole + bias
        parts = whole.split(list(sizes), 2) if sizes else whole.chunk(3, 2)
        q, k, v = (_heads(part, count) for part in parts)
        masks = [] if mask is None else [_hidden_keys(mask, k.shape[2], hidden)]
        masks += [] if added is None else [added]
        allowed = setting.allowed(q.shape[2], k.shape[2], 0)
        masks += [] if allowed is None else [allowed]
        return _merged(setting.attend(q, k, v, masks)[0]), torch.stack([k, v])

    return run


def _rotary(site: Site) -> Function:
    interleaved, count = bool(site.attr("interleaved", 0)), site.attr("num_heads", 0)
    size = site.attr("rotary_embedding_dim", 0)

    def run(x: Value, cosine: Value, sine: Value, positions: Value = None) -> Value:
        flat = x.dim() == 3
        heads = count or x.shape[-1] // (2 * cosine.shape[-1])
        wide = _heads(x, heads) if flat else x
        if positions is not None:
            cosine, sine = cosine[positions], sine[positions]
        cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
        turned, rest = wide[..., : size or None], wide[..., size:] if size else wide[..., :0]
        if interleaved:
            one, two = turned[..., ::2], turned[..., 1::2]
        else:
            one, two = turned.chunk(2, -1)
        parts = one * cosine - two * sine, one * sine + two * cosine
        joined = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
        made = torch.cat([joined, rest], -1)
        return _merged(made) if flat else made

    return run


def _rotary_by_offset(site: Site) -> Function:
    """com.microsoft's: positions come before the tables, and may be that of the first token."""
    if site.attr("is_packed_batching", 0) or site.attr("scale", 1.0) != 1.0:
        raise UnsupportedError("it scales or has packed batches")
    rotate = _rotary(site)

    def run(x: Value, positions: Value, cosine: Value, sine: Value) -> Value:
        if positions.dim() == 1:
            positions = (positions + torch.arange(x.shape[-2])).unsqueeze(0)
        return rotate(x, cosine, sine, positions)

    return run


OPS: Mapping[tuple[str, str], Builder] = {
    ("", "Attention"): _attention,
    ("", "RotaryEmbedding"): _rotary,
    (_MICROSOFT, "Attention"): _packed,
    (_MICROSOFT, "MultiHeadAttention"): _multi_head,
    (_MICROSOFT, "RotaryEmbedding"): _rotary_by_offset,
}
