"""The store that this process streams to: opened by the first hook that asks for one, closed with the last."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from astcapture.errors import CaptureError
from astcapture.record import budget
from astcapture.store.process_folder import check_root
from astcapture.values.cache import cache, drain
from astcapture.values.shared import shared
from astcapture.values.streaming import Stream

_stream: Stream | None = None


def current() -> Stream | None:
    """The store that is open."""
    return _stream


def open_store(store: str | os.PathLike[str], targets: Sequence[str], strict: bool) -> None:
    """Stream to a folder from now on; what is in `cache` already stays in memory.

    Raises:
        CaptureError: it is no folder that can be written to, or another one is open.
    """
    global _stream
    root = Path(os.path.abspath(store))
    if _stream is not None:
        if _stream.root != root:
            raise CaptureError(
                f"install(store={str(store)!r}): this process streams to {str(_stream.root)!r} already, "
                "and to one store at a time; uninstall that hook first"
            )
        _stream.users += 1
        _stream.strict = _stream.strict or strict
        _stream.folder.targets += [text for text in targets if text not in _stream.folder.targets]
        return
    check_root(root)
    drain()
    with shared.lock:
        cache.held.freeze()
        shared.streaming = True
    _stream = Stream(root, targets, strict)
    _stream.users = 1
    _watch_children()
    budget.spill = _stream.spill
    shared.check = _stream.check
    _stream.background.start()


def close_store() -> None:
    """One hook less streams; with the last, what is left is written, and captures stay in memory again.

    Raises:
        CaptureError: something could not be written, where ``strict=True`` asks to be told so.
    """
    global _stream
    stream = _stream
    if stream is None:
        return
    stream.users -= 1
    if stream.users > 0:
        return
    stream.close()
    _stream = None
    budget.spill = None
    shared.check = None
    with shared.lock:
        shared.streaming = False
    stream.check()


def finish() -> None:
    """Write what is left, as the process ends; nothing is recorded any more."""
    if _stream is not None:
        _stream.close()
        shared.check = None
        _stream.check()


def in_a_line() -> str | None:
    """Where the values of this process, and of those that it started, are; None where no store is open."""
    if _stream is None:
        return None
    from astcapture.values.run import open_run

    lost = f"; {_stream.lost:,} more are lost ({_stream.why})" if _stream.lost else ""
    try:
        run = open_run(_stream.root)
    except CaptureError:
        return f"nothing was stored in {_stream.root}{lost}"
    # The folder may hold earlier runs as well.
    processes = [one for one in run.processes if str(one.about.get("started")) >= _stream.folder.started]
    count = sum(len(shard) for one in processes for shard in one.shards)
    values = f"{count:,} value{'s' if count != 1 else ''}"
    of = f" of {len(processes)} processes" if len(processes) > 1 else ""
    return f"{values}{of} stored in {_stream.root}{lost}; astcapture ls {_stream.root} lists them"


_watching = False


def _watch_children() -> None:
    global _watching
    if not _watching and hasattr(os, "register_at_fork"):
        _watching = True
        os.register_at_fork(
            before=lambda: _stream.before_fork() if _stream is not None else None,
            after_in_parent=lambda: _stream.after_fork_in_parent() if _stream is not None else None,
            after_in_child=_after_fork_in_child,
        )


def _after_fork_in_child() -> None:
    if _stream is not None:
        _stream.after_fork_in_child()
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            # Its children leave by os._exit, and run this first; what is registered now, they forget as they start.
            util.register_after_fork(_stream, _finish_with_multiprocessing)


def _finish_with_multiprocessing(stream: Stream) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, finish, exitpriority=0)
