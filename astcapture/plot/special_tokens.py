"""Whether the first tokens of a map are CLS and registers."""

from __future__ import annotations

import re
from math import isqrt
from typing import Any

from astcapture.values.record import Record
from astcapture.values.records import Records

#: Classes and layers of vision transformers: ViT, timm's VisionTransformer, CLIP's vision_model, DINO, DeiT, BEiT.
_VISION = re.compile(r"ViT|DeiT|BEiT|D[Ii][Nn][Oo]|[Vv]ision|visual")


def special_tokens(values: Any, tokens: int, cls: bool | int | None) -> int:
    """Return how many tokens stand before the patches: `cls` where it is given, else what the records say.

    That is one where a record is of a vision model and the other tokens form a square. Of arrays nothing is known:
    seventeen tokens may be CLS and patches, or words.

    Raises:
        ValueError: more special tokens than there are tokens.

    >>> special_tokens(Record(0, "attn", "m", "f", 1, "blocks.0", model="VisionTransformer"), 197, None)
    1
    >>> special_tokens([[1.0]], 197, None)
    0
    """
    if cls is not None:
        if not 0 <= int(cls) <= tokens:
            raise ValueError(f"cls={cls} does not fit {tokens} tokens: it is the number of tokens before the patches")
        return int(cls)
    records = values.records if isinstance(values, Records) else [values]
    if not records or not all(isinstance(record, Record) for record in records):
        return 0
    is_vision = all(_VISION.search(f"{record.model or ''} {record.layer or ''}") for record in records)
    return int(is_vision and tokens > 4 and isqrt(tokens - 1) ** 2 == tokens - 1)
