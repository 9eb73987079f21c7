"""Stands in for ``xformers.ops``, with its documented signature."""

from xformers.ops import fmha as fmha
from xformers.ops.fmha import attn_bias as attn_bias
from xformers.ops.fmha import memory_efficient_attention as memory_efficient_attention
