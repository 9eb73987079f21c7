"""Keeps Ctrl-C working: after our exit code has run, an interrupted interpreter still ends by the signal."""

from __future__ import annotations

import contextlib
import sys


def stay_interrupted() -> None:
    """Let an interpreter that was stopped by Ctrl-C end by the signal, as it would without us.

    The interpreter remembers an uncaught KeyboardInterrupt until text is next run as code, which many modules do on
    import. Running text that ends with the same error makes it remember again.
    """
    interactive = hasattr(sys, "ps1") or "IPython" in sys.modules
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not interactive:
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")
