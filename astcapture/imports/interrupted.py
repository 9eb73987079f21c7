"""Keep Ctrl-C working: an interrupted interpreter still ends by the signal after our code has run."""

from __future__ import annotations

import contextlib
import sys


def stay_interrupted() -> None:
    """Let an interpreter that ends by Ctrl-C end by the signal, as it would have.

    It remembers that nobody caught the KeyboardInterrupt until text is next run as code, which many
    modules do as they are imported; text that ends with the same error makes it remember again.
    """
    interactive = hasattr(sys, "ps1") or "IPython" in sys.modules
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not interactive:
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")
