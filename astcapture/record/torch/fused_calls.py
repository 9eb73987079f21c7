"""Recognises calls of fused attention other than torch's ``scaled_dot_product_attention``, and reads their arguments.

A callee is recognised by identity, among the functions of the modules that are imported; or, for a copy of flash
attention under another name (`kernels`), by its name and that of the file. ``torch.compile(f)``,
``torch.compiler.disable(f)`` and ``functools.partial(f, ...)`` count as `f`. Arguments are read by name, by the
signature that the callee has, so that flash attention 2 and 3 need no table of positions.

The functions that read arguments are also traced by torch.compile: they contain no more than plain Python.
"""

from __future__ import annotations

import inspect
import sys
from functools import partial
from types import FunctionType
from typing import Any

from astcapture.record.events import NotRecorded

Options = dict[str, Any]

FLEX, FLASH, PADDED, XFORMERS = "flex", "flash", "padded", "xformers"

_FLASH = (
    "flash_attn_func",
    "flash_attn_kvpacked_func",
    "flash_attn_qkvpacked_func",
    "flash_attn_varlen_func",
    "flash_attn_varlen_kvpacked_func",
    "flash_attn_varlen_qkvpacked_func",
    "flash_attn_with_kvcache",
)
_FLASH_FILE = "flash_attn_interface"
_HOMES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("torch.nn.attention.flex_attention", FLEX, ("flex_attention",)),
    ("transformers.integrations.flex_attention", FLEX, ("compile_friendly_flex_attention",)),
    ("transformers.modeling_flash_attention_utils", PADDED, ("_flash_attention_forward",)),
    ("flash_attn", FLASH, _FLASH),
    ("flash_attn.flash_attn_interface", FLASH, _FLASH),
    ("flash_attn_interface", FLASH, _FLASH),
    ("flash_attn_3.flash_attn_interface", FLASH, _FLASH),
    ("xformers.ops", XFORMERS, ("memory_efficient_attention",)),
    ("xformers.ops.fmha", XFORMERS, ("memory_efficient_attention",)),
)


def kind_of(callee: Any) -> str | None:
    """Which family of fused attention a callee is of; None if it is no fused attention.

    Only attributes of plain functions and partials are read, so no code of the user runs.
    """
    function = plain_function(callee)
    if type(function) is not FunctionType:
        return None
    for module, kind, names in _HOMES:
        home = sys.modules.get(module)
        if home is not None and any(vars(home).get(name) is function for name in names):
            return kind
    known = function.__name__ in _FLASH and function.__module__ is not None
    return FLASH if known and function.__module__.rpartition(".")[2] == _FLASH_FILE else None


def plain_function(callee: Any) -> Any:
    """The function itself, without the compiler's wrappers and without partials."""
    return _layers(callee)[-1]


def is_compiled(callee: Any) -> bool:
    """Whether torch.compile compiles the callee, or what it is a partial of."""
    return any(type(one) is FunctionType and not vars(one).get("_torchdynamo_disable") for one in _layers(callee)[:-1])


def has_partial(callee: Any) -> bool:
    """Whether arguments come from a partial."""
    return any(type(one) is partial for one in _layers(callee))


def _layers(callee: Any) -> list[Any]:
    """The callee, what it wraps, and so on to the plain function."""
    layers = [callee]
    while len(layers) < _DEEP:
        inner = _inside(layers[-1])
        if inner is None:
            break
        layers.append(inner)
    return layers


_DEEP = 8


def _inside(callee: Any) -> Any:
    if type(callee) is partial:
        return callee.func
    if type(callee) is not FunctionType:
        return None
    marks = vars(callee)
    # `functools.wraps` copies these marks to functions that are no wrappers of the compiler's.
    copied = marks.get("_torchdynamo_wrapper_id", id(callee)) != id(callee)
    return None if copied else marks.get("_torchdynamo_orig_callable")


def parameters(callee: Any) -> tuple[str, ...]:
    """The names of the positional parameters of a callee, in order."""
    return tuple(inspect.signature(plain_function(callee)).parameters)


def by_name(callee: Any, arguments: tuple[Any, ...], options: Options) -> Options:
    """The arguments of a call by parameter name, those of partials included."""
    for one in _layers(callee):
        if type(one) is partial:
            arguments, options = (*one.args, *arguments), {**one.keywords, **options}
    return {**dict(zip(parameters(callee), arguments, strict=False)), **options}


def parts_of(kind: str, given: Options) -> Options:
    """What the weights of a call depend on, by the names that `arranged` uses, and ``value``.

    Args:
        kind: the family.
        given: the arguments by the callee's own names.
    """
    return READERS[kind](given)


def check(kind: str, given: Options) -> None:
    """Check that the effect of all arguments on the weights is known.

    Raises:
        NotRecorded: it is not.
    """
    why = why_unknown(kind, given)
    if why is not None:
        raise NotRecorded(why)


# --- what a call may ask for

_HARMLESS = frozenset(
    {
        "deterministic", "return_attn_probs", "return_softmax_lse", "num_splits", "pack_gqa", "sm_margin",
        "scheduler_metadata", "max_seqlen", "max_seqlen_q", "max_seqlen_k", "op", "output_dtype",
    }
)  # fmt: skip
_READ = {
    FLASH: frozenset(
        {
            "q", "k", "v", "kv", "qkv", "num_heads_q", "dropout_p", "softmax_scale", "causal", "window_size",
            "softcap", "alibi_slopes", "cu_seqlens", "cu_seqlens_q", "cu_seqlens_k", "seqused_q", "seqused_k",
            "block_table", "page_table", "k_cache", "v_cache", "cache_seqlens", "cache_batch_idx", "cache_leftpad",
            "rotary_cos", "rotary_sin", "rotary_interleaved", "s_aux", "learnable_sink",
        }
    ),
    XFORMERS: frozenset({"query", "key", "value", "attn_bias", "p", "scale"}),
}  # fmt: skip


def why_unknown(kind: str, given: Options) -> str | None:
    """Why the weights of a call cannot be computed; None if they can."""
    known = _READ.get(kind)
    if known is None:
        return None
    for name, value in given.items():
        if name not in known and name not in _HARMLESS and not _is_nothing(value):
            return f"the call uses {name}=, whose effect on the attention weights astcapture does not know"
    return None


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or (type(value) in (int, float) and value == 0)


# --- the arguments, in one spelling


def _flex(given: Options) -> Options:
    return {
        "query": given["query"],
        "key": given["key"],
        "value": given["value"],
        "scale": given.get("scale"),
        "score_mod": given.get("score_mod"),
        "block_mask": given.get("block_mask"),
        "enable_gqa": given.get("enable_gqa", False),
    }


def _flash(given: Options) -> Options:
    query, key, value = _unpacked(given)
    new = given.get("k") if "k_cache" in given else None
    packed = given.get("cu_seqlens")
    return {
        "query": query,
        "key": key,
        "value": value,
        "scale": given.get("softmax_scale"),
        "causal": given.get("causal", False),
        "window": given.get("window_size", (-1, -1)),
        "softcap": given.get("softcap", 0.0),
        "alibi_slopes": given.get("alibi_slopes"),
        "dropout_p": given.get("dropout_p", 0.0),
        "queries_from": given.get("cu_seqlens_q", packed),
        "keys_from": given.get("cu_seqlens_k", packed),
        "queries_used": given.get("seqused_q"),
        "keys_used": given.get("cache_seqlens", given.get("seqused_k")),
        "keys_new": 0 if new is None else new.size(1),
        "pages": given.get("block_table", given.get("page_table")),
        "rows_of_cache": given.get("cache_batch_idx"),
        "first_keys": given.get("cache_leftpad"),
        "cos": given.get("rotary_cos") if new is not None else None,
        "sin": given.get("rotary_sin"),
        "interleaved": given.get("rotary_interleaved", True),
        "sinks": given.get("s_aux", given.get("learnable_sink")),
    }


def _unpacked(given: Options) -> tuple[Any, Any, Any]:
    """Query, key and value as views of what the call was given."""
    if "qkv" in given:
        qkv, heads = given["qkv"], given.get("num_heads_q")
        if heads is None or qkv.dim() == 5:
            query, key, value = qkv.unbind(-3)
        else:  # flash attention 3, with fewer heads of keys and values
            rest = (qkv.size(-2) - heads) // 2
            query, key, value = qkv.split([heads, rest, rest], -2)
        return query, key, value
    if "kv" in given:
        key, value = given["kv"].unbind(-3)
        return given["q"], key, value
    if "k_cache" in given:
        return given["q"], given["k_cache"], given["v_cache"]
    return given["q"], given["k"], given["v"]


def _padded(given: Options) -> Options:
    """The arguments of transformers' ``_flash_attention_forward``, which pads, packs or pages for flash attention."""
    return {
        "query": given["query_states"],
        "key": given["key_states"],
        "value": given["value_states"],
        "scale": given.get("softmax_scale"),
        "causal": given["is_causal"],
        "window": given.get("sliding_window"),
        "softcap": given.get("softcap") or 0.0,
        "alibi_slopes": None,
        "dropout_p": given.get("dropout", 0.0),
        "mask": given.get("attention_mask"),
        "positions": given.get("position_ids"),
        "queries_from": given.get("cu_seq_lens_q"),
        "keys_from": given.get("cu_seq_lens_k"),
        "is_packed": given.get("max_length_q") is not None and given.get("max_length_k") is not None,
        "pages": given.get("block_table"),
        "key_cache": given.get("k_cache"),
        "dtype": given.get("target_dtype"),
        "sinks": given.get("s_aux"),
    }


def _xformers(given: Options) -> Options:
    return {
        "query": given["query"],
        "key": given["key"],
        "value": given["value"],
        "scale": given.get("scale"),
        "bias": given.get("attn_bias"),
        "dropout_p": given.get("p", 0.0),
    }


READERS = {FLEX: _flex, FLASH: _flash, PADDED: _padded, XFORMERS: _xformers}


def named(kind: str, given: Options, call: Options, output: Any) -> Options:
    """What ``@sdpa`` can name of a call, except the weights: by the names of ``scaled_dot_product_attention``.

    Args:
        kind: the family.
        given: the arguments by the callee's own names.
        call: the same, from `read`.
        output: what the callee returned: the attention's output, first where there is more.
    """
    masks = {FLEX: "block_mask", PADDED: "attention_mask", XFORMERS: "attn_bias"}
    return {
        "query": call["query"],
        "key": call["key"],
        "value": call["value"],
        "attn_mask": given.get(masks[kind]) if kind in masks else None,
        "dropout_p": call.get("dropout_p", 0.0),
        "is_causal": call.get("causal", False),
        "scale": call["scale"],
        "enable_gqa": call.get("enable_gqa", kind in (FLASH, PADDED)),
        "output": first_of(output),
    }


def first_of(output: Any) -> Any:
    return output[0] if type(output) in (tuple, list) else output
