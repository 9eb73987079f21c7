"""Copies values out of the memory of a CUDA graph, which the next replay overwrites.

``torch.compile(mode="reduce-overhead")`` replays graphs. Inductor runs an operator that is tagged
``cudagraph_unsafe`` between two graphs (or, in versions that cannot part them, uses none), so that its
output lies in ordinary memory. The operator is torch's clone under a name of ours.
"""

from __future__ import annotations

import sys
from typing import Any

#: The device types with graphs that are replayed.
REPLAYED = frozenset({"cuda"})

_NAMESPACE = "astcapture"
_library: Any = None


def define(context: Any = None) -> None:
    """Define the operator, once. Called while the compiler traces, when torch is imported."""
    global _library
    if _library is not None:
        return
    torch = sys.modules["torch"]
    tag = getattr(torch.Tag, "cudagraph_unsafe", None)
    library = torch.library.Library(_NAMESPACE, "FRAGMENT")
    library.define("copy_of(Tensor value) -> Tensor", tags=() if tag is None else (tag,))
    library.impl("copy_of", torch.clone, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{_NAMESPACE}::copy_of", torch.empty_like, lib=library)
    _library = library
