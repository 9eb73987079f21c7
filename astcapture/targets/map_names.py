"""Which names locals that hold attention maps usually have."""

from __future__ import annotations

#: How a word begins in the names that maps have, and the words of names like those that are none.
_LIKE_A_MAP = ("attn", "atten", "prob", "score", "softmax", "weights", "dots")
_UNLIKE_A_MAP = {"bias", "mask", "out", "output", "outputs", "shape", "dim", "heads", "drop", "scale", "size", "proj",
                 "implementation", "interface"}  # fmt: skip


def is_like_a_map(name: str) -> bool:
    """Whether a local or label of that name may hold an attention map.

    >>> [name for name in ("attn", "attn_weights", "probs", "attn_output", "q") if is_like_a_map(name)]
    ['attn', 'attn_weights', 'probs']
    """
    words = name.lower().strip("_").split("_")
    like = "att" in words or any(word.startswith(_LIKE_A_MAP) for word in words)
    return like and not _UNLIKE_A_MAP.intersection(words)
