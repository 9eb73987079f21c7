"""The functions of flash attention 2 by their documented signatures (github.com/Dao-AILab/flash-attention)."""

import torch
import written_out
from written_out import attend, flash_rule


def flash_attn_func(
    q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
    deterministic=False, return_attn_probs=False,
):  # fmt: skip
    written_out.seen.clear()
    made = []
    for b in range(q.shape[0]):
        slopes = alibi_slopes if alibi_slopes is None or alibi_slopes.dim() == 1 else alibi_slopes[b]
        rule = flash_rule(q.shape[1], k.shape[1], causal, window_size, softcap, slopes)
        made.append(attend(q[b], k[b], v[b], softmax_scale, rule))
    out = torch.stack(made)
    return (out, torch.zeros(1), None) if return_attn_probs else out


def flash_attn_kvpacked_func(
    q, kv, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
    deterministic=False, return_attn_probs=False,
):  # fmt: skip
    return flash_attn_func(
        q, kv[:, :, 0], kv[:, :, 1], dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes
    )


def flash_attn_qkvpacked_func(
    qkv, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
    deterministic=False, return_attn_probs=False,
):  # fmt: skip
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    return flash_attn_func(q, k, v, dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes)


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, causal=False,
    window_size=(-1, -1), softcap=0.0, alibi_slopes=None, deterministic=False, return_attn_probs=False,
    block_table=None,
):  # fmt: skip
    written_out.seen.clear()
    made = []
    for b in range(len(cu_seqlens_q) - 1):
        queries = slice(int(cu_seqlens_q[b]), int(cu_seqlens_q[b + 1]))
        start, end = int(cu_seqlens_k[b]), int(cu_seqlens_k[b + 1])
        if block_table is None:
            keys, values = k[start:end], v[start:end]
        else:
            keys = torch.cat([k[page] for page in block_table[b]])[: end - start]
            values = torch.cat([v[page] for page in block_table[b]])[: end - start]
        slopes = alibi_slopes if alibi_slopes is None or alibi_slopes.dim() == 1 else alibi_slopes[b]
        rule = flash_rule(queries.stop - queries.start, end - start, causal, window_size, softcap, slopes)
        made.append(attend(q[queries], keys, values, softmax_scale, rule))
    return torch.cat(made)


def flash_attn_varlen_kvpacked_func(
    q, kv, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, causal=False,
    window_size=(-1, -1), softcap=0.0, alibi_slopes=None, deterministic=False, return_attn_probs=False,
):  # fmt: skip
    return flash_attn_varlen_func(
        q, kv[:, 0], kv[:, 1], cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, softmax_scale,
        causal, window_size, softcap, alibi_slopes,
    )  # fmt: skip


def flash_attn_varlen_qkvpacked_func(
    qkv, cu_seqlens, max_seqlen, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0,
    alibi_slopes=None, deterministic=False, return_attn_probs=False,
):  # fmt: skip
    return flash_attn_varlen_func(
        qkv[:, 0], qkv[:, 1], qkv[:, 2], cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, dropout_p, softmax_scale,
        causal, window_size, softcap, alibi_slopes,
    )  # fmt: skip


def flash_attn_with_kvcache(
    q, k_cache, v_cache, k=None, v=None, rotary_cos=None, rotary_sin=None, cache_seqlens=None, cache_batch_idx=None,
    cache_leftpad=None, block_table=None, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0,
    rotary_interleaved=True, alibi_slopes=None, num_splits=0, return_softmax_lse=False,
):  # fmt: skip
    written_out.seen.clear()
    made = []
    for b in range(q.shape[0]):
        row = b if cache_batch_idx is None else int(cache_batch_idx[b])
        before = k_cache.shape[1] if cache_seqlens is None else cache_seqlens
        before = int(before if isinstance(before, int) else before[b])
        query, length = q[b], before + (0 if k is None else k.shape[1])
        pages = None if block_table is None else [int(page) for page in block_table[b]]
        if k is not None:
            new = k[b]
            if rotary_cos is not None:
                new = _rotated(new, rotary_cos, rotary_sin, range(before, length), rotary_interleaved)
                still = not causal and window_size == (-1, -1)
                at = [before] * len(query) if still else range(before, before + len(query))
                query = _rotated(query, rotary_cos, rotary_sin, at, rotary_interleaved)
            for offset in range(k.shape[1]):
                at = before + offset
                page, inside = (row, at) if pages is None else (pages[at // k_cache.shape[1]], at % k_cache.shape[1])
                k_cache[page, inside], v_cache[page, inside] = new[offset], v[b, offset]
        keys = k_cache[row] if pages is None else torch.cat([k_cache[page] for page in pages])
        values = v_cache[row] if pages is None else torch.cat([v_cache[page] for page in pages])
        first = 0 if cache_leftpad is None else int(cache_leftpad[b])
        rule = flash_rule(len(query), length, causal, window_size, softcap, alibi_slopes, first)
        made.append(attend(query, keys[:length], values[:length], softmax_scale, rule))
    out = torch.stack(made)
    return (out, torch.zeros(1)) if return_softmax_lse else out


def _rotated(x, cos, sin, positions, interleaved):
    """Each pair of numbers turned by the angle of its position."""
    x = x.clone()
    half = cos.shape[1]
    for token, position in enumerate(positions):
        for pair in range(half):
            one, two = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + half)
            a, b = x[token, :, one].clone(), x[token, :, two].clone()
            x[token, :, one] = a * cos[position, pair] - b * sin[position, pair]
            x[token, :, two] = a * sin[position, pair] + b * cos[position, pair]
    return x
