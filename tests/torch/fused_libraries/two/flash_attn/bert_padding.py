"""Padding and its inverse, as flash attention 2 documents them."""

import torch


def unpad_input(hidden_states, attention_mask, unused_mask=None):
    lengths = attention_mask.sum(-1, dtype=torch.int32)
    indices = attention_mask.flatten().nonzero().flatten()
    starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0, dtype=torch.int32)])
    return hidden_states.flatten(0, 1)[indices], indices, starts, int(lengths.max()), lengths


def pad_input(hidden_states, indices, batch, seqlen):
    made = hidden_states.new_zeros(batch * seqlen, *hidden_states.shape[1:])
    made[indices] = hidden_states
    return made.view(batch, seqlen, *hidden_states.shape[1:])
