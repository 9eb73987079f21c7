"""The functions of flash attention 3 by their documented signatures (github.com/Dao-AILab/flash-attention, hopper)."""

import torch
import written_out
from written_out import attend, flash_rule


def flash_attn_qkvpacked_func(
    qkv, softmax_scale=None, causal=False, q_descale=None, k_descale=None, v_descale=None, window_size=(-1, -1),
    attention_chunk=0, softcap=0.0, deterministic=False, num_heads_q=None, sm_margin=0, return_attn_probs=False,
):  # fmt: skip
    if num_heads_q is None:
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    else:
        heads = (qkv.shape[2] - num_heads_q) // 2
        q, k, v = qkv[:, :, :num_heads_q], qkv[:, :, num_heads_q : num_heads_q + heads], qkv[:, :, -heads:]
    return flash_attn_func(q, k, v, softmax_scale, causal, window_size=window_size, softcap=softcap)


def flash_attn_func(
    q, k, v, softmax_scale=None, causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None,
    window_size=(-1, -1), attention_chunk=0, softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False,
    sm_margin=0, return_attn_probs=False,
):  # fmt: skip
    written_out.seen.clear()
    rule = flash_rule(q.shape[1], k.shape[1], causal, window_size, softcap)
    return torch.stack([attend(*one, softmax_scale, rule) for one in zip(q, k, v, strict=True)])


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, seqused_q=None, seqused_k=None,
    softmax_scale=None, causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None, window_size=(-1, -1),
    attention_chunk=0, softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False, sm_margin=0,
    return_attn_probs=False,
):  # fmt: skip
    written_out.seen.clear()
    out = torch.zeros_like(q)
    for b in range(len(cu_seqlens_q) - 1):
        start, end = int(cu_seqlens_q[b]), int(cu_seqlens_q[b + 1])
        first, last = int(cu_seqlens_k[b]), int(cu_seqlens_k[b + 1])
        end = end if seqused_q is None else start + int(seqused_q[b])
        last = last if seqused_k is None else first + int(seqused_k[b])
        rule = flash_rule(end - start, last - first, causal, window_size, softcap)
        out[start:end] = attend(q[start:end], k[first:last], v[first:last], softmax_scale, rule)
    return out


def flash_attn_with_kvcache(
    q, k_cache, v_cache, k=None, v=None, qv=None, rotary_cos=None, rotary_sin=None, cache_seqlens=None,
    cache_batch_idx=None, cache_leftpad=None, page_table=None, cu_seqlens_q=None, cu_seqlens_k_new=None,
    max_seqlen_q=None, rotary_seqlens=None, q_descale=None, k_descale=None, v_descale=None, softmax_scale=None,
    causal=False, window_size=(-1, -1), attention_chunk=0, softcap=0.0, rotary_interleaved=True,
    scheduler_metadata=None, num_splits=0, pack_gqa=None, sm_margin=0, return_softmax_lse=False,
):  # fmt: skip
    written_out.seen.clear()
    made = []
    count = len(q) if cu_seqlens_q is None else len(cu_seqlens_q) - 1
    for b in range(count):
        query = q[b] if cu_seqlens_q is None else q[int(cu_seqlens_q[b]) : int(cu_seqlens_q[b + 1])]
        length = int(cache_seqlens[b])
        keys = k_cache[b] if page_table is None else torch.cat([k_cache[page] for page in page_table[b]])
        values = v_cache[b] if page_table is None else torch.cat([v_cache[page] for page in page_table[b]])
        rule = flash_rule(len(query), length, causal, window_size, softcap)
        made.append(attend(query, keys[:length], values[:length], softmax_scale, rule))
    return torch.stack(made) if cu_seqlens_q is None else torch.cat(made)
