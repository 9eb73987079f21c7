"""Whether a function is being traced rather than run, so that what stands in for its values is none.

``torch.fx`` hands proxies through it, ``torch.export`` and ``make_fx`` tensors without data while they write
down every operation: a copy would become a part of the exported program.
"""

from __future__ import annotations

import sys
from typing import Any

from astcapture.record.kinds import is_a


class NotRun(RuntimeError):
    """There is no value: the function is traced."""


def check_run(value: Any) -> None:
    """Pass where `value` is one.

    Raises:
        NotRun: it stands in for one while the function is traced.
    """
    home = sys.modules.get("torch.fx.proxy")
    if home is not None and is_a(value, home.Proxy):
        raise NotRun("torch.fx traces this function and does not run it, so there is no value to record")
    # Asked only of what may be such a tensor: nothing else is touched in this state.
    if not type(value).__module__.startswith("torch._subclasses."):
        return
    if _compiles():
        raise NotRun(
            "torch.compile has this function of torch's in its graph as a whole and compiles it without data, so there "
            "is no value to record: run the model without torch.compile"
        )
    if _writes_down():
        raise NotRun("torch.export traces this function without data, so there is no value to record")


def _compiles() -> bool:
    """Whether torch's compiler runs code of this thread to see its operations."""
    context = getattr(sys.modules.get("torch._guards"), "TracingContext", None)
    exports = getattr(sys.modules.get("torch.compiler"), "is_exporting", bool)
    return context is not None and context.try_get() is not None and not exports()


def _writes_down() -> bool:
    """Whether the operations of this thread are being written down."""
    home = sys.modules.get("torch.fx.experimental.proxy_tensor")
    asks = getattr(home, "get_proxy_mode", None) or getattr(home, "get_innermost_proxy_mode", None)
    return asks is not None and asks() is not None
