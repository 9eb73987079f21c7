"""``memory_efficient_attention`` by its documented signature (github.com/facebookresearch/xformers)."""

import torch
import written_out
from written_out import attend

from xformers.ops.fmha import attn_bias as biases


def memory_efficient_attention(query, key, value, attn_bias=None, p=0.0, scale=None, *, op=None, output_dtype=None):
    """(batch, tokens, heads, width), or (batch, tokens, width), or (batch, tokens, groups, heads, width)."""
    written_out.seen.clear()
    shape = query.shape
    if query.dim() == 3:
        query, key, value = (one[:, :, None] for one in (query, key, value))
    elif query.dim() == 5:
        query, key, value = (one.flatten(2, 3) for one in (query, key, value))
    if isinstance(attn_bias, biases.AttentionBias):
        attn_bias = attn_bias.materialize((query.shape[0], query.shape[2], query.shape[1], key.shape[1]))
    elif attn_bias is not None:
        attn_bias = attn_bias.reshape(query.shape[0], -1, *attn_bias.shape[-2:])
        attn_bias = attn_bias.expand(query.shape[0], query.shape[2], -1, -1)
    made = []
    for b in range(query.shape[0]):

        def rule(head, i, j, score, b=b):
            return score if attn_bias is None else score + attn_bias[b, head, i, j]

        made.append(attend(query[b], key[b], value[b], scale, rule))
    return torch.stack(made).reshape(*shape[:-1], value.shape[-1])
